import { DATABASE_ENVIRONMENT, type DatabaseSettings, parseDatabaseSettings } from "@proliferate/db";
import { isSvixSecret } from "@proliferate/services/autumn-webhooks";
import { type Engine, ENGINES } from "@proliferate/services/engines";
import { parseOptionalSinkSettings, SINK_ENVIRONMENT, type SinkSettings } from "@proliferate/services/sinks";
import { OBSERVER_ENVIRONMENT } from "@proliferate/runtime";
import { commandWords, type EnvironmentSource, parseEnvironment, portNumber } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import type { ModalSandboxProviderOptions } from "@proliferate/shared/modal";
import { z } from "zod";

const MIN_TOKEN_LENGTH = 16;

const apiTokens = z
  .string()
  .transform((text) =>
    text
      .split(",")
      .map((token) => token.trim())
      .filter((token) => token !== ""),
  )
  .refine((tokens) => tokens.length > 0 && tokens.every((token) => token.length >= MIN_TOKEN_LENGTH && !/\s/.test(token)), {
    message: `must be one or more tokens of at least ${MIN_TOKEN_LENGTH} characters, separated by commas`,
  });

const webhookSecrets = z
  .string()
  .transform((text) =>
    text
      .split(",")
      .map((secret) => secret.trim())
      .filter((secret) => secret !== ""),
  )
  .refine((secrets) => secrets.every(isSvixSecret), {
    message: "must be one or more secrets as Autumn shows them, whsec_ and base64, separated by commas",
  });

const launchers = z
  .string()
  .transform((text) =>
    text
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== ""),
  )
  .pipe(z.array(z.enum(["local", "modal"], { error: "must be local, modal or both, separated by commas" })));

const absolutePath = z.string().startsWith("/", "must be an absolute path");
const DAY_MS = 24 * 60 * 60 * 1000;

/** The gateway's own variables, with those of the sink (only to compare with it on demand); those of the LLM proxy are `LLM_PROXY_ENVIRONMENT` in @proliferate/shared. */
export const GATEWAY_ENVIRONMENT = {
  ...DATABASE_ENVIRONMENT,
  GATEWAY_HOST: z
    .string()
    .default("127.0.0.1")
    .describe("Address that the gateway listens on; 0.0.0.0 or one of this machine's to be reached from others"),
  GATEWAY_PORT: portNumber.default(8787).describe("Port that the gateway listens on; 0 = any free one"),
  GATEWAY_OPERATOR_PORT: portNumber
    .optional()
    .describe(
      "Port of a second listener, for operators: billing, tokens and metrics are then served there alone, and " +
        "GATEWAY_PORT serves sessions, an organization's own usage and webhooks. Unset: one listener serves both",
    ),
  GATEWAY_OPERATOR_HOST: z
    .string()
    .default("127.0.0.1")
    .describe("Address of the operators' listener; read where GATEWAY_OPERATOR_PORT is set"),
  ...OBSERVER_ENVIRONMENT,
  GATEWAY_API_TOKEN: apiTokens.describe(
    `Bearer tokens that /v1 accepts, separated by commas; each at least ${MIN_TOKEN_LENGTH} characters. Two at once make rotation possible`,
  ),
  GATEWAY_DEFAULT_MODEL: z
    .string()
    .default("claude-sonnet-5")
    .describe("Model of a session that names none; a name of litellm/config.yaml"),
  GATEWAY_SMALL_MODEL: z
    .string()
    .default("claude-haiku-4-5")
    .describe("Model that agents use for titles, where the session's key allows it and its provider is that of the session's model"),
  SANDBOX_LAUNCHERS: launchers
    .default([])
    .describe(
      "Launchers that sessions may name, separated by commas: local (processes of this machine, for development), modal. Unset: callers launch their sandboxes themselves",
    ),
  SANDBOX_ROOT_FOLDER: absolutePath.optional().describe("Absolute folder of local sandboxes; required with the launcher local"),
  SANDBOX_PATH: z.string().optional().describe("PATH in local sandboxes; unset: /usr/local/bin:/usr/bin:/bin"),
  SANDBOX_LOCAL_USER: z
    .enum(["auto", "own", "same"])
    .default("auto")
    .describe(
      "Whose processes local sandboxes are. auto: each has a user of its own (40000 to 49999) where the gateway runs " +
        "as root on Linux and such users reach SANDBOX_ROOT_FOLDER and the agent, else the gateway's, which its start " +
        "then says. own: no local sandbox without. same: the gateway's",
    ),
  SANDBOX_LIFETIME_MS: z.coerce
    .number()
    .int()
    .min(60_000)
    .max(DAY_MS)
    .multipleOf(1000)
    .default(DAY_MS)
    .describe("A sandbox ends by itself after so long, whatever happens to this gateway; its session ends with its key, before"),
  SANDBOX_READY_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .default(60_000)
    .describe("How long a launched agent may take until it answers"),
  SANDBOX_AGENT_PATIENCE_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .default(120_000)
    .describe(
      "How long an agent that is ready may not answer before it is started again in its sandbox; one whose port is closed is after 5 s",
    ),
  SANDBOX_LAUNCH_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .default(600_000)
    .describe("How long a whole launch may take, its image and its clone included; then it is ended"),
  OPENCODE_COMMAND: commandWords
    .prefault("opencode")
    .describe("The agent in a sandbox: words separated by blanks, or a JSON array of them; `serve --port N --hostname H` is added"),
  MODAL_TOKEN_ID: z.string().optional().describe("Token of Modal, ak-…; required with the launcher modal"),
  MODAL_TOKEN_SECRET: z.string().optional().describe("Its secret, as-…; required with the launcher modal"),
  MODAL_ENVIRONMENT: z.string().optional().describe("Modal environment; unset: that of the token"),
  MODAL_APP_NAME: z
    .string()
    .default("proliferate-sandboxes")
    .describe("Modal app of this deployment alone: a sandbox in it that belongs to no session is ended"),
  MODAL_IMAGE: z
    .string()
    .optional()
    .describe(
      "Image of a sandbox, with OpenCode and git in it: a tag of a public registry, or im-… of Modal; required with the launcher modal",
    ),
  ...SINK_ENVIRONMENT,
  AUTUMN_WEBHOOK_SECRET: webhookSecrets
    .default([])
    .describe(
      "Signing secrets (whsec_...) of Autumn's webhook endpoint for POST /webhooks/autumn, separated by commas while one is rotated; unset: its events are not taken, and balances are read daily",
    ),
  BILLING_MARKUP: z
    .string()
    .regex(/^(?=.*[1-9])\d{1,4}(\.\d{1,6})?$/, "must be a decimal number above 0, such as 3 or 2.5")
    .default("3")
    .describe("Factor on the provider's price where no rate card is valid, as the worker has it; read by POST /v1/billing/reconcile alone"),
  LLM_PROXY_ENGINE: z
    .enum(ENGINES)
    .default("litellm")
    .describe(
      "What answers at LLM_PROXY_URL: litellm (stock), or ours. A setting that asks it for what it cannot do stops the start (docs/engines.md)",
    ),
  BILLING_GATE: z
    .enum(["off", "enforce"])
    .default("off")
    .describe(
      "enforce: a session starts only if its org has credits, and its key may spend no more than they are worth; the worker must run, with LLM_PROXY_URL and LLM_PROXY_MASTER_KEY",
    ),
} as const;

export interface GatewayConfig {
  readonly database: DatabaseSettings;
  readonly host: string;
  readonly port: number;
  /** The operators' own listener; undefined: one listener serves tenants and operators. */
  readonly operators: { readonly host: string; readonly port: number } | undefined;
  readonly metricsToken: string | undefined;
  readonly apiTokens: readonly string[];
  readonly defaultModel: string;
  readonly smallModel: string;
  readonly engine: Engine;
  readonly billingGate: "off" | "enforce";
  readonly sandboxes: SandboxConfig;
  /** None: events of Autumn are not taken. */
  readonly autumnWebhookSecrets: readonly string[];
  /** Undefined where this gateway holds no sink's secret: it then cannot compare with the sink by itself. */
  readonly comparison: { readonly sinks: SinkSettings; readonly markup: string } | undefined;
}

/** The launchers that are there, and what every sandbox gets. */
export interface SandboxConfig {
  readonly local: { readonly rootFolder: string; readonly path: string | undefined; readonly user: "auto" | "own" | "same" } | undefined;
  readonly modal: ModalSandboxProviderOptions | undefined;
  readonly lifetimeMs: number;
  readonly readyTimeoutMs: number;
  readonly launchTimeoutMs: number;
  readonly agentPatienceMs: number;
  /** Program and first arguments of the agent. */
  readonly agentCommand: readonly string[];
}

/** Throws one `env_invalid` that names every wrong variable. */
export function parseGatewayConfig(source: EnvironmentSource): GatewayConfig {
  const variables = parseEnvironment(GATEWAY_ENVIRONMENT, source);
  const sinks = parseOptionalSinkSettings(source);
  return {
    database: parseDatabaseSettings(source),
    host: variables.GATEWAY_HOST,
    port: variables.GATEWAY_PORT,
    operators:
      variables.GATEWAY_OPERATOR_PORT === undefined
        ? undefined
        : { host: variables.GATEWAY_OPERATOR_HOST, port: variables.GATEWAY_OPERATOR_PORT },
    metricsToken: variables.METRICS_TOKEN,
    apiTokens: variables.GATEWAY_API_TOKEN,
    defaultModel: variables.GATEWAY_DEFAULT_MODEL,
    smallModel: variables.GATEWAY_SMALL_MODEL,
    engine: variables.LLM_PROXY_ENGINE,
    billingGate: variables.BILLING_GATE,
    sandboxes: sandboxConfig(variables),
    autumnWebhookSecrets: variables.AUTUMN_WEBHOOK_SECRET,
    comparison: sinks && { sinks, markup: variables.BILLING_MARKUP },
  };
}

function sandboxConfig(variables: z.output<z.ZodObject<typeof GATEWAY_ENVIRONMENT>>): SandboxConfig {
  const {
    SANDBOX_LAUNCHERS: names,
    SANDBOX_ROOT_FOLDER: rootFolder,
    MODAL_TOKEN_ID: tokenId,
    MODAL_TOKEN_SECRET: tokenSecret,
    MODAL_IMAGE: image,
    MODAL_ENVIRONMENT: environment,
  } = variables;
  const required = {
    local: { SANDBOX_ROOT_FOLDER: rootFolder },
    modal: { MODAL_TOKEN_ID: tokenId, MODAL_TOKEN_SECRET: tokenSecret, MODAL_IMAGE: image },
  };
  const missing = names.flatMap((name) =>
    Object.entries(required[name]).flatMap(([variable, value]) =>
      value === undefined ? [`${variable} is not set, which the launcher ${name} needs`] : [],
    ),
  );
  if (missing.length > 0) throw new AppError("env_invalid", `The environment is not usable: ${missing.join("; ")}.`);
  return {
    local: names.includes("local")
      ? { rootFolder: rootFolder ?? "", path: variables.SANDBOX_PATH, user: variables.SANDBOX_LOCAL_USER }
      : undefined,
    modal: names.includes("modal")
      ? {
          tokenId: tokenId ?? "",
          tokenSecret: tokenSecret ?? "",
          appName: variables.MODAL_APP_NAME,
          image: image?.startsWith("im-") ? { imageId: image } : { registryTag: image ?? "" },
          ...(environment !== undefined && { environment }),
        }
      : undefined,
    lifetimeMs: variables.SANDBOX_LIFETIME_MS,
    readyTimeoutMs: variables.SANDBOX_READY_TIMEOUT_MS,
    agentPatienceMs: variables.SANDBOX_AGENT_PATIENCE_MS,
    launchTimeoutMs: variables.SANDBOX_LAUNCH_TIMEOUT_MS,
    agentCommand: variables.OPENCODE_COMMAND,
  };
}
