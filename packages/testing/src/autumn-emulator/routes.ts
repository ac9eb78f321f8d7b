import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { decimalFromNumber } from "./decimal.ts";
import { type Balance, type Customer, type Ledger, type OverageBehavior, remainingOf, type TrackEvent } from "./ledger.ts";
import { AutumnError, type Body, customerIdOf, numberOf, type WireAnswer, wireBalance, wireBalance20, wireCustomer, wireDeductions, wireEvent } from "./wire.ts";

export interface RouteContext {
  readonly ledger: Ledger;
  readonly features: ReadonlySet<string>;
  /** `[2, 4, 0]`; of the request. */
  readonly apiVersion: readonly number[];
  readonly idempotencyKey: string | undefined;
  readonly nowMs: number;
}

export interface TrackCommand {
  readonly event: Omit<TrackEvent, "deducted">;
  readonly overage: OverageBehavior;
}

export function isBefore(version: readonly number[], major: number, minor: number): boolean {
  const [a = 0, b = 0] = version;
  return a < major || (a === major && b < minor);
}

/** Checks a `track` without applying it. Throws what Autumn answers. */
export function readTrack(body: Body, context: RouteContext): TrackCommand {
  const customerId = customerIdOf(body);
  const featureId = featureIdOf(body, context);
  const timestampMs = numberOf(body, "timestamp") ?? context.nowMs;
  if (timestampMs > context.nowMs) throw new AutumnError(400, "invalid_inputs", "timestamp cannot be in the future.");
  const overage = body["overage_behavior"] ?? "cap";
  if (overage !== "cap" && overage !== "overflow" && overage !== "reject") throw new AutumnError(400, "invalid_inputs", "overage_behavior must be cap, overflow or reject.");
  if (!context.ledger.customers.has(customerId)) {
    if (!isBefore(context.apiVersion, 2, 1)) throw new AutumnError(404, "customer_not_found", `Customer ${customerId} not found.`);
    context.ledger.createCustomer(customerId, context.nowMs);
  }
  const properties = (typeof body["properties"] === "object" && body["properties"] !== null ? body["properties"] : {}) as Readonly<Record<string, unknown>>;
  const value = decimalFromNumber(numberOf(body, "value") ?? 1);
  const id = `evt_${context.ledger.events.length + 1}_${context.nowMs.toString(36)}`;
  return { event: { id, timestampMs, customerId, featureId, value, idempotencyKey: context.idempotencyKey, properties }, overage };
}

function featureIdOf(body: Body, context: RouteContext): string {
  const { feature_id: featureId, event_name: eventName } = body;
  if ((featureId === undefined) === (eventName === undefined)) throw new AutumnError(400, "invalid_inputs", "Give exactly one of feature_id and event_name.");
  if (typeof featureId === "string" && context.features.has(featureId)) return featureId;
  throw new AutumnError(404, "feature_not_found", `Feature ${String(featureId ?? eventName)} not found.`);
}

/** Takes what there is to take; a customer without a balance of the feature loses nothing, and nobody says so. */
export function applyTrack({ event, overage }: TrackCommand, ledger: Ledger): DecimalText {
  const hasBalance = ledger.customers.get(event.customerId)?.balances.has(event.featureId) ?? false;
  const deducted = ledger.measure(event.customerId, event.featureId, event.value, overage);
  if (hasBalance && deducted === undefined) throw new AutumnError(400, "insufficient_balance", `Customer ${event.customerId} has not enough ${event.featureId}.`);
  if (deducted !== undefined) ledger.applyTrack({ ...event, deducted });
  return deducted ?? "0";
}

/** The answer to a `track`, in the form of the API version that was asked for. */
export function trackAnswer({ event }: TrackCommand, deducted: DecimalText, context: RouteContext): WireAnswer {
  const { customerId, featureId, value } = event;
  if (isBefore(context.apiVersion, 2, 0)) return { status: 200, body: { id: "placeholder", code: "event_received", customer_id: customerId, feature_id: featureId } };
  const balance = context.ledger.customers.get(customerId)?.balances.get(featureId);
  const head = { customer_id: customerId, value: Number(value) };
  if (isBefore(context.apiVersion, 2, 1)) return { status: 200, body: { ...head, balance: wireBalance20(featureId, balance) } };
  return { status: 200, body: { ...head, balance: wireBalance(featureId, balance), deductions: wireDeductions(featureId, deducted) } };
}

export function check(body: Body, context: RouteContext): WireAnswer {
  const customerId = customerIdOf(body);
  const featureId = featureIdOf(body, context);
  const required = numberOf(body, "required_balance") ?? 1;
  const customer = requireCustomer(customerId, context);
  const before = customer.balances.get(featureId);
  const allowed = before !== undefined && Number(remainingOf(before)) >= required;
  // A key in the body is no field of check: two equal calls deduct twice.
  if (allowed && body["send_event"] === true) {
    const { idempotency_key: _, ...asked } = body;
    applyTrack(readTrack({ ...asked, value: required }, context), context.ledger);
  }
  return { status: 200, body: { allowed, customer_id: customerId, required_balance: required, balance: wireBalance(featureId, customer.balances.get(featureId)), flag: null } };
}

export function getOrCreateCustomer(body: Body, context: RouteContext): WireAnswer {
  return { status: 200, body: wireCustomer(context.ledger.createCustomer(customerIdOf({ customer_id: body["customer_id"] ?? body["id"] }), context.nowMs)) };
}

export function getCustomer(customerId: string, context: RouteContext): WireAnswer {
  return { status: 200, body: wireCustomer(requireCustomer(customerId, context)) };
}

export function updateBalance(body: Body, context: RouteContext): WireAnswer {
  const customer = requireCustomer(customerIdOf(body), context);
  const featureId = featureIdOf(body, context);
  const before = customer.balances.get(featureId);
  if (!before) throw new AutumnError(404, "balance_not_found", `Customer ${customer.id} has no balance of ${featureId}.`);
  context.ledger.setBalance(customer.id, featureId, { ...before, ...balanceChange(before, body) });
  return { status: 200, body: { success: true } };
}

function balanceChange(before: Balance, body: Body): Partial<Balance> {
  const given = ["remaining", "add_to_balance", "usage"].filter((field) => body[field] !== undefined);
  const [field] = given;
  if (field === undefined || given.length > 1) throw new AutumnError(400, "invalid_inputs", "Give exactly one of remaining, add_to_balance and usage.");
  const amount = decimalFromNumber(numberOf(body, field) ?? 0);
  if (field === "usage") return { usage: amount };
  return { granted: addDecimals(amount, field === "remaining" ? before.usage : before.granted) };
}

/** Newest first; the cursor is the number of events to skip. */
export function listEvents(body: Body, context: RouteContext): WireAnswer {
  const limit = Math.min(numberOf(body, "limit") ?? 100, 1_000);
  const skip = Number(body["start_cursor"] || 0);
  const { customer_id: customerId, feature_id: featureId } = body;
  const features = featureId === undefined ? undefined : [featureId].flat();
  const matching = context.ledger.events.filter((event) => (customerId === undefined || event.customerId === customerId) && (features?.includes(event.featureId) ?? true));
  const page = matching.toReversed().slice(skip, skip + limit);
  const next = skip + page.length < matching.length ? String(skip + page.length) : null;
  return { status: 200, body: { list: page.map(wireEvent), next_cursor: next } };
}

function requireCustomer(customerId: string, { ledger }: RouteContext): Customer {
  const customer = ledger.customers.get(customerId);
  if (!customer) throw new AutumnError(404, "customer_not_found", `Customer ${customerId} not found.`);
  return customer;
}
