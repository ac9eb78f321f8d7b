import { addDecimals, compareDecimals } from "@proliferate/shared/money";
import { createTokenBucket } from "../port/token-bucket.ts";
import type { AutumnClient, AutumnConnection, AutumnTrackAnswer } from "./autumn-client.ts";
import { classifyAutumnError } from "./autumn-errors.ts";
import { openAutumnHttp } from "./autumn-http.ts";
import { createFeatureGate } from "./autumn-feature-gate.ts";
import { createAutumnLedger } from "./autumn-ledger.ts";
import { isStatedAs } from "./autumn-precision.ts";
import { customerIdForOrg } from "./customer-id.ts";
import { decimalFromJsonNumber } from "./json-number.ts";
import { NO_BALANCE } from "../port/no-balance.ts";
import type { Delivery, DeliveryOutcome, ModelUsage, SettlementSink } from "../port/sink.ts";

export interface AutumnSinkOptions extends AutumnConnection {
  /** The feature that is deducted from, `credits` by default in the worker. */
  readonly featureId: string;
  /** `autumn-js` (default): Autumn's own library. `http`: the same calls and answers, 140 MB smaller. */
  readonly client?: "autumn-js" | "http";
  /** When the balance is short: `overflow` (default) takes all of it, since the usage has happened; `cap` takes what is left, and the rest is a shortfall. */
  readonly overage?: "overflow" | "cap";
  /** Creates a customer that Autumn does not know, instead of parking its batches. Default false. */
  readonly autoCreateCustomers?: boolean;
  /** Deductions a second, of this process. Default 500; Autumn queues beyond 2,000. */
  readonly tracksPerSecond?: number;
}

/** Autumn admits 25 calls a second of the kinds that are neither `track` nor `check`, for everybody together. */
const OTHER_CALLS_PER_SECOND = 10;
/** A customer that cannot be: the id of an org without a name. */
const NOBODY = "enc:";

/** Autumn's API as it is used here. Fails closed, makes no retries of its own, keeps to Autumn's limits. */
export async function openAutumn(options: AutumnSinkOptions): Promise<AutumnClient> {
  const client = options.client === "http" ? openAutumnHttp(options) : await (await import("./autumn-sdk.ts")).openAutumnSdk(options);
  const tracks = createTokenBucket(options.tracksPerSecond ?? 500);
  const others = createTokenBucket(OTHER_CALLS_PER_SECOND);
  return {
    track: async (request, call) => tracks.take().then(() => client.track(request, call)),
    customers: {
      get: async (request) => others.take().then(() => client.customers.get(request)),
      getOrCreate: async (request) => others.take().then(() => client.customers.getOrCreate(request)),
    },
    events: { list: async (request) => others.take().then(() => client.events.list(request)) },
    features: { list: async () => others.take().then(() => client.features.list()) },
    billing: { attach: async (request, call) => others.take().then(() => client.billing.attach(request, call)) },
  };
}

/**
 * Deducts with one `track` a batch, with the batch's key as `Idempotency-Key`, never failing open. What Autumn answers is
 * compared with what was asked.
 */
export function createAutumnSink(options: AutumnSinkOptions): SettlementSink {
  let opened: Promise<AutumnClient> | undefined;
  return createAutumnSinkOver(() => (opened ??= openAutumn(options)), options);
}

/** What is asked of Autumn, whichever way it is reached. */
type AutumnSinkPolicy = Pick<AutumnSinkOptions, "featureId" | "overage" | "autoCreateCustomers">;

/** As {@link createAutumnSink}, over a client of the caller's. */
export function createAutumnSinkOver(open: () => Promise<AutumnClient>, options: AutumnSinkPolicy): SettlementSink {
  const feature = createFeatureGate(open, options.featureId);
  const track = async (delivery: Delivery): Promise<DeliveryOutcome> => trackOnce(await open(), delivery, options);
  return {
    name: "autumn",
    wantsUsageByModel: true,
    async deliver(delivery) {
      const unsuitable = feature.known();
      if (unsuitable) return unsuitable;
      const outcome = await track(delivery);
      if (outcome.code !== "customer_not_found" || !options.autoCreateCustomers) return outcome;
      const refusal = await createCustomer(await open(), customerIdForOrg(delivery.orgId));
      // Autumn forgets the key of a call that it refused. So this second call, with the same key, is the first one that can be applied.
      return refusal ?? track(delivery);
    },
    async hasBalance(orgId) {
      const customer = await open()
        .then((client) => client.customers.get({ customerId: customerIdForOrg(orgId) }))
        .catch(() => undefined);
      return customer?.balances[options.featureId] !== undefined;
    },
    async checkReady() {
      const unsuitable = await feature.ask();
      if (unsuitable) return unsuitable;
      try {
        await (await open()).customers.get({ customerId: NOBODY });
      } catch (error) {
        const outcome = classifyAutumnError(error);
        if (outcome.kind === "parked" && outcome.code !== "customer_not_found") return outcome;
      }
      return undefined;
    },
    ledger: createAutumnLedger(open, options.featureId, (correction) => track({ ...correction, eventCount: 0 })),
  };
}

/**
 * Usage by model as properties of the event, for the customer's usage page: `credits.MODEL` as exact decimal text and
 * `requests.MODEL`, `other` for those that are not named. Autumn deducts by `value` alone and never reads them.
 */
function propertiesOfModels(usage: readonly ModelUsage[]): Record<string, string | number> {
  return Object.fromEntries(
    usage.flatMap(({ model, credits, requests }) => {
      const name = model === "" ? "other" : model.replaceAll(/[^A-Za-z0-9._/:-]/g, "_").slice(0, 80);
      return [
        [`credits.${name}`, credits],
        [`requests.${name}`, requests],
      ];
    }),
  );
}

async function createCustomer(client: AutumnClient, customerId: string): Promise<DeliveryOutcome | undefined> {
  try {
    await client.customers.getOrCreate({ customerId });
    return undefined;
  } catch (error) {
    const outcome = classifyAutumnError(error);
    // Nothing was deducted, whatever became of the customer.
    return outcome.kind === "unknown" ? { ...outcome, kind: "unavailable" } : outcome;
  }
}

async function trackOnce(client: AutumnClient, delivery: Delivery, options: AutumnSinkPolicy): Promise<DeliveryOutcome> {
  const customerId = customerIdForOrg(delivery.orgId);
  const value = Number(delivery.credits);
  // Settled amounts have at most 14 digits, so the number's shortest spelling is the amount's own.
  if (compareDecimals(decimalFromJsonNumber(value), delivery.credits) !== 0) {
    return {
      kind: "dead",
      code: "not_representable",
      message: `${delivery.credits} credits do not fit a JSON number; a sealed batch must.`,
    };
  }
  const overage = options.overage ?? "overflow";
  try {
    const answer = await client.track(
      {
        customerId,
        featureId: options.featureId,
        value,
        overageBehavior: overage,
        properties: {
          batch_id: delivery.batchId,
          event_count: delivery.eventCount,
          source: "llm-gateway",
          ...propertiesOfModels(delivery.usageByModel ?? []),
        },
      },
      { headers: { "Idempotency-Key": delivery.idempotencyKey } },
    );
    return judgeAnswer(answer, { delivery, customerId, overage });
  } catch (error) {
    return classifyAutumnError(error);
  }
}

function judgeAnswer(
  answer: AutumnTrackAnswer,
  { delivery, customerId, overage }: { readonly delivery: Delivery; readonly customerId: string; readonly overage: "overflow" | "cap" },
): DeliveryOutcome {
  const { status } = answer;
  if (answer.customerId !== customerId) {
    return {
      kind: "unknown",
      status,
      code: "wrong_customer",
      message: "Autumn answered for another customer than the one that was asked for.",
    };
  }
  if (status === 202)
    return {
      kind: "accepted",
      status,
      code: "accepted_not_applied",
      message: "Autumn queued the deduction; it is confirmed by a later attempt.",
    };
  const deductions = answer.deductions ?? [];
  const statedCredits = addDecimals(...deductions.map((deduction) => decimalFromJsonNumber(deduction.value)));
  const balance = answer.balance ? { balanceAfter: decimalFromJsonNumber(answer.balance.remaining) } : {};
  // Autumn states 15 digits. Where those agree with what was asked, all of it was taken, and the exact amount is the one that was asked.
  if (isStatedAs(delivery.credits, statedCredits, deductions.length))
    return { kind: "delivered", status, deductedCredits: delivery.credits, ...balance };
  const facts = { status, deductedCredits: statedCredits, ...balance };
  if (compareDecimals(statedCredits, "0") === 0 && !answer.balance) {
    const message =
      "Autumn deducted nothing: the customer has no balance of this feature, or has used it up. What is owed is sent again when it has one.";
    return { ...facts, kind: "unapplied", code: NO_BALANCE, message, ...(overage === "cap" && { ifUsedUp: "shortfall" }) };
  }
  const message = `Autumn deducted ${statedCredits} of ${delivery.credits} credits`;
  if (compareDecimals(statedCredits, delivery.credits) > 0) {
    return {
      ...facts,
      kind: "unapplied",
      code: "over_deducted",
      message: `${message}: AUTUMN_FEATURE_ID may name a metered feature that a credit system prices; billing reconcile gives back what is too much.`,
    };
  }
  if (overage === "cap") return { ...facts, kind: "shortfall", code: "shortfall", message: `${message}: the balance ended.` };
  // `overflow` takes more than the balance holds. It does not take more than a spending limit that somebody set at Autumn.
  return { ...facts, kind: "shortfall", code: "spend_limit", message: `${message}: a spend limit of the customer forbids the rest.` };
}
