import type { DecimalText } from "@proliferate/shared/money";

/** What the sink says about an org's credits. */
export type RemoteBalance =
  | {
      readonly kind: "known";
      /** Left; negative where it was overdrawn. */
      readonly remainingCredits: DecimalText;
      readonly grantedCredits: DecimalText;
      /** Of an overdraft, what the sink has let go of: left beyond granted - used, because a debt is not taken from credits that come later. */
      readonly forgivenCredits: DecimalText;
      /** Start of the next period, where there is one. */
      readonly nextResetAt: Date | null;
      /** What the org subscribes to there; null where the sink knows of none, and ours to say. */
      readonly subscription: RemoteSubscription | null;
    }
  /** The sink has no such customer, or no credits for it; `problem` says what somebody has to do. */
  | { readonly kind: "unknown"; readonly problem: string };

export interface RemoteSubscription {
  /** The sink's own id of the plan. */
  readonly planId: string;
  /** Null: it is no trial. */
  readonly trialEndsAt: Date | null;
}

/** Where balances are read. */
export interface RemoteBalances {
  /** One reading. Throws `autumn_unavailable` when there is none to be had now, `autumn_rejected` when settings are wrong. */
  readBalance(orgId: string): Promise<RemoteBalance>;
}
