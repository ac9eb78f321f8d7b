import type { IncomingMessage } from "node:http";
import type { DecimalText } from "@proliferate/shared/money";
import { type Balance, type Customer, remainingOf, type TrackEvent } from "./ledger.ts";

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
export function customerIdOf(body: Body): string {
  const id = body["customer_id"];
  if (typeof id === "string" && /^[A-Za-z0-9_:-]+$/.test(id)) return id;
  throw new AutumnError(400, "invalid_inputs", "customer_id must consist of letters, digits, _, : and -.");
}

export function numberOf(body: Body, field: string): number | undefined {
  const value = body[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new AutumnError(400, "invalid_inputs", `${field} must be a number.`);
}

/** Balances are JSON numbers on the wire. */
export function wireBalance(featureId: string, balance: Balance | undefined): unknown {
  if (!balance) return null;
  return {
    feature_id: featureId,
    granted: Number(balance.granted),
    remaining: Number(remainingOf(balance)),
    usage: Number(balance.usage),
    unlimited: false,
    overage_allowed: false,
    max_purchase: null,
    next_reset_at: null,
  };
}

/** The names that API version 2.0 had. */
export function wireBalance20(featureId: string, balance: Balance | undefined): unknown {
  if (!balance) return null;
  return { feature_id: featureId, granted_balance: Number(balance.granted), current_balance: Number(remainingOf(balance)), purchased_balance: 0, usage: Number(balance.usage) };
}

export function wireDeductions(featureId: string, deducted: DecimalText): readonly unknown[] {
  return deducted === "0" ? [] : [{ balance_id: `bal_${featureId}`, feature_id: featureId, plan_id: null, reset: null, value: Number(deducted) }];
}

export function wireEvent(event: TrackEvent): unknown {
  return {
    id: event.id,
    timestamp: event.timestampMs,
    feature_id: event.featureId,
    customer_id: event.customerId,
    value: Number(event.value),
    properties: event.properties,
    deductions: wireDeductions(event.featureId, event.deducted),
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
    subscriptions: [],
    purchases: [],
    licenses: [],
    balances: Object.fromEntries([...customer.balances].map(([featureId, balance]) => [featureId, wireBalance(featureId, balance)])),
    flags: {},
  };
}
