import { type EnvironmentSource, parseEnvironment, postgresUrl } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import type { DatabaseOptions } from "./client.ts";
import { DEFAULT_LITELLM_SCHEMA } from "./schema-names.ts";

/** The variables that say where the database is; every process has them. */
export const DATABASE_ENVIRONMENT = {
  DATABASE_URL: postgresUrl
    .optional()
    .describe(
      "PostgreSQL connection string; required, here or by its alias. `sslmode=require` in it checks certificate and name; docs/operations.md, TLS",
    ),
  POSTGRES_CONNECTION_STRING: postgresUrl.optional().describe("Alias of DATABASE_URL"),
  DATABASE_DIRECT_URL: postgresUrl
    .optional()
    .describe(
      "The same database past a pooler, for what lives as long as its session: process locks, the queue's LISTEN, migrations; unset: DATABASE_URL",
    ),
  DATABASE_POOLING: z
    .enum(["session", "transaction"])
    .default("session")
    .describe(
      "transaction where DATABASE_URL is a pooler in transaction mode; DATABASE_DIRECT_URL is required then, and the role's settings (docs/operations.md, PgBouncer)",
    ),
  LITELLM_DB_SCHEMA: z.string().default(DEFAULT_LITELLM_SCHEMA).describe("Schema of the LiteLLM_* tables"),
} as const;

/** The database of a process. */
export interface DatabaseSettings {
  /** For statements and transactions. */
  readonly pooled: Pick<DatabaseOptions, "connectionString" | "litellmSchema" | "pooling">;
  /** The same database, by an address that keeps its session. */
  readonly direct: Pick<DatabaseOptions, "connectionString" | "litellmSchema">;
}

/** Throws `env_invalid` that names what is wrong or missing. */
export function parseDatabaseSettings(source: EnvironmentSource): DatabaseSettings {
  const variables = parseEnvironment(DATABASE_ENVIRONMENT, source);
  const { DATABASE_DIRECT_URL: directUrl, DATABASE_POOLING: pooling, LITELLM_DB_SCHEMA: litellmSchema } = variables;
  const connectionString = variables.DATABASE_URL ?? variables.POSTGRES_CONNECTION_STRING;
  if (connectionString === undefined) throw new AppError("env_invalid", "The environment is not usable: DATABASE_URL is not set.");
  if (pooling === "transaction" && directUrl === undefined) {
    throw new AppError("env_invalid", "The environment is not usable: DATABASE_POOLING is transaction, DATABASE_DIRECT_URL is not set.");
  }
  return {
    pooled: { connectionString, litellmSchema, pooling },
    direct: { connectionString: directUrl ?? connectionString, litellmSchema },
  };
}
