import { DEFAULT_LITELLM_SCHEMA } from "@proliferate/db";
import { type EnvironmentSource, parseEnvironment, portNumber } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";

const MIN_TOKEN_LENGTH = 16;

const apiTokens = z
  .string()
  .transform((text) => text.split(",").map((token) => token.trim()).filter((token) => token !== ""))
  .refine((tokens) => tokens.length > 0 && tokens.every((token) => token.length >= MIN_TOKEN_LENGTH && !/\s/.test(token)), {
    message: `must be one or more tokens of at least ${MIN_TOKEN_LENGTH} characters, separated by commas`,
  });

/** The gateway's own variables; those of the LLM proxy are `LLM_PROXY_ENVIRONMENT` in @proliferate/shared. */
export const GATEWAY_ENVIRONMENT = {
  DATABASE_URL: z.string().optional().describe("PostgreSQL connection string; required, here or by its alias"),
  POSTGRES_CONNECTION_STRING: z.string().optional().describe("Alias of DATABASE_URL"),
  LITELLM_DB_SCHEMA: z.string().default(DEFAULT_LITELLM_SCHEMA).describe("Schema of the LiteLLM_* tables"),
  GATEWAY_PORT: portNumber.default(8787).describe("Port that the gateway listens on; 0 = any free one"),
  GATEWAY_API_TOKEN: apiTokens.describe(`Bearer tokens that /v1 accepts, separated by commas; each at least ${MIN_TOKEN_LENGTH} characters. Two at once make rotation possible`),
  GATEWAY_DEFAULT_MODEL: z.string().default("claude-sonnet-5").describe("Model of a session that names none; a name of litellm/config.yaml"),
  GATEWAY_SMALL_MODEL: z.string().default("claude-haiku-4-5").describe("Model that agents use for titles, where the session's key allows it and its provider is that of the session's model"),
  BILLING_GATE: z.enum(["off", "enforce"]).default("off").describe("enforce: a session starts only if its org has credits, and its key may spend no more than they are worth; the worker must run, with LLM_PROXY_URL and LLM_PROXY_MASTER_KEY"),
} as const;

export interface GatewayConfig {
  readonly databaseUrl: string;
  readonly litellmSchema: string;
  readonly port: number;
  readonly apiTokens: readonly string[];
  readonly defaultModel: string;
  readonly smallModel: string;
  readonly billingGate: "off" | "enforce";
}

/** Throws one `env_invalid` that names every wrong variable. */
export function parseGatewayConfig(source: EnvironmentSource): GatewayConfig {
  const variables = parseEnvironment(GATEWAY_ENVIRONMENT, source);
  const databaseUrl = variables.DATABASE_URL ?? variables.POSTGRES_CONNECTION_STRING;
  if (databaseUrl === undefined) throw new AppError("env_invalid", "The environment is not usable: DATABASE_URL is not set.");
  return {
    databaseUrl,
    litellmSchema: variables.LITELLM_DB_SCHEMA,
    port: variables.GATEWAY_PORT,
    apiTokens: variables.GATEWAY_API_TOKEN,
    defaultModel: variables.GATEWAY_DEFAULT_MODEL,
    smallModel: variables.GATEWAY_SMALL_MODEL,
    billingGate: variables.BILLING_GATE,
  };
}
