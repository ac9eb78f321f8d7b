import type { AutumnClient } from "./autumn-client.ts";
import { classifyAutumnError } from "./autumn-errors.ts";
import { problemOfFeature } from "./autumn-feature.ts";
import type { DeliveryOutcome } from "../port/sink.ts";

/** A feature that was unsuitable is looked at again after this long: somebody may have changed it. */
const AGAIN_MS = 60_000;

interface FeatureGate {
  /** Asks Autumn about the feature. What keeps every deduction back, or undefined: it is suitable, or Autumn does not tell. Never throws. */
  ask(): Promise<DeliveryOutcome | undefined>;
  /** What the last asking said, without waiting for anybody; a refusal that is a minute old is asked about again meanwhile. */
  known(): DeliveryOutcome | undefined;
}

/**
 * Lets nothing be deducted from a feature that would take another amount than it is asked for. The worker asks before its first
 * delivery. Where Autumn does not tell (it is away, or an older one that lists no features) deductions go on: each answer is
 * compared with what should have been taken. No delivery waits here, so a silent Autumn holds up nobody by it.
 */
export function createFeatureGate(open: () => Promise<AutumnClient>, featureId: string, now: () => number = Date.now): FeatureGate {
  let refusal: DeliveryOutcome | undefined;
  let askedAtMs = 0;
  const ask = async (): Promise<DeliveryOutcome | undefined> => {
    askedAtMs = now();
    refusal = await judge(open, featureId);
    return refusal;
  };
  return {
    ask,
    known() {
      if (refusal !== undefined && now() - askedAtMs >= AGAIN_MS) void ask();
      return refusal;
    },
  };
}

async function judge(open: () => Promise<AutumnClient>, featureId: string): Promise<DeliveryOutcome | undefined> {
  try {
    const { list } = await (await open()).features.list();
    const problem = problemOfFeature(list, featureId);
    return problem === undefined ? undefined : { kind: "parked", code: "feature_unsuitable", message: problem };
  } catch (error) {
    const outcome = classifyAutumnError(error);
    return outcome.code === "invalid_secret_key" || outcome.code === "invalid_api_version" ? outcome : undefined;
  }
}
