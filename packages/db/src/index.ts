export { ChannelListener, type ChannelListenerOptions } from "./channel-listener.ts";
export { checkDatabase } from "./check-database.ts";
export {
  connectionConfig,
  connectSession,
  type DatabaseClient,
  type DatabaseExecutor,
  type DatabaseOptions,
  isDatabaseReachable,
  openDatabase,
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
export { grantRole, type GrantOptions } from "./grant-role.ts";
export { migrate, type MigrateOptions, type MigrationSet } from "./migrate.ts";
export { prepared } from "./prepared-statements.ts";
export { ProcessLock, type ProcessLockOptions } from "./process-lock.ts";
export { DEFAULT_LITELLM_SCHEMA, GATEWAY_SCHEMA } from "./schema-names.ts";
export { applySettings, DEAD_PEER_SETTINGS, KEEP_ALIVE, type Pooling, sessionSettings } from "./session-settings.ts";
export { plainSslMode } from "./ssl-mode.ts";
export type * from "./gate-tables.ts";
export type * from "./limit-tables.ts";
export type * from "./schema.ts";
export type * from "./session-tables.ts";
export type * from "./sink-tables.ts";
