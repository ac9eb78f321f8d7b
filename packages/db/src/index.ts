export {
  connectionConfig,
  type DatabaseClient,
  type DatabaseExecutor,
  type DatabaseOptions,
  DEFAULT_LITELLM_SCHEMA,
  GATEWAY_SCHEMA,
  isDatabaseReachable,
  openDatabase,
} from "./client.ts";
export { isDatabaseUnavailable, isPermanentError } from "./database-error.ts";
export { migrate, type MigrateOptions, type MigrationSet } from "./migrate.ts";
export { prepared } from "./prepared-statements.ts";
export { ProcessLock, type ProcessLockOptions } from "./process-lock.ts";
export type * from "./gate-tables.ts";
export type * from "./schema.ts";
export type * from "./session-tables.ts";
export type * from "./sink-tables.ts";
