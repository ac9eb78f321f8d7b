import { compareDecimals, type DecimalText, multiplyDecimals } from "@proliferate/shared/money";
import { z } from "zod";
import { fetchWhole, type WholeAnswer } from "../outgoing/index.ts";
import type { Delivery, DeliveryOutcome, SettlementSink } from "./port/sink.ts";
import { createTokenBucket } from "./port/token-bucket.ts";

/** The account and meter at Stripe. */
interface StripeSinkOptions {
  /** `sk_…` or a restricted key that may write meter events. */
  readonly secretKey: string;
  /** Default Stripe's own. */
  readonly serverUrl?: string;
  /** The meter's `event_name`. */
  readonly eventName: string;
  /** The meter counts units of 10^-decimals credits, because Stripe takes whole numbers only. Default 10: every settled amount is whole. */
  readonly decimals?: number;
  /** The `cus_…` of an org; undefined where nobody mapped it. */
  readonly findCustomerId: (orgId: string) => Promise<string | undefined>;
  /** For one call. Default 15 s. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 15_000;
const DECIMALS = 10;
/** Half of what Stripe admits in live mode. */
const CALLS_PER_SECOND = 500;
/** Stripe's limit for a value. */
const SIGNIFICANT_DIGITS = 15;

const meterEvent = z.object({ identifier: z.string(), payload: z.record(z.string(), z.string()) });
const stripeError = z.object({
  error: z.object({ code: z.string().nullish(), type: z.string().nullish(), message: z.string().nullish() }),
});

/**
 * Reports each batch as one Stripe meter event, the batch's key as `identifier`, which Stripe keeps unique for at least
 * 24 h. Exact: the value is a whole number of 10^-decimals credits, at most 15 significant digits, and is never rounded; a
 * price of the meter is per such unit (10^-10 credits: `unit_amount_decimal` 0.0000000001 cents). Stripe aggregates later
 * and reports errors of that by webhook (`v1.billing.meter.error_report_triggered`). Stripe bills after the fact: there is
 * no balance, and no list of events, so what may have been taken longer ago than 24 h is left to a person.
 */
export function createStripeSink(options: StripeSinkOptions): SettlementSink {
  const calls = createTokenBucket(CALLS_PER_SECOND);
  return {
    name: "stripe",
    async deliver(delivery) {
      const value = wholeUnits(delivery.credits, options.decimals ?? DECIMALS);
      if (value === undefined) {
        return {
          kind: "dead",
          code: "not_representable",
          message: `${delivery.credits} credits are no whole number of at most ${SIGNIFICANT_DIGITS} digits in units of 10^-${options.decimals ?? DECIMALS}; raise STRIPE_METER_DECIMALS and the meter's price with it.`,
        };
      }
      const customerId = await options.findCustomerId(delivery.orgId);
      if (customerId === undefined)
        return {
          kind: "parked",
          code: "customer_not_mapped",
          message: "Nobody said which Stripe customer the org is: billing customer map ORG cus_….",
        };
      await calls.take();
      return report(options, { delivery, customerId, value });
    },
  };
}

/** The amount in units of 10^-decimals, or undefined where that is not whole or too long. */
function wholeUnits(credits: DecimalText, decimals: number): string | undefined {
  const units = multiplyDecimals(credits, `1e${decimals}`);
  const significant = units.replace(/^-/, "").replace(/0+$/, "");
  return units.includes(".") || significant.length > SIGNIFICANT_DIGITS ? undefined : units;
}

async function report(
  options: StripeSinkOptions,
  { delivery, customerId, value }: { readonly delivery: Delivery; readonly customerId: string; readonly value: string },
): Promise<DeliveryOutcome> {
  const form = new URLSearchParams({
    "event_name": options.eventName,
    "identifier": delivery.idempotencyKey,
    "payload[stripe_customer_id]": customerId,
    "payload[value]": value,
  });
  try {
    const url = `${options.serverUrl ?? "https://api.stripe.com"}/v1/billing/meter_events`;
    const headers = { "authorization": `Bearer ${options.secretKey}`, "content-type": "application/x-www-form-urlencoded" };
    const answer = await fetchWhole(url, { headers, body: form.toString() }, { timeoutMs: options.timeoutMs ?? TIMEOUT_MS });
    return judge(answer, { delivery, value });
  } catch (error) {
    return judgeFailure(error as Error);
  }
}

function judge(
  { status, headers, text }: WholeAnswer,
  { delivery, value }: { readonly delivery: Delivery; readonly value: string },
): DeliveryOutcome {
  if (status === 200) {
    const answer = meterEvent.safeParse(parseJson(text)).data;
    const isOurs = answer?.identifier === delivery.idempotencyKey && compareDecimals(answer.payload["value"] ?? "0", value) === 0;
    if (isOurs) return { kind: "delivered", status, deductedCredits: delivery.credits };
    return { kind: "unknown", status, code: "unreadable_answer", message: "Stripe answered for another event than the one that was sent." };
  }
  const error = stripeError.safeParse(parseJson(text)).data?.error;
  const code = /^[a-z0-9_]{1,60}$/.test(error?.code ?? "") ? (error?.code ?? "") : `http_${status}`;
  if (code === "duplicate_meter_event" || /already exists with identifier/i.test(error?.message ?? ""))
    return { kind: "duplicate", status, code: "duplicate_meter_event", message: "Stripe has an event with this identifier." };
  if (status === 429 || status === 409)
    return { kind: "unavailable", status, code, message: "Stripe limits the rate of calls.", ...retryAfterOf(headers) };
  if (status >= 500 || status === 408 || status < 400)
    return { kind: "unknown", status, code, message: "Stripe failed while it worked on the event.", ...retryAfterOf(headers) };
  if (status === 401 || status === 403)
    return {
      kind: "parked",
      status,
      code,
      message: "Stripe refused the secret key; set STRIPE_API_KEY to one that may write meter events.",
    };
  return {
    kind: "parked",
    status,
    code,
    message: `Stripe refused the event (${code}); check STRIPE_METER_EVENT and the customer of the org.`,
  };
}

function judgeFailure(error: Error): DeliveryOutcome {
  const code = (
    (error as NodeJS.ErrnoException).code ??
    (error.cause as NodeJS.ErrnoException | undefined)?.code ??
    error.name
  ).toLowerCase();
  if (/^(econnrefused|enotfound|eai_again|ehostunreach|enetunreach)$/.test(code))
    return { kind: "unavailable", code, message: "Stripe cannot be reached; check STRIPE_API_URL and the network." };
  if (error.name === "TimeoutError") return { kind: "unknown", code: "timeout", message: "Stripe did not answer in time." };
  return { kind: "unknown", code, message: "The connection to Stripe broke before its answer." };
}

function retryAfterOf(headers: Headers): { retryAfterMs?: number } {
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) ? { retryAfterMs: Math.min(Math.max(seconds, 0), 3_600) * 1_000 } : {};
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
