import type { IncomingMessage } from "node:http";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { type Balance, type Piece, remainingOf, usageOf } from "./balances.ts";
import { stateAmount } from "./decimal.ts";
import type { Customer, TrackEvent } from "./ledger.ts";
import { wireSubscription } from "./subscriptions.ts";

/** An answer of the emulator; `undefined` as body sends none. */
export interface WireAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Thrown by a route; becomes Autumn's one error shape. */
export class AutumnError extends Error {
  readonly status: number;
  readonly code: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, code: string, message: string, retryAfterSeconds?: number) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  toAnswer(): WireAnswer {
    const headers = this.retryAfterSeconds === undefined ? {} : { "retry-after": String(this.retryAfterSeconds) };
    return { status: this.status, body: { message: this.message, code: this.code, env: "sandbox" }, headers };
  }
}

export type Body = Readonly<Record<string, unknown>>;

export async function readBody(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  try {
    const body: unknown = text === "" ? {} : JSON.parse(text);
    if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Body;
  } catch {
    // Falls through: not JSON.
  }
  throw new AutumnError(400, "invalid_inputs", "The body is not a JSON object.");
}

/** Letters, digits, `_`, `:` and `-`; no dot, no @, no space. */
export const LEGAL_CUSTOMER_ID = /^[A-Za-z0-9_:-]+$/;

/** Of a call about a customer: an id of other letters is malformed. */
export function customerIdOf(body: Body): string {
  const id = body["customer_id"];
  if (typeof id === "string" && LEGAL_CUSTOMER_ID.test(id)) return id;
  throw new AutumnError(400, "invalid_inputs", "customer_id must consist of letters, digits, _, : and -.");
}

export function numberOf(body: Body, field: string): number | undefined {
  const value = body[field];
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new AutumnError(400, "invalid_inputs", `${field} must be a number.`);
}

/** Amounts are JSON numbers of 14 digits on the wire. */
const wireAmount = (...amounts: readonly DecimalText[]): number => Number(stateAmount(addDecimals(...amounts)));

/** The balances of a feature, as one; null where there are none. */
export function wireBalance(featureId: string, balances: readonly Balance[]): unknown {
  if (balances.length === 0) return null;
  const resets = balances.flatMap((balance) => balance.resetsAtMs ?? []);
  return {
    feature_id: featureId,
    granted: wireAmount(...balances.map((balance) => balance.granted)),
    remaining: wireAmount(...balances.map(remainingOf)),
    usage: wireAmount(...balances.map(usageOf)),
    unlimited: balances.some((balance) => balance.isUnlimited),
    overage_allowed: false,
    max_purchase: null,
    next_reset_at: resets.length === 0 ? null : Math.min(...resets),
    breakdown: balances.map((balance) => ({
      id: balance.id,
      plan_id: balance.planId,
      included_grant: wireAmount(balance.granted),
      prepaid_grant: 0,
      remaining: wireAmount(remainingOf(balance)),
      usage: wireAmount(usageOf(balance)),
      unlimited: balance.isUnlimited,
      reset: balance.resetsAtMs === null ? null : { interval: "month", resets_at: balance.resetsAtMs },
      price: null,
      expires_at: null,
    })),
  };
}

/** The names that API version 2.0 had. */
export function wireBalance20(featureId: string, balances: readonly Balance[]): unknown {
  if (balances.length === 0) return null;
  const [granted, current, usage] = [
    wireAmount(...balances.map((balance) => balance.granted)),
    wireAmount(...balances.map(remainingOf)),
    wireAmount(...balances.map(usageOf)),
  ];
  return { feature_id: featureId, granted_balance: granted, current_balance: current, purchased_balance: 0, usage };
}

export function wireDeductions(featureId: string, pieces: readonly Piece[]): readonly unknown[] {
  return pieces.map(({ balanceId, planId, value }) => ({
    balance_id: balanceId,
    feature_id: featureId,
    plan_id: planId,
    reset: null,
    value: Number(value),
  }));
}

/** In the list of events, an empty list of deductions has become null. */
export function wireEvent(event: TrackEvent): unknown {
  return {
    id: event.id,
    timestamp: event.timestampMs,
    feature_id: event.featureId,
    customer_id: event.customerId,
    value: wireAmount(event.value),
    properties: event.properties,
    deductions: event.pieces.length === 0 ? null : wireDeductions(event.featureId, event.pieces),
  };
}

export function wireCustomer(customer: Customer): unknown {
  return {
    id: customer.id,
    name: null,
    email: null,
    created_at: customer.createdAtMs,
    fingerprint: null,
    stripe_id: null,
    env: "sandbox",
    metadata: {},
    send_email_receipts: false,
    billing_controls: {},
    subscriptions: customer.subscriptions.map(wireSubscription),
    purchases: [],
    licenses: [],
    balances: Object.fromEntries([...customer.balances].map(([featureId, balances]) => [featureId, wireBalance(featureId, balances)])),
    flags: {},
  };
}
