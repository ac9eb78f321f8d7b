import type { PackView, PolicyView } from "@proliferate/services/top-up";
import { duration } from "../output.ts";

/** A policy in one line. */
export function policyLine(policy: PolicyView): string {
  const breaker =
    policy.breakerUntil === null
      ? ""
      : `; BREAKER OPEN until ${policy.breakerUntil.toISOString()} (${policy.breakerReason ?? "declined"}): billing top-up reset-breaker ${policy.orgId}`;
  const rule = `${policy.packCredits} credits of plan ${policy.planId} when the balance is at or below ${policy.thresholdCredits}, at most ${policy.maxPacksPerMonth} a month, ${duration(policy.minIntervalMs)} apart`;
  return `${policy.enabled ? "" : "switched off; "}${rule}${breaker}`;
}

/** A pack in one line; what it is looked up by at the sink stands in it. */
export function packLine(pack: PackView): string {
  const error = pack.errorCode === null ? "" : `; ${pack.errorCode}${pack.errorMessage === null ? "" : `: ${pack.errorMessage}`}`;
  return `${pack.topUpId}  ${pack.orgId}  ${pack.state}  ${pack.credits} credits of ${pack.planId}, pack ${pack.packNumber} of ${pack.month}, since ${pack.startedAt.toISOString()}, key ${pack.idempotencyKey}${error}`;
}
