import { type DeliveryOutcome, NO_BALANCE } from "../sinks/index.ts";
import { parkedDelayMs, retryDelayMs } from "./backoff.ts";
import type { ClaimedBatch } from "./claim-batches-db.ts";
import type { AttemptRecord } from "./settlement-db.ts";
import type { SettlementOptions } from "./settlement-options.ts";

/** The table of transitions: what the sink answered decides where the batch goes (README.md). */
export function recordOf(
  outcome: DeliveryOutcome,
  {
    claim,
    attempt,
    retryAfterMs,
    options,
  }: { readonly claim: ClaimedBatch; readonly attempt: number; readonly retryAfterMs: number; readonly options: SettlementOptions },
): AttemptRecord {
  const base = {
    attempt,
    outcome: outcome.kind,
    status: outcome.status ?? null,
    errorCode: outcome.code ?? null,
    errorMessage: outcome.message ?? null,
    deductedCredits: "deductedCredits" in outcome ? outcome.deductedCredits : null,
    balanceAfter: ("balanceAfter" in outcome ? outcome.balanceAfter : undefined) ?? null,
    retryInMs: (options.retryDelayMs ?? retryDelayMs)({ attempt, retryAfterMs }),
    holdsOrg: false,
    needsReconcile: false,
  };
  const parkedInMs = (options.parkedDelayMs ?? parkedDelayMs)({});
  switch (outcome.kind) {
    case "delivered":
    case "shortfall":
      return { ...base, state: outcome.kind, mayBeApplied: true };
    case "unapplied":
      // The answer speaks of this attempt. Whether an earlier attempt was applied, only the sink's record can tell. A redrive would send the
      // batch under a second key, and the credits could be taken twice.
      if (claim.mayBeApplied)
        return {
          ...base,
          state: "unknown",
          mayBeApplied: true,
          needsReconcile: true,
          deductedCredits: null,
          holdsOrg: outcome.code === NO_BALANCE,
        };
      // The org has no balance. Its next batch would lose its key in the same way, and leave an event that took nothing. A sink that
      // can be asked is asked whether the org has a balance by now. With a sink that cannot be asked, the next batch is tried after a while.
      return {
        ...base,
        state: "unapplied",
        mayBeApplied: true,
        retryInMs: options.sink.hasBalance ? base.retryInMs : parkedInMs,
        holdsOrg: outcome.code === NO_BALANCE,
      };
    case "accepted":
      return { ...base, state: "unknown", mayBeApplied: true };
    case "unknown":
      return { ...base, state: "unknown", mayBeApplied: true, holdsOrg: true };
    case "duplicate":
      if (claim.mayBeApplied) return { ...base, state: "delivered", mayBeApplied: true };
      return {
        ...base,
        state: "dead",
        mayBeApplied: false,
        errorCode: "key_collision",
        errorMessage: "The sink knows this key, but no attempt of ours can have reached it: somebody else uses our keys.",
      };
    case "unavailable":
      return { ...base, state: claim.mayBeApplied ? "unknown" : "sealed", mayBeApplied: false, holdsOrg: true };
    case "parked":
      return { ...base, state: "parked", mayBeApplied: false, retryInMs: parkedInMs, holdsOrg: true };
    case "dead":
      return { ...base, state: "dead", mayBeApplied: false };
  }
}
