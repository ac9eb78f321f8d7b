import { addDecimals, compareDecimals, type DecimalText } from "@proliferate/shared/money";
import type { Autumn, TrackResponse } from "autumn-js";
import { cleanAutumnSecretKey, cleanAutumnUrl } from "./autumn-settings.ts";
import { classifyAutumnError } from "./autumn-errors.ts";
import { customerIdForOrg } from "./customer-id.ts";
import type { Delivery, DeliveryOutcome, SettlementSink } from "./sink.ts";

export interface AutumnSinkOptions {
  /** As people paste it: a `Bearer ` prefix and a trailing `# comment` are cut. */
  readonly secretKey: string;
  /** With or without a trailing `/v1`. */
  readonly serverUrl: string;
  /** Sent as `x-api-version`; at least 2.1, where an answer states what was deducted. */
  readonly apiVersion: string;
  /** The feature that is deducted from, `credits` by default in the worker. */
  readonly featureId: string;
  /** For one call. Default 15 s. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 15_000;

/**
 * Deducts through `autumn-js`: one `track` a batch, with the batch's key as `Idempotency-Key`, in full even when the
 * balance is short (`overflow`: the usage has happened), never failing open. What Autumn answers is compared with what was
 * asked. The library (0.7 s, 145 MB) is loaded at the first delivery.
 */
export function createAutumnSink(options: AutumnSinkOptions): SettlementSink {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  let client: Promise<AutumnClient> | undefined;
  return {
    name: "autumn",
    async deliver(delivery) {
      client ??= openClient(options, timeoutMs);
      const { autumn, takeStatus } = await client;
      const customerId = customerIdForOrg(delivery.orgId);
      const value = Number(delivery.credits);
      // Settled amounts have at most 15 digits, so the number's shortest spelling is the amount's own.
      if (compareDecimals(decimalFromJsonNumber(value), delivery.credits) !== 0) {
        return { kind: "dead", code: "not_representable", message: `${delivery.credits} credits do not fit a JSON number; a sealed batch must.` };
      }
      try {
        const answer = await autumn.track(
          {
            customerId,
            featureId: options.featureId,
            value,
            overageBehavior: "overflow",
            properties: { batch_id: delivery.batchId, event_count: delivery.eventCount, source: "llm-gateway" },
          },
          { headers: { "Idempotency-Key": delivery.idempotencyKey }, timeoutMs },
        );
        return judgeAnswer(answer, { delivery, customerId, status: takeStatus(delivery.idempotencyKey) });
      } catch (error) {
        takeStatus(delivery.idempotencyKey);
        return classifyAutumnError(error);
      }
    },
  };
}

interface AutumnClient {
  readonly autumn: Autumn;
  /** Status of the last answer under this key; forgets it. The library returns 200 and 202 alike. */
  takeStatus(idempotencyKey: string): number | undefined;
}

/** The library itself, for what is no delivery: balances and top-ups. Loaded now; fails closed, makes no retries of its own. */
export async function openAutumn(options: AutumnSinkOptions): Promise<Autumn> {
  return (await openClient(options, options.timeoutMs ?? DEFAULT_TIMEOUT_MS)).autumn;
}

async function openClient(options: AutumnSinkOptions, timeoutMs: number): Promise<AutumnClient> {
  const { Autumn, HTTPClient } = await import("autumn-js");
  const statuses = new Map<string, number>();
  const httpClient = new HTTPClient();
  httpClient.addHook("response", (response, request) => {
    const key = request.headers.get("idempotency-key");
    if (key !== null) statuses.set(key, response.status);
  });
  const autumn = new Autumn({
    secretKey: cleanAutumnSecretKey(options.secretKey),
    serverURL: cleanAutumnUrl(options.serverUrl),
    xApiVersion: options.apiVersion,
    failOpen: false,
    retryConfig: { strategy: "none" },
    timeoutMs,
    httpClient,
  });
  return {
    autumn,
    takeStatus: (key) => {
      const status = statuses.get(key);
      statuses.delete(key);
      return status;
    },
  };
}

/** What Autumn meant by a number: 15 digits, at most 10 decimals; noise of binary sums beyond them is cut. */
export function decimalFromJsonNumber(value: number): DecimalText {
  if (!Number.isFinite(value)) return "0";
  const [digits = "0", exponent = "0"] = value.toExponential(14).split("e");
  const decimals = Math.min(14 - Number(exponent), 10);
  if (decimals < 10) return addDecimals(`${digits}e${exponent}`);
  return addDecimals(value.toFixed(10));
}

function judgeAnswer(
  answer: TrackResponse,
  asked: { readonly delivery: Delivery; readonly customerId: string; readonly status: number | undefined },
): DeliveryOutcome {
  const status = asked.status ?? 200;
  if (answer.customerId !== asked.customerId) {
    return { kind: "unknown", status, code: "wrong_customer", message: "Autumn answered for another customer than the one that was asked for." };
  }
  if (status === 202) return { kind: "accepted", status, code: "accepted_not_applied", message: "Autumn queued the deduction; it is confirmed by a later attempt." };
  const deductedCredits = addDecimals(...(answer.deductions ?? []).map((deduction) => decimalFromJsonNumber(deduction.value)));
  const balance = answer.balance ? { balanceAfter: decimalFromJsonNumber(answer.balance.remaining) } : {};
  const difference = compareDecimals(deductedCredits, asked.delivery.credits);
  if (difference === 0) return { kind: "delivered", status, deductedCredits, ...balance };
  if (compareDecimals(deductedCredits, "0") === 0) {
    const message = "Autumn deducted nothing: the customer has no balance of this feature. Give it a plan or a balance, then redrive the batch.";
    return { kind: "unapplied", status, code: "no_balance", message, deductedCredits, ...balance };
  }
  const code = difference < 0 ? "shortfall" : "over_deducted";
  return { kind: "unapplied", status, code, message: `Autumn deducted ${deductedCredits} of ${asked.delivery.credits} credits.`, deductedCredits, ...balance };
}
