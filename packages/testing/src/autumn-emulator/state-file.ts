import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import type { KeyChange } from "./key-store.ts";
import type { LedgerChange, TrackEvent } from "./ledger.ts";

type Change = LedgerChange | KeyChange;

/** As files have it that were written while a feature had one balance. */
type FormerChange =
  | {
      readonly type: "balance";
      readonly customerId: string;
      readonly featureId: string;
      readonly granted: DecimalText;
      readonly usage: DecimalText;
    }
  | { readonly type: "track"; readonly event: Omit<TrackEvent, "pieces"> };

function modernize(change: FormerChange | Change): Change {
  const former = { id: "bal_former", planId: "default" };
  if (change.type === "balance") {
    const { customerId, featureId, granted, usage } = change;
    return {
      type: "balances",
      customerId,
      featureId,
      balances: [{ ...former, granted, left: subtractDecimals(granted, usage), isUnlimited: false, resetsAtMs: null, periodMs: null }],
    };
  }
  if (change.type !== "track" || "pieces" in change.event) return change as Change;
  const { deducted } = change.event;
  return {
    type: "track",
    event: { ...change.event, pieces: deducted === "0" ? [] : [{ balanceId: former.id, planId: former.planId, value: deducted }] },
  };
}

/** Appends each change as one JSON line, before it is applied: what was answered survives kill -9 (not a power cut). */
export class StateFile {
  readonly #descriptor: number | undefined;
  /** What the file held when it was opened, in order. */
  readonly history: readonly Change[];

  /** Without a path nothing is kept. A last line that was cut off is removed: its change was never answered. */
  constructor(path: string | undefined) {
    if (path === undefined) {
      this.history = [];
      return;
    }
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const complete = text.slice(0, text.lastIndexOf("\n") + 1);
    this.#descriptor = openSync(path, "a", 0o600);
    ftruncateSync(this.#descriptor, Buffer.byteLength(complete));
    this.history = complete
      .split("\n")
      .filter(Boolean)
      .map((line) => modernize(JSON.parse(line) as FormerChange | Change));
  }

  append(change: Change): void {
    if (this.#descriptor !== undefined) writeSync(this.#descriptor, `${JSON.stringify(change)}\n`);
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
  }
}
