import type { AppError } from "@proliferate/shared/errors";
import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import type { KeyControl } from "../src/key-budgets/key-control.ts";

interface ModelKey {
  readonly sessionId: string;
  maxUsd: DecimalText;
  spentUsd: DecimalText;
  blocked: boolean;
}

/** For tests only: a proxy as our engine is one: a request is admitted if its worst case fits into the key's budget. */
export class ModelProxy implements KeyControl {
  readonly keys = new Map<string, ModelKey>();
  failure: AppError | undefined;
  calls = 0;
  #revokedUsd: DecimalText = "0";

  async setBudget(keyHash: string, maxUsd: DecimalText): Promise<"done" | "gone"> {
    return this.#change(keyHash, { maxUsd });
  }

  async setBlocked(keyHash: string, blocked: boolean): Promise<"done" | "gone"> {
    return this.#change(keyHash, { blocked });
  }

  #change(keyHash: string, change: object): "done" | "gone" {
    this.calls += 1;
    if (this.failure) throw this.failure;
    const key = this.keys.get(keyHash);
    if (!key) return "gone";
    Object.assign(key, change);
    return "done";
  }

  /** By all keys, revoked ones too. */
  spentUsd(): DecimalText {
    return addDecimals(this.#revokedUsd, ...[...this.keys.values()].map((key) => key.spentUsd));
  }

  /** What all keys may still spend. */
  leftUsd(): DecimalText {
    return addDecimals(...[...this.keys.values()].map((key) => this.leftOf(key)));
  }

  leftOf(key: ModelKey): DecimalText {
    const left = subtractDecimals(key.maxUsd, key.spentUsd);
    return compareDecimals(left, "0") > 0 ? left : "0";
  }

  /** Spends it, and says so, if the key may. */
  admit(keyHash: string, usd: DecimalText): boolean {
    const key = this.keys.get(keyHash);
    if (!key || key.blocked || compareDecimals(addDecimals(key.spentUsd, usd), key.maxUsd) > 0) return false;
    key.spentUsd = addDecimals(key.spentUsd, usd);
    return true;
  }

  /** As after its session ended: there is no such key any more. */
  revoke(keyHash: string): ModelKey | undefined {
    const key = this.keys.get(keyHash);
    if (this.keys.delete(keyHash)) this.#revokedUsd = addDecimals(this.#revokedUsd, key?.spentUsd ?? "0");
    return key;
  }
}
