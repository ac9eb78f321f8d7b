export { nextBudgetReset, nextStoredReset } from "./budget-window.ts";
export {
  adoptForeignSpend,
  callerNow,
  clearBudgetCounter,
  COUNTER_OF_LIMIT,
  deleteEndedCounters,
  HAS_LIMIT_COLUMNS,
  hasOtherLimits,
  insertMissingCounters,
  IS_BUDGET,
  limitsOfCaller,
  LOCK_ORDER,
  lockBudgetCounter,
  lockCounters,
  readLimits,
  reserve,
  secondsLeftOf,
} from "./counters-db.ts";
export { intervalFromDuration, parseDuration } from "./duration.ts";
export { type LimitWarning, warningsOf } from "./limit-warning.ts";
export { insertLimitWarning } from "./warnings-db.ts";
export { limitError } from "./limit-error.ts";
export { checkLimits, type CountedLimit, type DueBudget, isLiteLLMBudget } from "./limit.ts";
export { LimitedKeys } from "./limited-keys.ts";
export { deleteLimit, limitWindowOf, listLimits, MOST_LIMITS, type SetLimit, upsertLimit, writeLimit } from "./limits-db.ts";
export { readTiers, writeTier } from "./tiers-db.ts";
export { type Amounts, amountsOf, amountsTaken, type MeteredOutcome, type MeteredRequest, METERS } from "./meters.ts";
export { usedUpPart } from "./used-up.ts";
