export { ChannelListener } from "./channel-listener.ts";
export { checkDatabase } from "./check-database.ts";
export {
  connectionConfig,
  connectSession,
  type DatabaseClient,
  type DatabaseExecutor,
  type DatabaseOptions,
  isDatabaseReachable,
  openDatabase,
  takesWrites,
} from "./client.ts";
export {
  isDatabaseUnavailable,
  isForbidden,
  isLoginRefused,
  isNullRefused,
  isOverlap,
  isPermanentError,
  isSchemaTooOld,
  isTableMissing,
  isUniqueViolation,
} from "./database-error.ts";
export { DATABASE_ENVIRONMENT, type DatabaseSettings, parseDatabaseSettings } from "./database-environment.ts";
export { grantRole } from "./grant-role.ts";
export { migrate } from "./migrate.ts";
export { type Placeholders, preparedStatement } from "./prepared-statements.ts";
export { ProcessLock } from "./process-lock.ts";
export { DEFAULT_LITELLM_SCHEMA } from "./schema-names.ts";
export { applySettings, DEAD_PEER_SETTINGS, KEEP_ALIVE, type Pooling, sessionSettings } from "./session-settings.ts";
export { plainSslMode } from "./ssl-mode.ts";
export type {
  AccountMode,
  BalanceReconciliationTable,
  OperatorActionTable,
  OrgGateTable,
  OrgState,
  TopUpPolicyTable,
  TopUpTable,
  WebhookEventTable,
} from "./gate-tables.ts";
export { joinTransaction } from "./joined-transaction.ts";
export type { ManagementActionTable, ReservationJson } from "./limit-tables.ts";
export type { BudgetTable, SpendLogTable, TeamTable, UserTable, VerificationTokenTable } from "./litellm-tables.ts";
export type { Database, RequestAttemptTable, SettlementState, SpendReviewReason } from "./schema.ts";
export type {
  GatewaySessionTable,
  ServiceTokenAuditTable,
  ServiceTokenTable,
  SessionEventTable,
  SessionLauncher,
  SessionRequestTable,
} from "./session-tables.ts";
export type { DeliveryFindingKind, DeliveryFindingTable } from "./sink-tables.ts";
