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
    }
  /** The sink has no such customer, or no credits for it; `problem` says what somebody has to do. */
  | { readonly kind: "unknown"; readonly problem: string };

/** Where balances are read. */
export interface RemoteBalances {
  /** One reading. Throws `autumn_unavailable` when there is none to be had now, `autumn_rejected` when settings are wrong. */
  readBalance(orgId: string): Promise<RemoteBalance>;
}
