import { ENGINES } from "@proliferate/services/engines";
import { type EnvironmentSource, httpUrl, parseEnvironment, portNumber, postgresUrl } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";

/** The variables of the development stack. What is unset gets a stand-in, and the screen says so. */
export const DEV_STACK_ENVIRONMENT = {
  DATABASE_URL: postgresUrl.optional().describe("PostgreSQL server; unset: an embedded one. Alias: POSTGRES_CONNECTION_STRING."),
  POSTGRES_CONNECTION_STRING: postgresUrl.optional().describe("Alias of DATABASE_URL."),
  LITELLM_DB_SCHEMA: z.string().optional().describe("Schema of the LiteLLM_* tables. Default: litellm."),
  REDIS_URL: z
    .string()
    .optional()
    .describe("Redis for the queue, and for what proxies tell each other of used-up limits; unset: the queue is in PostgreSQL."),
  ANTHROPIC_API_KEY: z.string().optional().describe("Anthropic key, held by the proxy only; unset: a local provider."),
  ANTHROPIC_API_BASE: httpUrl.optional().describe("Where Anthropic is. Default: its public API."),
  OPENAI_API_KEY: z.string().optional().describe("OpenAI key, held by the proxy only; unset: a local provider."),
  OPENAI_API_BASE: httpUrl.optional().describe("Where OpenAI is. Default: its public API."),
  LLM_PROXY_URL: httpUrl.optional().describe("A running LiteLLM or remote engine; unset: our engine is started."),
  LLM_PROXY_ENGINE: z.enum(ENGINES).optional().describe("What LLM_PROXY_URL is. Default: litellm; ours where our engine is started."),
  LLM_PROXY_ADMIN_URL: httpUrl.optional().describe("Its management address where that differs from LLM_PROXY_URL."),
  LLM_PROXY_MASTER_KEY: z.string().optional().describe("Its master key; required with LLM_PROXY_URL."),
  LLM_PROXY_MANAGEMENT: z
    .enum(["separate", "shared"])
    .optional()
    .describe("shared: our engine's management API on the data plane's port as well. Not together with NGROK_AUTHTOKEN."),
  AUTUMN_API_KEY: z.string().optional().describe("Autumn secret key; unset: a local emulator."),
  AUTUMN_API_URL: httpUrl.optional().describe("Where Autumn is. Default: its public API."),
  NGROK_AUTHTOKEN: z.string().optional().describe("Opens a public tunnel to the data plane (never to management)."),
  BILLING_GATE: z
    .enum(["off", "enforce"])
    .optional()
    .describe("Whether sessions start only for organizations with credits. Default: enforce."),
  LLM_PROXY_PORT: portNumber.default(4000).describe("Port of the data plane. Default: 4000."),
  LLM_PROXY_ADMIN_PORT: portNumber.default(4001).describe("Port of the management API. Default: 4001."),
  GATEWAY_PORT: portNumber.default(8787).describe("Port of the gateway. Default: 8787."),
  WORKER_PORT: portNumber.default(3002).describe("Port of the worker's health server. Default: 3002."),
  DEV_STATE_FOLDER: z
    .string()
    .default(".dev")
    .describe("Folder for database, logs and stand-in state, kept between runs. Default: .dev in the checkout."),
  DEV_ORG_ID: z
    .string()
    .regex(/^[A-Za-z0-9_:-]{1,64}$/)
    .default("org_demo")
    .describe("The organization the demonstration bills. Default: org_demo."),
  DEV_MODEL: z.string().default("claude-sonnet-5").describe("The model of the demonstration request. Default: claude-sonnet-5."),
} as const;

export type DevStackEnvironment = z.output<z.ZodObject<typeof DEV_STACK_ENVIRONMENT>> & { readonly databaseUrl: string | undefined };

/** Throws `env_invalid`, naming every wrong variable and every half-set pair. */
export function parseDevStackEnvironment(source: EnvironmentSource): DevStackEnvironment {
  const environment = parseEnvironment(DEV_STACK_ENVIRONMENT, source);
  const databaseUrl = environment.DATABASE_URL ?? environment.POSTGRES_CONNECTION_STRING;
  const missing = [
    environment.LLM_PROXY_URL &&
      !environment.LLM_PROXY_MASTER_KEY &&
      "LLM_PROXY_URL is set but LLM_PROXY_MASTER_KEY is not: keys could not be minted. It is that proxy's LITELLM_MASTER_KEY (of a compose stack: in its .env).",
    environment.LLM_PROXY_URL &&
      !databaseUrl &&
      "LLM_PROXY_URL is set but DATABASE_URL is not: spend rows are read from that proxy's database (of a compose stack: postgresql://app:POSTGRES_PASSWORD@127.0.0.1:5432/app).",
    environment.LLM_PROXY_MANAGEMENT === "shared" &&
      environment.NGROK_AUTHTOKEN &&
      "LLM_PROXY_MANAGEMENT is shared and NGROK_AUTHTOKEN is set: the tunnel would show the management API to everybody. Unset one of them.",
    environment.LLM_PROXY_MANAGEMENT === "shared" &&
      environment.LLM_PROXY_URL &&
      "LLM_PROXY_MANAGEMENT is a setting of our engine, and LLM_PROXY_URL names another proxy. Set it there.",
    ...collidingPorts(environment),
  ].filter((problem) => typeof problem === "string");
  if (missing.length > 0) throw new AppError("env_invalid", missing.join("\n"));
  return { ...environment, databaseUrl };
}

const PORTS = ["LLM_PROXY_PORT", "LLM_PROXY_ADMIN_PORT", "GATEWAY_PORT", "WORKER_PORT"] as const;

/** One line for each port that two parts would listen on; 0 is any free one. */
function collidingPorts(environment: Readonly<Record<(typeof PORTS)[number], number>>): readonly string[] {
  const byPort = Map.groupBy(PORTS, (name) => environment[name]);
  return [...byPort]
    .filter(([port, names]) => port !== 0 && names.length > 1)
    .map(([port, names]) => `${names.join(" and ")} are both ${port}: each needs a port of its own.`);
}
