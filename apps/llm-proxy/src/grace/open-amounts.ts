import type { CountedLimit } from "@proliferate/access/limits";
import { addDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import type { SpoolEntry } from "./spool-entry.ts";

/** Which limit: of whom, by what, in which window, about which model. */
type LimitName = Pick<CountedLimit, "principal" | "meter" | "window" | "model">;

/** What requests that are not on record hold of each limit together, exactly: kept up to date entry by entry, however many there are. */
export class OpenAmounts {
  readonly #sums = new Map<string, DecimalText>();

  /** An entry comes (nothing before), goes (nothing after), or is over. */
  move(before: SpoolEntry | undefined, after: SpoolEntry | undefined): void {
    if (before) for (const [name, amount] of heldBy(before)) this.#add(name, subtractDecimals("0", amount));
    if (after) for (const [name, amount] of heldBy(after)) this.#add(name, amount);
  }

  of(limit: LimitName): DecimalText {
    return this.#sums.get(nameOf(limit)) ?? "0";
  }

  /** USD that all requests of one key have open. */
  usdOf(keyHash: string): DecimalText {
    return this.of(budgetOf("key", keyHash));
  }

  #add(name: string, amount: DecimalText): void {
    const sum = addDecimals(this.#sums.get(name) ?? "0", amount);
    if (Number(sum) === 0) this.#sums.delete(name);
    else this.#sums.set(name, sum);
  }
}

/**
 * What an entry holds: while it runs, what was reserved for it; of USD afterwards what it cost, and of requests at a time nothing. Other
 * meters stay as they were reserved until the request is on record.
 */
function heldBy(entry: SpoolEntry): readonly (readonly [string, DecimalText])[] {
  const { attempt, outcome } = entry;
  const usd = outcome?.cost.totalUsd ?? attempt.reserved_usd;
  const amountOf = (meter: string, reserved: DecimalText): DecimalText => {
    if (meter === "usd") return usd;
    return meter === "parallel" && outcome ? "0" : reserved;
  };
  return [
    [nameOf(budgetOf("key", attempt.key_hash)), usd],
    ...(attempt.team_id === null ? [] : [[nameOf(budgetOf("team", attempt.team_id)), usd] as const]),
    ...(attempt.reservations ?? []).map(
      ({ kind, id, meter, window, model, amount }) => [JSON.stringify([kind, id, meter, window, model]), amountOf(meter, amount)] as const,
    ),
  ];
}

function budgetOf(kind: "key" | "team", id: string): LimitName {
  return { principal: { kind, id }, meter: "usd", window: "total", model: "" };
}

function nameOf({ principal: { kind, id }, meter, window, model }: LimitName): string {
  return JSON.stringify([kind, id, meter, window, model]);
}
