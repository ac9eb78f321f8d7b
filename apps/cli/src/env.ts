import { DATABASE_ENVIRONMENT as DATABASE, type Pooling } from "@proliferate/db";
import { parseSinkSettings, SINK_ENVIRONMENT, type SinkSettings } from "@proliferate/services/sinks";
import { commandWords, type EnvironmentSource, httpUrl, parseEnvironment, postgresUrl } from "@proliferate/shared/env";
import { z } from "zod";

const DATABASE_ENVIRONMENT = {
  DATABASE_URL: postgresUrl
    .optional()
    .describe("PostgreSQL connection string; unset, here and by its alias: the database of the running development stack"),
  POSTGRES_CONNECTION_STRING: postgresUrl.optional().describe("Alias of DATABASE_URL"),
  LITELLM_DB_SCHEMA: DATABASE.LITELLM_DB_SCHEMA,
  DATABASE_POOLING: DATABASE.DATABASE_POOLING,
  GATEWAY_URL: httpUrl.optional().describe("Where the session commands find the gateway; unset: the running development stack's"),
  GATEWAY_API_TOKEN: z.string().optional().describe("Its bearer token; unset: the running development stack's"),
  DEV_ORG_ID: z.string().optional().describe("Organization of the session commands that name none; unset: the running development stack's"),
  REPO_TOKEN: z.string().optional().describe("Token with which `session start --repo` clones a private repository"),
  OPENCODE_COMMAND: commandWords
    .prefault("opencode")
    .describe("Program that `session start --attach` opens: words separated by blanks, or a JSON array of them"),
  OPERATOR_NAME: z
    .string()
    .optional()
    .describe("Who acts, for the record of what is done by hand; --by wins, and without both it is the account's name"),
  DEV_STATE_FOLDER: z.string().default(".dev").describe("Where development stacks keep their state, below the checkout"),
} as const;

const RATE_ENVIRONMENT = {
  BILLING_MARKUP: z
    .string()
    .regex(/^(?=.*[1-9])\d{1,4}(\.\d{1,6})?$/, "must be a decimal number above 0, such as 3 or 2.5")
    .default("3")
    .describe("Factor on the provider's price where no rate card is valid, as the worker has it"),
} as const;

/** The command line's variables; what is unset is taken from the development stack that runs on this machine, if one does. Those of the sink are read by `billing reconcile` alone. */
export const CLI_ENVIRONMENT = { ...DATABASE_ENVIRONMENT, ...RATE_ENVIRONMENT, ...SINK_ENVIRONMENT } as const;

export interface CliConfig {
  /** Undefined where neither name of it is set. */
  readonly databaseUrl: string | undefined;
  readonly litellmSchema: string;
  readonly pooling: Pooling;
  readonly stateFolder: string;
  readonly gatewayUrl: string | undefined;
  readonly gatewayToken: string | undefined;
  /** Whose sessions are meant where a command names nobody's. */
  readonly orgId: string | undefined;
  readonly repoToken: string | undefined;
  readonly opencode: readonly string[];
  /** Who acts where a command is not told. */
  readonly operatorName: string | undefined;
}

/** Throws one `env_invalid` that names every wrong variable. */
export function parseCliConfig(source: EnvironmentSource): CliConfig {
  const variables = parseEnvironment(DATABASE_ENVIRONMENT, source);
  return {
    databaseUrl: variables.DATABASE_URL ?? variables.POSTGRES_CONNECTION_STRING,
    litellmSchema: variables.LITELLM_DB_SCHEMA,
    pooling: variables.DATABASE_POOLING,
    stateFolder: variables.DEV_STATE_FOLDER,
    gatewayUrl: variables.GATEWAY_URL,
    gatewayToken: variables.GATEWAY_API_TOKEN,
    orgId: variables.DEV_ORG_ID,
    repoToken: variables.REPO_TOKEN,
    opencode: variables.OPENCODE_COMMAND,
    operatorName: variables.OPERATOR_NAME,
  };
}

/** What comparing with the sink needs. Throws `env_invalid` that names what is missing. */
export function parseReconcileSettings(source: EnvironmentSource): { readonly sinks: SinkSettings; readonly markup: string } {
  return { sinks: parseSinkSettings(source), markup: parseEnvironment(RATE_ENVIRONMENT, source).BILLING_MARKUP };
}
