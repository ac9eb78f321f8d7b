export { type AdmissionRequest, admitAttempt, requireUsable } from "./admit.ts";
export { resetDueBudgets } from "./budget-reset.ts";
export { type AttemptCheckpoint, readCheckpoint } from "./checkpoint.ts";
export {
  type AdmittedAttempt,
  type AttemptRow,
  checkpointAttempts,
  insertCorrection,
  INSTANCE_LOCK_CLASS,
  listAttempts,
  listInstancesWithAttempts,
  MOST_BEFORE_ADMISSION_MS,
  nextInstanceId,
  withDeadInstance,
} from "./db.ts";
export { requireLimitsLeft } from "./limits-left.ts";
export { readReservations } from "./reservations-db.ts";
export { settleAttempt } from "./settle.ts";
export type { AttemptOutcome } from "./spend-log.ts";
