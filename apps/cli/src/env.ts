import { DEFAULT_LITELLM_SCHEMA } from "@proliferate/db";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "@proliferate/services/billing/autumn-settings";
import { type EnvironmentSource, httpUrl, parseEnvironment } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";

/** The command line's variables; what is unset is taken from the development stack that runs on this machine, if one does. */
export const CLI_ENVIRONMENT = {
  DATABASE_URL: z.string().optional().describe("PostgreSQL connection string; unset, here and by its alias: the database of the running development stack"),
  POSTGRES_CONNECTION_STRING: z.string().optional().describe("Alias of DATABASE_URL"),
  LITELLM_DB_SCHEMA: z.string().default(DEFAULT_LITELLM_SCHEMA).describe("Schema of the LiteLLM_* tables"),
  AUTUMN_API_KEY: z.string().transform(cleanAutumnSecretKey).optional().describe("Autumn's secret key, as the worker has it; needed by `billing reconcile` alone"),
  AUTUMN_API_URL: z.string().transform(cleanAutumnUrl).pipe(httpUrl).default("https://api.useautumn.com").describe("Autumn's address, with or without /v1"),
  AUTUMN_API_VERSION: z.string().default("2.3.0").describe("Version of Autumn's API that is asked for; at least 2.1"),
  AUTUMN_FEATURE_ID: z.string().default("credits").describe("Autumn's feature that credits are deducted from"),
  BILLING_MARKUP: z.string().regex(/^(?=.*[1-9])\d{1,4}(\.\d{1,6})?$/, "must be a decimal number above 0, such as 3 or 2.5").default("3").describe("Factor on the provider's price where no rate card is valid, as the worker has it"),
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

export interface AutumnSettings {
  readonly secretKey: string;
  readonly serverUrl: string;
  readonly apiVersion: string;
  readonly featureId: string;
}

/** What talking to Autumn needs, and the markup. Throws `env_invalid` where the key is not set. */
export function parseAutumnSettings(source: EnvironmentSource): { readonly autumn: AutumnSettings; readonly markup: string } {
  const variables = parseEnvironment(CLI_ENVIRONMENT, source);
  if (!variables.AUTUMN_API_KEY) throw new AppError("env_invalid", "AUTUMN_API_KEY is not set: without it the sink cannot be asked.");
  const autumn = { secretKey: variables.AUTUMN_API_KEY, serverUrl: variables.AUTUMN_API_URL, apiVersion: variables.AUTUMN_API_VERSION, featureId: variables.AUTUMN_FEATURE_ID };
  return { autumn, markup: variables.BILLING_MARKUP };
}
