import { type EnvironmentSource, booleanFlag, httpUrl, parseEnvironment } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import type { AutumnSinkOptions } from "./autumn/autumn.ts";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "./autumn/autumn-settings.ts";

const sinkName = z.enum(["autumn", "stripe", "jsonl"]);
/** A sink that settled credits can go to. */
export type SinkName = z.infer<typeof sinkName>;

const autumnUrl = z.string().transform(cleanAutumnUrl).pipe(httpUrl);
const autumnKey = z.string().transform(cleanAutumnSecretKey).pipe(z.string().min(1, "is empty"));

/** The variables of every process that settles or compares. */
export const SINK_ENVIRONMENT = {
  SETTLEMENT_SINK: sinkName.default("autumn").describe("Where credits are settled: autumn, stripe (meter events) or jsonl (a file)"),
  SETTLEMENT_SHADOW_SINK: sinkName
    .optional()
    .describe("A second sink that gets every delivery, too, and changes nothing; differences are reported. Unset: none"),
  SETTLEMENT_FILE: z.string().optional().describe("File of the sink jsonl; needed with it"),
  AUTUMN_API_KEY: autumnKey
    .optional()
    .describe("Autumn's secret key (am_sk_...); needed with the sink autumn, and for balances and top-ups"),
  AUTUMN_API_URL: autumnUrl.default("https://api.useautumn.com").describe("Autumn's address, with or without /v1"),
  AUTUMN_API_VERSION: z
    .string()
    .regex(/^\d+\.\d+(\.\d+)?$/, "must be a version such as 2.3.0")
    .default("2.3.0")
    .describe("Version of Autumn's API that is asked for; at least 2.1"),
  AUTUMN_FEATURE_ID: z.string().default("credits").describe("Autumn's feature that credits are deducted from"),
  AUTUMN_OVERAGE: z
    .enum(["overflow", "cap"])
    .default("overflow")
    .describe("When a balance is short: take all of it (overflow), or what is left and record the rest as a shortfall (cap)"),
  AUTUMN_AUTO_CREATE_CUSTOMERS: booleanFlag
    .default(false)
    .describe("Create customers that Autumn does not know, instead of parking their batches"),
  AUTUMN_CLIENT: z
    .enum(["autumn-js", "http"])
    .default("autumn-js")
    .describe("How Autumn is called: by its library autumn-js, or by plain HTTP (the same calls, 140 MB less memory)"),
  STRIPE_API_KEY: z.string().optional().describe("Stripe's secret or restricted key; needed with the sink stripe"),
  STRIPE_API_URL: httpUrl.default("https://api.stripe.com").describe("Stripe's address"),
  STRIPE_METER_EVENT: z.string().default("credits").describe("event_name of Stripe's meter"),
  STRIPE_METER_DECIMALS: z.coerce
    .number()
    .int()
    .min(0)
    .max(12)
    .default(10)
    .describe("The meter counts units of 10^-this credits, since Stripe takes whole numbers only; its price is per such unit"),
} as const;

/** The sink that is configured, with its secret. */
export interface SinkSettings {
  /** The one that counts. */
  readonly sink: SinkName;
  /** The one that gets every attempt, too, and moves no state; undefined: none. */
  readonly shadow: SinkName | undefined;
  /** Undefined where no key is set. */
  readonly autumn: AutumnSinkOptions | undefined;
  /** Undefined where no key is set; `decimals`: the meter counts units of 10^-decimals credits. */
  readonly stripe:
    | { readonly secretKey: string; readonly serverUrl: string; readonly eventName: string; readonly decimals: number }
    | undefined;
  /** Of the sink `jsonl`; undefined where none is set. */
  readonly file: string | undefined;
}

/** Throws `env_invalid` that names what a chosen sink lacks. */
export function parseSinkSettings(source: EnvironmentSource): SinkSettings {
  const variables = parseEnvironment(SINK_ENVIRONMENT, source);
  const { SETTLEMENT_SINK: sink, SETTLEMENT_SHADOW_SINK: shadow } = variables;
  const needs = { autumn: "AUTUMN_API_KEY", stripe: "STRIPE_API_KEY", jsonl: "SETTLEMENT_FILE" } as const;
  for (const name of [sink, ...(shadow ? [shadow] : [])]) {
    if (variables[needs[name]] === undefined)
      throw new AppError("env_invalid", `The environment is not usable: ${needs[name]} is not set; the sink ${name} needs it.`);
  }
  if (shadow === sink)
    throw new AppError("env_invalid", "The environment is not usable: SETTLEMENT_SHADOW_SINK is the sink that counts already.");
  return {
    sink,
    shadow,
    autumn: variables.AUTUMN_API_KEY === undefined ? undefined : autumnOf(variables, variables.AUTUMN_API_KEY),
    stripe:
      variables.STRIPE_API_KEY === undefined
        ? undefined
        : {
            secretKey: variables.STRIPE_API_KEY,
            serverUrl: variables.STRIPE_API_URL,
            eventName: variables.STRIPE_METER_EVENT,
            decimals: variables.STRIPE_METER_DECIMALS,
          },
    file: variables.SETTLEMENT_FILE,
  };
}

/** As {@link parseSinkSettings}, for a process that can do without: undefined where no sink's secret, and no file, is set. */
export function parseOptionalSinkSettings(source: EnvironmentSource): SinkSettings | undefined {
  const named = ["AUTUMN_API_KEY", "STRIPE_API_KEY", "SETTLEMENT_FILE"].some((name) => (source[name] ?? "").trim() !== "");
  return named ? parseSinkSettings(source) : undefined;
}

type Variables = z.output<z.ZodObject<typeof SINK_ENVIRONMENT>>;

function autumnOf(variables: Variables, secretKey: string): AutumnSinkOptions {
  return {
    secretKey,
    serverUrl: variables.AUTUMN_API_URL,
    apiVersion: variables.AUTUMN_API_VERSION,
    featureId: variables.AUTUMN_FEATURE_ID,
    client: variables.AUTUMN_CLIENT,
    overage: variables.AUTUMN_OVERAGE,
    autoCreateCustomers: variables.AUTUMN_AUTO_CREATE_CUSTOMERS,
  };
}
