import { DATABASE_ENVIRONMENT, type DatabaseSettings, parseDatabaseSettings } from "@proliferate/db";
import { OBSERVER_ENVIRONMENT } from "@proliferate/runtime";
import { type LLMProxyConfig, parseLLMProxyConfig } from "@proliferate/shared";
import { type EnvironmentSource, httpUrl, parseEnvironment, portNumber } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import { parseSinkSettings, SINK_ENVIRONMENT, type SinkSettings } from "@proliferate/services/sinks";
import { z } from "zod";

const milliseconds = z.coerce
  .number()
  .int()
  .min(100)
  .max(24 * 60 * 60 * 1_000);

/** At most 6 decimals: enough for any markup, and the products stay short. */
const markup = z.string().regex(/^(?=.*[1-9])\d{1,4}(\.\d{1,6})?$/, "must be a decimal number above 0, such as 3 or 2.5");

/** The worker's variables. */
export const WORKER_ENVIRONMENT = {
  ...DATABASE_ENVIRONMENT,
  REDIS_URL: z
    .url({ protocol: /^rediss?$/, error: "must be a redis:// or rediss:// URL" })
    .optional()
    .describe("Redis for the job schedules; unset: they are kept in PostgreSQL"),
  ...SINK_ENVIRONMENT,
  BILLING_MARKUP: markup
    .default("3")
    .describe(
      "Factor on the provider's price: the default rate card where no operator added one; a change counts from then on and moves nothing that was metered before",
    ),
  SPEND_SOURCE: z
    .enum(["sql", "rest"])
    .default("sql")
    .describe(
      "Where spend rows are read: the LiteLLM_* tables, or LiteLLM's REST API where its database is out of reach; " +
        "`rest` keeps a mirror in the schema litellm_imported, which is then LITELLM_DB_SCHEMA for the other processes",
    ),
  LLM_SYNC_INTERVAL_MS: milliseconds.default(30_000).describe("Milliseconds between two passes from spend rows to events"),
  OUTBOX_INTERVAL_MS: milliseconds
    .default(60_000)
    .describe("Milliseconds between two passes from events to the sink; ended sessions and orgs nearly out of credits are settled sooner"),
  GATE_INTERVAL_MS: milliseconds
    .default(10_000)
    .describe(
      "Milliseconds between two passes that move the states of orgs and the budgets of live keys; the latter needs LLM_PROXY_URL and LLM_PROXY_MASTER_KEY",
    ),
  RECONCILE_INTERVAL_MS: milliseconds
    .default(600_000)
    .describe(
      "Milliseconds between two comparisons of open deliveries with what the sink has on record; all of the last day are compared hourly",
    ),
  BALANCE_INTERVAL_MS: milliseconds
    .default(10_000)
    .describe(
      "Milliseconds between two looks for balances to be read at Autumn (asked for, first seen, out of credits, a day old) and packs to be bought",
    ),
  KEY_RETENTION_DAYS: z.coerce
    .number()
    .int()
    .min(0)
    .max(36_500)
    .default(30)
    .describe("Days after which an expired virtual key of our engine is deleted; 0 keeps them for ever"),
  SESSION_RETENTION_DAYS: z.coerce
    .number()
    .int()
    .min(0)
    .max(36_500)
    .default(90)
    .describe("Days after which an ended session and its events are deleted, not what it cost; 0 keeps them for ever"),
  BILLING_WEBHOOK_URL: httpUrl
    .optional()
    .describe("Where low balances, exhaustion, drifts, top-ups and usage without a price are told; unset: nowhere"),
  BILLING_WEBHOOK_SECRET: z.string().min(16).optional().describe("Secret that signs those events; needed with BILLING_WEBHOOK_URL"),
  WORKER_HOST: z.string().default("127.0.0.1").describe("Address of that port; 0.0.0.0 or one of this machine's to be reached from others"),
  WORKER_PORT: portNumber.default(3002).describe("Port of /livez, /readyz, /status and /metrics; 0 = any free one"),
  ...OBSERVER_ENVIRONMENT,
} as const;

/** The worker's environment, parsed. */
export interface WorkerConfig {
  readonly database: DatabaseSettings;
  readonly redisUrl: string | undefined;
  readonly sinks: SinkSettings;
  readonly markup: string;
  readonly spendSource: "sql" | "rest";
  readonly syncIntervalMs: number;
  readonly outboxIntervalMs: number;
  readonly reconcileIntervalMs: number;
  readonly gateIntervalMs: number;
  readonly balanceIntervalMs: number;
  readonly keyRetentionDays: number;
  readonly sessionRetentionDays: number;
  readonly webhook: { readonly url: string; readonly secret: string } | undefined;
  /** Without address or master key where no keys are to be kept within the balance. */
  readonly proxy: LLMProxyConfig;
  readonly host: string;
  readonly port: number;
  readonly metricsToken: string | undefined;
}

/** Throws one `env_invalid` that names every wrong variable. */
export function parseWorkerConfig(source: EnvironmentSource): WorkerConfig {
  const variables = parseEnvironment(WORKER_ENVIRONMENT, source);
  return {
    database: parseDatabaseSettings(source),
    redisUrl: variables.REDIS_URL,
    sinks: parseSinkSettings(source),
    markup: variables.BILLING_MARKUP,
    spendSource: variables.SPEND_SOURCE,
    syncIntervalMs: variables.LLM_SYNC_INTERVAL_MS,
    outboxIntervalMs: variables.OUTBOX_INTERVAL_MS,
    reconcileIntervalMs: variables.RECONCILE_INTERVAL_MS,
    gateIntervalMs: variables.GATE_INTERVAL_MS,
    balanceIntervalMs: variables.BALANCE_INTERVAL_MS,
    keyRetentionDays: variables.KEY_RETENTION_DAYS,
    sessionRetentionDays: variables.SESSION_RETENTION_DAYS,
    webhook: webhookOf(variables.BILLING_WEBHOOK_URL, variables.BILLING_WEBHOOK_SECRET),
    proxy: parseLLMProxyConfig(source),
    host: variables.WORKER_HOST,
    port: variables.WORKER_PORT,
    metricsToken: variables.METRICS_TOKEN,
  };
}

function webhookOf(url: string | undefined, secret: string | undefined): WorkerConfig["webhook"] {
  if (url === undefined) return undefined;
  if (secret === undefined)
    throw new AppError("env_invalid", "The environment is not usable: BILLING_WEBHOOK_URL is set, BILLING_WEBHOOK_SECRET is not.");
  return { url, secret };
}
