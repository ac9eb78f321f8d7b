import { DATABASE_ENVIRONMENT, type DatabaseSettings, parseDatabaseSettings } from "@proliferate/db";
import { OBSERVER_ENVIRONMENT } from "@proliferate/runtime";
import { AppError } from "@proliferate/shared/errors";
import { isAmount } from "@proliferate/shared/money";
import { type EnvironmentSource, parseEnvironment, portNumber } from "@proliferate/shared/env";
import { z } from "zod";
import { ADMISSION_WAIT_LIMITS, type AdmissionWaitLimits } from "./data-plane/admission-queue.ts";
import type { UnjudgedPolicy } from "./data-plane/judge.ts";
import type { UploadLimits } from "./data-plane/uploads.ts";
import type { GraceSettings } from "./grace/grace.ts";
import type { ConnectionLimits } from "./proxy.ts";
import { UPLOAD_PACE } from "./http/read-body.ts";

/** Published in tutorials and in this repository's history: whoever finds the port tries these. */
const WELL_KNOWN_KEYS: ReadonlySet<string> = new Set([
  "sk-1234",
  "sk-local-master-key",
  "sk-master-key",
  "sk-litellm-master-key",
  "sk-your-master-key-here",
]);
const MIN_KEY_LENGTH = 16;

const masterKey = z
  .string()
  .min(MIN_KEY_LENGTH, `must have at least ${MIN_KEY_LENGTH} characters`)
  .refine((key) => !WELL_KNOWN_KEYS.has(key), "is publicly known; make a random one")
  .refine((key) => /^[\x21-\x7e]+$/.test(key), "must be printable ASCII without spaces");

/** Every variable of the proxy but the provider keys, which litellm/config.yaml names itself. */
export const LLM_PROXY_ENVIRONMENT = {
  ...DATABASE_ENVIRONMENT,
  LITELLM_MASTER_KEY: masterKey.describe(`Key of the management API; random, at least ${MIN_KEY_LENGTH} characters`),
  LLM_PROXY_PORT: portNumber.default(4000).describe("Port of the data plane; 0 = any free one"),
  LLM_PROXY_HOST: z
    .string()
    .default("127.0.0.1")
    .describe("Address of the data plane; 0.0.0.0 or one of this machine's to be reached from others"),
  LLM_PROXY_ADMIN_PORT: portNumber.default(4001).describe("Port of the management API; 0 = any free one"),
  LLM_PROXY_ADMIN_HOST: z
    .string()
    .default("127.0.0.1")
    .describe("Address of the management API; reached from this machine only unless it is changed"),
  LLM_PROXY_MANAGEMENT: z
    .enum(["separate", "shared"])
    .default("separate")
    .describe(
      "shared: the management API answers on the data plane's port as well, as stock LiteLLM has it, so that " +
        "LLM_PROXY_URL and LLM_PROXY_MASTER_KEY alone can mint. Whoever reaches that port can then try master keys: " +
        "not for a port that sandboxes or a tunnel reach",
    ),
  LLM_PROXY_DATABASE_CONNECTIONS: z.coerce.number().int().min(2).max(500).default(20).describe("Connections to PostgreSQL at most"),
  DRAIN_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(600_000)
    .describe(
      "After SIGTERM, answers may run on for so long; then, or at a second signal, they end with an error event. The supervisor's own patience must be longer",
    ),
  DETACHED_READ_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(30_000)
    .describe(
      "How long an answer is read on after its caller left, to learn what it cost; 0: the provider's side is cut at once, and the answer is estimated",
    ),
  DETACHED_READ_BYTES: z.coerce
    .number()
    .int()
    .min(1)
    .default(16 * 1024 * 1024)
    .describe("How many bytes of it at most"),
  DETACHED_READS_AT_ONCE: z.coerce
    .number()
    .int()
    .min(0)
    .default(256)
    .describe("How many answers are read on at once, a quarter of them of one key; further ones are cut at once"),
  ADMISSION_WAIT_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(600_000)
    .default(ADMISSION_WAIT_LIMITS.mostMs)
    .describe(
      "How long a request waits, in order, while only what other requests have reserved stands in its way, before it is a 429; 0: not at all",
    ),
  ADMISSION_WAITERS_PER_KEY: z.coerce
    .number()
    .int()
    .min(0)
    .default(ADMISSION_WAIT_LIMITS.mostPerKey)
    .describe("Requests of one key that wait so at once; further ones are a 429"),
  ADMISSION_WAIT_BYTES: z.coerce
    .number()
    .int()
    .min(0)
    .default(ADMISSION_WAIT_LIMITS.mostBytes)
    .describe("Bytes of bodies that wait so at once in this process; they count among the uploads, too"),
  TRANSLATION: z
    .enum(["on", "off"])
    .default("on")
    .describe(
      "Whether a model is served to callers of an API that its provider does not speak, by translating (docs/translation.md). off: 404 in the caller's dialect, on which clients stop",
    ),
  UNJUDGED_REQUESTS: z
    .enum(["refuse", "reserve"])
    .default("refuse")
    .describe(
      "A body with a field whose cost nobody can say beforehand (`fallbacks: default`, tools of the provider that " +
        "are not known, tiers without a price): refuse it with 400 and the field's name; or reserve for each such " +
        "field as if the dearest model of the provider did all of it once more",
    ),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/, error: "must be a redis:// or rediss:// URL" })
    .optional()
    .describe(
      "Redis or Valkey by which the proxies of one database tell each other, for less than a second, which limits are used up, so that a caller who is " +
        "refused in a tight loop costs PostgreSQL little. No answer depends on it; unset: nothing is remembered",
    ),
  STORE_ABSENCE: z
    .enum(["closed", "grace"])
    .default("closed")
    .describe(
      "What PostgreSQL's absence means. closed: 503 for everybody; grace: keys that this process has served lately are served on, within the " +
        "bounds below, and what they took is kept in STORE_SPOOL_DIR until it is on record (docs/operations.md)",
    ),
  STORE_SPOOL_DIR: z
    .string()
    .optional()
    .describe("Folder on a disk that stays, for one database alone; several proxies may share it. Required with STORE_ABSENCE=grace"),
  STORE_GRACE_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(86_400_000)
    .default(600_000)
    .describe("So long after PostgreSQL went away requests are taken; then they are 503 until it is back"),
  STORE_GRACE_USD: z
    .string()
    .refine(isAmount, "must be an amount such as 5 or 0.50")
    .default("5")
    .describe("What one key may have open at one process that is not on record: worst cases of what runs, costs of what is over"),
  STORE_GRACE_KNOWN_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(86_400_000)
    .default(900_000)
    .describe("Keys are known that this process has seen within this time"),
  STORE_SPOOL_BYTES: z.coerce
    .number()
    .int()
    .min(1024 * 1024)
    .max(4 * 1024 * 1024 * 1024)
    .default(64 * 1024 * 1024)
    .describe("Of the file of one process; what would not fit, its outcome included, is a 503"),
  ...OBSERVER_ENVIRONMENT,
  LLM_PROXY_BODY_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(256 * 1024 * 1024)
    .default(32 * 1024 * 1024)
    .describe("Largest body of a request; a larger one is a 413"),
  LLM_PROXY_UPLOAD_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .default(48 * 1024 * 1024)
    .describe(
      "Memory that bodies above 512 KB may hold together until the provider begins to answer; further ones are a 503. Smaller ones have two thirds of it for themselves",
    ),
  LLM_PROXY_UPLOAD_BYTES_PER_KEY: z.coerce
    .number()
    .int()
    .min(1024)
    .default(33 * 1024 * 1024)
    .describe(
      "The same of one key, above which it is a 429; at least LLM_PROXY_BODY_BYTES, or the largest bodies never pass. Smaller bodies: two fifths of it",
    ),
  LLM_PROXY_UPLOAD_IDLE_MS: z.coerce
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(15_000)
    .describe("A body of which nothing comes for so long is a 408"),
  LLM_PROXY_UPLOAD_BYTES_PER_SECOND: z.coerce
    .number()
    .int()
    .min(0)
    .default(32 * 1024)
    .describe("So fast a body must come after its first 30 seconds, or it is a 408"),
  LLM_PROXY_MAX_CONNECTIONS: z.coerce
    .number()
    .int()
    .min(1)
    .default(16_384)
    .describe("Connections of callers at most; further ones are closed at once"),
  LLM_PROXY_MAX_IDLE_CONNECTIONS: z.coerce
    .number()
    .int()
    .min(1)
    .default(4_096)
    .describe("Of them, connections that do nothing; the longest idle is closed for the next. One takes about 13 KB"),
  LITELLM_CONFIG: z.string().optional().describe("Path of config.yaml, the model list; unset: the one of this repository"),
} as const;

/** The proxy's environment, parsed. */
interface LLMProxyProcessConfig {
  readonly database: DatabaseSettings;
  readonly masterKey: string;
  readonly metricsToken: string | undefined;
  readonly dataPlane: { readonly port: number; readonly host: string };
  readonly management: { readonly port: number; readonly host: string; readonly isShared: boolean };
  readonly databaseConnections: number;
  readonly drainMs: number;
  readonly detachedReads: { readonly ms: number; readonly bytes: number; readonly atOnce: number };
  readonly uploads: UploadLimits;
  readonly connections: ConnectionLimits;
  readonly admissionWait: AdmissionWaitLimits;
  readonly unjudged: UnjudgedPolicy;
  readonly translates: boolean;
  readonly grace: GraceSettings | undefined;
  readonly redisUrl: string | undefined;
  readonly configFile: string | undefined;
}

/** Throws one `env_invalid` that names every wrong variable. */
export function parseProxyProcessConfig(source: EnvironmentSource): LLMProxyProcessConfig {
  const variables = parseEnvironment(LLM_PROXY_ENVIRONMENT, source);
  return {
    database: parseDatabaseSettings(source),
    masterKey: variables.LITELLM_MASTER_KEY,
    metricsToken: variables.METRICS_TOKEN,
    dataPlane: { port: variables.LLM_PROXY_PORT, host: variables.LLM_PROXY_HOST },
    management: {
      port: variables.LLM_PROXY_ADMIN_PORT,
      host: variables.LLM_PROXY_ADMIN_HOST,
      isShared: variables.LLM_PROXY_MANAGEMENT === "shared",
    },
    drainMs: variables.DRAIN_MS,
    detachedReads: { ms: variables.DETACHED_READ_MS, bytes: variables.DETACHED_READ_BYTES, atOnce: variables.DETACHED_READS_AT_ONCE },
    databaseConnections: variables.LLM_PROXY_DATABASE_CONNECTIONS,
    uploads: uploadLimits(variables),
    connections: { most: variables.LLM_PROXY_MAX_CONNECTIONS, mostIdle: variables.LLM_PROXY_MAX_IDLE_CONNECTIONS },
    admissionWait: {
      ...ADMISSION_WAIT_LIMITS,
      mostMs: variables.ADMISSION_WAIT_MS,
      mostPerKey: variables.ADMISSION_WAITERS_PER_KEY,
      mostBytes: variables.ADMISSION_WAIT_BYTES,
    },
    unjudged: variables.UNJUDGED_REQUESTS,
    translates: variables.TRANSLATION === "on",
    grace: graceSettings(variables),
    redisUrl: variables.REDIS_URL,
    configFile: variables.LITELLM_CONFIG,
  };
}

type Variables = ReturnType<typeof parseEnvironment<typeof LLM_PROXY_ENVIRONMENT>>;

function graceSettings(variables: Variables): GraceSettings | undefined {
  if (variables.STORE_ABSENCE === "closed") return undefined;
  if (variables.STORE_SPOOL_DIR === undefined)
    throw new AppError("env_invalid", "The environment is not usable: STORE_SPOOL_DIR is not set, and STORE_ABSENCE=grace needs it.");
  return {
    mostMs: variables.STORE_GRACE_MS,
    mostUsdPerKey: variables.STORE_GRACE_USD,
    knownMs: variables.STORE_GRACE_KNOWN_MS,
    spoolFolder: variables.STORE_SPOOL_DIR,
    spoolBytes: variables.STORE_SPOOL_BYTES,
  };
}

function uploadLimits(variables: Variables): UploadLimits {
  const { LLM_PROXY_UPLOAD_BYTES: largeBytes, LLM_PROXY_UPLOAD_BYTES_PER_KEY: largeBytesPerKey } = variables;
  return {
    bodyBytes: variables.LLM_PROXY_BODY_BYTES,
    memory: {
      largeBytes,
      largeBytesPerKey,
      smallBytes: Math.floor((largeBytes * 2) / 3),
      smallBytesPerKey: Math.floor((largeBytesPerKey * 2) / 5),
    },
    pace: { ...UPLOAD_PACE, idleMs: variables.LLM_PROXY_UPLOAD_IDLE_MS, leastBytesPerSecond: variables.LLM_PROXY_UPLOAD_BYTES_PER_SECOND },
  };
}
