import { addDecimals, compareDecimals, multiplyDecimals, normalizeDecimal } from "@proliferate/shared/money";
import type { ExpectedBilling } from "./invariants.ts";
import { isBillable, type SpendWriters } from "./spend-writers.ts";

/** What persons decided in the course of a schedule, and what follows for the ledger, worked out without the database. */
export class Decisions {
  /** By request id: whose a row without an org is. */
  readonly owners = new Map<string, string>();
  readonly #cards: { readonly org: string | undefined; readonly fromMs: number; readonly markup: string }[] = [];
  readonly #markup: string;

  /** `markup` is the rate where no card says otherwise. */
  constructor(markup: string) {
    this.#markup = markup;
  }

  /** A rate for requests that begin after `afterMs`, and after any card that is there; returns from when. */
  addCard(org: string | undefined, markup: string, afterMs: number): number {
    const fromMs = Math.max(afterMs, ...this.#cards.map((card) => card.fromMs)) + 1;
    this.#cards.push({ org, fromMs, markup });
    return fromMs;
  }

  /** What must be billed of all that the engines wrote. */
  expect(writers: SpendWriters): ExpectedBilling {
    const rows = [...writers.committed.values()];
    const billable = rows.filter((row) => isBillable(row) || this.owners.has(row.requestId));
    const creditsByOrg = new Map<string, string>();
    for (const row of billable) {
      const org = this.owners.get(row.requestId) ?? row.org ?? "";
      const refunded = addDecimals(normalizeDecimal(row.spendUsd), normalizeDecimal(writers.refunds.get(row.requestId) ?? "0"));
      const spendUsd = compareDecimals(refunded, "0") < 0 ? "0" : refunded;
      const credits = multiplyDecimals(multiplyDecimals(spendUsd, this.#markupOf(org, writers.startsMs.get(row.requestId) ?? 0)), "100");
      creditsByOrg.set(org, addDecimals(creditsByOrg.get(org) ?? "0", credits));
    }
    return { requests: billable.length, reviews: rows.length - billable.length, creditsByOrg };
  }

  /** The org's own card comes before everybody's, a later one before an earlier one. */
  #markupOf(org: string, startMs: number): string {
    const valid = (of: string | undefined) => this.#cards.findLast((card) => card.org === of && card.fromMs <= startMs)?.markup;
    return valid(org) ?? valid(undefined) ?? this.#markup;
  }
}
