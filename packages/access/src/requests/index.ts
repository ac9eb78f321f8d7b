export { type AdmissionRequest, admitAttempt, type ExceededPath, modelOf, requireUsable } from "./admit.ts";
export { resetDueBudgets } from "./budget-reset.ts";
export { type AttemptCheckpoint, readCheckpoint } from "./checkpoint.ts";
export {
  type AdmittedAttempt,
  type AttemptRow,
  checkpointAttempts,
  INSTANCE_LOCK_CLASS,
  listAttempts,
  listAttemptsById,
  listInstancesWithAttempts,
  nextInstanceId,
  readClock,
  withDeadInstance,
} from "./db.ts";
export { type AdmittedRequest, beforeMsOf, MOST_BEFORE_ADMISSION_MS } from "./admission-db.ts";
export { insertCorrection } from "./settlement-db.ts";
export { requireLimitsLeft } from "./limits-left.ts";
export { readReservations } from "./reservations-db.ts";
export { settleAttempt } from "./settle.ts";
export { settleSpooledAttempt, spooledAttempt } from "./spooled.ts";
export type { SpooledAttempt } from "./spooled-db.ts";
export type { AttemptOutcome } from "./spend-log.ts";
