import { z } from "zod";
import { AUTUMN_TIMEOUT_MS, type AutumnClient, type AutumnConnection } from "./autumn-client.ts";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "./autumn-settings.ts";
import { fetchWhole } from "../../outgoing/index.ts";

/** An answer that is no success, or one that cannot be read; in the form of the library's own error. */
class AutumnHttpError extends Error {
  readonly statusCode: number;
  readonly body: string;
  readonly headers: Headers;

  constructor(statusCode: number, body: string, headers: Headers) {
    super(`Autumn answered ${statusCode}`);
    this.name = "AutumnHttpError";
    this.statusCode = statusCode;
    this.body = body;
    this.headers = headers;
  }
}

const balance = z
  .object({
    granted: z.number(),
    remaining: z.number(),
    usage: z.number(),
    unlimited: z.boolean(),
    next_reset_at: z.number().nullable(),
    breakdown: z.array(z.object({ id: z.string().default("") })).optional(),
  })
  .transform(({ next_reset_at: nextResetAt, ...rest }) => ({ ...rest, nextResetAt }));

const trackAnswer = z
  .object({
    customer_id: z.string(),
    balance: z.object({ remaining: z.number() }).nullable(),
    deductions: z.array(z.object({ value: z.number() })).nullish(),
  })
  .transform(({ customer_id: customerId, ...rest }) => ({ ...rest, customerId }));

const subscription = z
  .object({ plan_id: z.string(), status: z.string(), add_on: z.boolean(), trial_ends_at: z.number().nullable() })
  .transform(({ plan_id: planId, add_on: addOn, trial_ends_at: trialEndsAt, status }) => ({ planId, status, addOn, trialEndsAt }));

const autoTopup = z
  .object({ feature_id: z.string(), enabled: z.boolean() })
  .transform(({ feature_id: featureId, enabled }) => ({ featureId, enabled }));
const billingControls = z
  .object({ auto_topups: z.array(autoTopup).nullish() })
  .nullish()
  .transform((controls) => ({ autoTopups: controls?.auto_topups ?? undefined }));

const customer = z
  .object({
    id: z.string().nullable(),
    balances: z.record(z.string(), balance).default({}),
    subscriptions: z.array(subscription).default([]),
    billing_controls: billingControls,
  })
  .transform(({ billing_controls: controls, ...rest }) => ({ ...rest, billingControls: controls }));

const feature = z
  .object({
    id: z.string(),
    type: z.string(),
    consumable: z.boolean(),
    archived: z.boolean().optional(),
    credit_schema: z.array(z.object({ metered_feature_id: z.string() })).nullish(),
  })
  .transform(({ credit_schema: schema, ...rest }) => ({
    ...rest,
    ...(schema && { creditSchema: schema.map(({ metered_feature_id: meteredFeatureId }) => ({ meteredFeatureId })) }),
  }));

const featureList = z.object({ list: z.array(feature) });

const eventPage = z
  .object({
    list: z.array(
      z.object({
        id: z.string(),
        timestamp: z.number(),
        value: z.number(),
        properties: z
          .record(z.string(), z.unknown())
          .nullish()
          .transform((map) => map ?? {}),
        deductions: z.array(z.object({ value: z.number() })).nullish(),
      }),
    ),
    next_cursor: z.string().nullable(),
  })
  .transform(({ list, next_cursor: nextCursor }) => ({ list, nextCursor }));

const attachAnswer = z
  .object({
    customer_id: z.string(),
    invoice: z
      .object({ status: z.string().nullable() })
      .nullish()
      .transform((invoice) => invoice ?? undefined),
    payment_url: z.string().nullable(),
    required_action: z
      .object({ code: z.string() })
      .nullish()
      .transform((action) => action ?? undefined),
  })
  .transform(({ customer_id: customerId, payment_url: paymentUrl, required_action: requiredAction, invoice }) => ({
    customerId,
    paymentUrl,
    requiredAction,
    invoice,
  }));

/**
 * Autumn by plain HTTP: the calls that `autumn-js` makes, byte for byte in path, headers that matter and body
 * (`autumn-client.test.ts`), without the memory that the library takes. Throws what `classifyAutumnError` reads.
 */
export function openAutumnHttp(connection: AutumnConnection): AutumnClient {
  const base = cleanAutumnUrl(connection.serverUrl);
  const common = {
    "authorization": `Bearer ${cleanAutumnSecretKey(connection.secretKey)}`,
    "accept": "application/json",
    "x-api-version": connection.apiVersion,
  };

  async function post<Answer>(
    operation: string,
    body: object | undefined,
    answer: z.ZodType<Answer>,
    options: { readonly headers?: object } = {},
  ): Promise<Answer & { readonly status: number }> {
    const content = body && { "content-type": "application/json" };
    const sent = { headers: { ...common, ...content, ...options.headers }, body: body === undefined ? "" : JSON.stringify(body) };
    const { status, headers, text } = await fetchWhole(`${base}/v1/${operation}`, sent, {
      timeoutMs: connection.timeoutMs ?? AUTUMN_TIMEOUT_MS,
    });
    const read = status === 200 || status === 202 ? answer.safeParse(parseJson(text)) : undefined;
    if (!read?.success) throw new AutumnHttpError(status, text, headers);
    return { ...read.data, status };
  }

  return {
    track: async ({ customerId, featureId, value, overageBehavior, properties }, options) =>
      post(
        "balances.track",
        { customer_id: customerId, feature_id: featureId, value, properties, overage_behavior: overageBehavior },
        trackAnswer,
        options,
      ),
    customers: {
      get: async ({ customerId }) => post("customers.get", { customer_id: customerId }, customer),
      getOrCreate: async ({ customerId }) => post("customers.get_or_create", { customer_id: customerId }, z.object({})),
    },
    events: {
      list: async ({ customerId, featureId, startCursor, limit }) =>
        post("events.list", { start_cursor: startCursor, limit, customer_id: customerId, feature_id: featureId }, eventPage),
    },
    features: { list: async () => post("features.list", undefined, featureList) },
    billing: {
      attach: async ({ customerId, planId, featureQuantities, redirectMode }, options) => {
        const quantities = featureQuantities.map(({ featureId, quantity }) => ({ feature_id: featureId, quantity }));
        return post(
          "billing.attach",
          { customer_id: customerId, plan_id: planId, feature_quantities: quantities, redirect_mode: redirectMode },
          attachAnswer,
          options,
        );
      },
    },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
