import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import type { KeyChange } from "./key-store.ts";
import type { LedgerChange } from "./ledger.ts";

export type Change = LedgerChange | KeyChange;

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
    this.history = complete.split("\n").filter(Boolean).map((line) => JSON.parse(line) as Change);
  }

  append(change: Change): void {
    if (this.#descriptor !== undefined) writeSync(this.#descriptor, `${JSON.stringify(change)}\n`);
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
  }
}
