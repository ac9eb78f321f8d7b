import type { DecimalText } from "@proliferate/shared/money";

/** What a session needs of billing: the gate, and a share of what its org can afford. */
export interface SessionAdmission {
  /**
   * Reserves what the key that is about to be minted may spend and returns it, USD of provider cost: `limitUsd` at most.
   * Throws what the billing gate throws, and then nothing is reserved.
   */
  admit(request: {
    readonly orgId: string;
    readonly sessionId: string;
    readonly keyGeneration: number;
    readonly operation: "session_start" | "session_resume";
    readonly limitUsd: DecimalText | undefined;
  }): Promise<DecimalText>;
  /** Names the key that was minted, after the session's older ones were revoked. Idempotent. */
  confirm(key: { readonly sessionId: string; readonly keyGeneration: number; readonly keyHash: string }): Promise<void>;
  /** Takes a reservation back whose key was certainly not made. Idempotent. */
  cancel(sessionId: string, keyGeneration: number): Promise<void>;
  /** Changes the caller's own limit of the session's key, USD; the key follows within seconds as far as the balance allows. Idempotent. */
  setLimit(sessionId: string, keyGeneration: number, limitUsd: DecimalText): Promise<void>;
  /** Gives back what an ended session held, but for what is still under way. Idempotent. */
  release(sessionId: string): Promise<void>;
}
