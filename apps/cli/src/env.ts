import { DEFAULT_LITELLM_SCHEMA } from "@proliferate/db";
import { type EnvironmentSource, parseEnvironment } from "@proliferate/shared/env";
import { z } from "zod";

/** The command line's variables; what is unset is taken from the development stack that runs on this machine, if one does. */
export const CLI_ENVIRONMENT = {
  DATABASE_URL: z.string().optional().describe("PostgreSQL connection string; unset, here and by its alias: the database of the running development stack"),
  POSTGRES_CONNECTION_STRING: z.string().optional().describe("Alias of DATABASE_URL"),
  LITELLM_DB_SCHEMA: z.string().default(DEFAULT_LITELLM_SCHEMA).describe("Schema of the LiteLLM_* tables"),
  DEV_STATE_FOLDER: z.string().default(".dev").describe("Where development stacks keep their state, below the checkout"),
} as const;

export interface CliConfig {
  /** Undefined where neither name of it is set. */
  readonly databaseUrl: string | undefined;
  readonly litellmSchema: string;
  readonly stateFolder: string;
}

/** Throws one `env_invalid` that names every wrong variable. */
export function parseCliConfig(source: EnvironmentSource): CliConfig {
  const variables = parseEnvironment(CLI_ENVIRONMENT, source);
  return {
    databaseUrl: variables.DATABASE_URL ?? variables.POSTGRES_CONNECTION_STRING,
    litellmSchema: variables.LITELLM_DB_SCHEMA,
    stateFolder: variables.DEV_STATE_FOLDER,
  };
}
