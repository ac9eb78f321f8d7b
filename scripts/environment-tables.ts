import { LLM_PROXY_ENVIRONMENT } from "@proliferate/shared";
import { z } from "zod";
import { CLI_ENVIRONMENT } from "../apps/cli/src/env.ts";
import { GATEWAY_ENVIRONMENT } from "../apps/gateway/src/env.ts";
import { LLM_PROXY_ENVIRONMENT as ENGINE_ENVIRONMENT } from "../apps/llm-proxy/src/env.ts";
import { WORKER_ENVIRONMENT } from "../apps/worker/src/env.ts";
import { DEV_STACK_ENVIRONMENT } from "./dev-stack/environment.ts";
import { MIGRATE_ENVIRONMENT } from "./migrate.ts";

/** The variables of one process, as its own code states them. */
export interface EnvironmentTable {
  readonly title: string;
  readonly note: string;
  readonly shape: Readonly<Record<string, z.ZodType>>;
}

/** Variables that are read outside any process's `env.ts`: before there is a configuration, or by the test run. */
const COMMON_ENVIRONMENT = {
  LOG_LEVEL: z.string().default("info").describe("Log level of every process: trace, debug, info, warn, error, fatal or silent"),
};
const TEST_ENVIRONMENT = {
  TEST_DATABASE_URL: z
    .string()
    .optional()
    .describe("PostgreSQL server for the tests, its user allowed to create databases; unset: the embedded one"),
  TEST_REDIS_URL: z
    .string()
    .optional()
    .describe("Redis for the tests of the queue and of what proxies tell each other, too; unset: PostgreSQL and a stand-in"),
};

/** What litellm/config.yaml takes from the environment, with either engine, beyond that engine's own variables. */
const PROVIDER_ENVIRONMENT = {
  ANTHROPIC_API_KEY: z.string().optional().describe("Anthropic's key; unset: calls of its models are refused, naming the variable"),
  ANTHROPIC_API_BASE: z.string().optional().describe("Where Anthropic is; unset: its public API"),
  OPENAI_API_KEY: z.string().optional().describe("OpenAI's key; unset: calls of its models are refused, naming the variable"),
  OPENAI_API_BASE: z.string().optional().describe("Where OpenAI is; unset: its public API"),
  GEMINI_API_KEY: z
    .string()
    .optional()
    .describe("Google's key for Gemini (AI Studio); unset: calls of its models are refused, naming the variable"),
  GEMINI_API_BASE: z.string().optional().describe("Where Gemini is; unset: its public API"),
};

/** Every variable of the product, by the process that reads it: the source of docs/env.md and of what compose and .env.example may set. */
export const ENVIRONMENT_TABLES = {
  gateway: {
    title: "Gateway",
    note: "`apps/gateway`; reads the variables of `@proliferate/shared`, too, and needs LLM_PROXY_URL and LLM_PROXY_MASTER_KEY.",
    shape: GATEWAY_ENVIRONMENT,
  },
  shared: { title: "@proliferate/shared", note: "The gateway, and any program of yours that mints keys.", shape: LLM_PROXY_ENVIRONMENT },
  worker: {
    title: "Worker",
    note: "`apps/worker`; reads the variables of `@proliferate/shared`, too: with LLM_PROXY_URL and LLM_PROXY_MASTER_KEY it keeps keys within the balance.",
    shape: WORKER_ENVIRONMENT,
  },
  engine: { title: "LLM proxy", note: "`apps/llm-proxy`, our engine. Stock LiteLLM has its own manual.", shape: ENGINE_ENVIRONMENT },
  providers: {
    title: "Model providers",
    note: "Named by `apps/llm-proxy/litellm/config.yaml`. Only the proxy ever has them.",
    shape: PROVIDER_ENVIRONMENT,
  },
  cli: { title: "Command line", note: "`./scripts/billing` and `./scripts/session`, `apps/cli`.", shape: CLI_ENVIRONMENT },
  migrate: { title: "Migrations", note: "`node scripts/migrate.ts`.", shape: MIGRATE_ENVIRONMENT },
  developmentStack: {
    title: "Development stack",
    note: "`./scripts/dev-start.sh`; each switches a part from its stand-in to the real thing.",
    shape: DEV_STACK_ENVIRONMENT,
  },
  common: { title: "Every process", note: "", shape: COMMON_ENVIRONMENT },
  tests: { title: "Tests", note: "`./scripts/test.sh`.", shape: TEST_ENVIRONMENT },
} as const satisfies Record<string, EnvironmentTable>;

/** `required`, the default as one would write it, or `unset`. */
export function defaultOf(schema: z.ZodType): string {
  const result = schema.safeParse(undefined);
  if (!result.success) return "required";
  return result.data === undefined ? "unset" : `\`${String(result.data)}\``;
}

/** Every default that the processes have for the variable, as text, without repetition; none where it is required or unset. */
export function defaultsOfVariable(name: string): readonly string[] {
  const shapes: readonly Readonly<Record<string, z.ZodType>>[] = Object.values(ENVIRONMENT_TABLES).map(({ shape }) => shape);
  const values = shapes.flatMap((shape) => shape[name]?.safeParse(undefined).data ?? []);
  return [...new Set(values.map(String))];
}
