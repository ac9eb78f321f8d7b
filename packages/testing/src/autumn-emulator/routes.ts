import { addDecimals } from "@proliferate/shared/money";
import { type OverageBehavior, remainingOf, usageOf } from "./balances.ts";
import { decimalFromNumber, keepAmount } from "./decimal.ts";
import type { Customer, Ledger, TrackEvent } from "./ledger.ts";
import {
  AutumnError,
  type Body,
  customerIdOf,
  numberOf,
  type WireAnswer,
  wireBalance,
  wireBalance20,
  wireCustomer,
  wireDeductions,
  wireEvent,
} from "./wire.ts";

export interface RouteContext {
  readonly ledger: Ledger;
  readonly features: ReadonlySet<string>;
  /** `[2, 4, 0]`; of the request. */
  readonly apiVersion: readonly number[];
  readonly idempotencyKey: string | undefined;
  readonly nowMs: number;
}

export interface TrackCommand {
  readonly event: Omit<TrackEvent, "deducted" | "pieces">;
  readonly overage: OverageBehavior;
}

function isBefore(version: readonly number[], major: number, minor: number): boolean {
  const [a = 0, b = 0] = version;
  return a < major || (a === major && b < minor);
}

/** Checks a `track` without applying it. Throws what Autumn answers. */
export function readTrack(body: Body, context: RouteContext): TrackCommand {
  const customerId = trackedCustomerOf(body);
  const value = decimalFromNumber(numberOf(body, "value") ?? 1);
  const featureId = featureIdOf(body, context);
  const timestampMs = numberOf(body, "timestamp") ?? context.nowMs;
  if (timestampMs > context.nowMs) throw new AutumnError(400, "invalid_inputs", "timestamp cannot be in the future.");
  const overage = body["overage_behavior"] ?? "cap";
  if (overage !== "cap" && overage !== "overflow" && overage !== "reject")
    throw new AutumnError(400, "invalid_inputs", "overage_behavior must be cap, overflow or reject.");
  if (!context.ledger.customers.has(customerId)) {
    if (!isBefore(context.apiVersion, 2, 1)) throw new AutumnError(404, "customer_not_found", `Customer ${customerId} not found.`);
    context.ledger.createCustomer(customerId, context.nowMs);
  }
  const properties = (typeof body["properties"] === "object" && body["properties"] !== null ? body["properties"] : {}) as Readonly<
    Record<string, unknown>
  >;
  const id = `evt_${context.ledger.events.length + 1}_${context.nowMs.toString(36)}`;
  return { event: { id, timestampMs, customerId, featureId, value, idempotencyKey: context.idempotencyKey, properties }, overage };
}

/** A track does not look at the letters of an id: it knows the customer or not. */
function trackedCustomerOf(body: Body): string {
  const id = body["customer_id"];
  if (typeof id === "string" && id !== "") return id;
  throw new AutumnError(400, "invalid_inputs", "customer_id is required.");
}

function featureIdOf(body: Body, context: RouteContext): string {
  const { feature_id: featureId, event_name: eventName } = body;
  if ((featureId === undefined) === (eventName === undefined))
    throw new AutumnError(400, "invalid_inputs", "Give exactly one of feature_id and event_name.");
  if (typeof featureId === "string" && context.features.has(featureId)) return featureId;
  if (featureId === undefined) throw new AutumnError(404, "invalid_request", `No feature has an event named ${String(eventName)}.`);
  throw new AutumnError(404, "feature_not_found", `Feature ${String(featureId)} not found.`);
}

/** Takes what there is to take; a customer without a balance of the feature loses nothing, and it is an event all the same. */
export function applyTrack({ event, overage }: TrackCommand, ledger: Ledger): TrackEvent {
  const pieces = ledger.measure(event.customerId, event.featureId, event.value, overage);
  if (pieces === undefined)
    throw new AutumnError(400, "insufficient_balance", `Customer ${event.customerId} has not enough ${event.featureId}.`);
  return ledger.applyTrack({ ...event, pieces });
}

/** The answer to a `track`, in the form of the API version that was asked for. */
export function trackAnswer({ customerId, featureId, value, pieces }: TrackEvent, context: RouteContext): WireAnswer {
  if (isBefore(context.apiVersion, 2, 0))
    return { status: 200, body: { id: "placeholder", code: "event_received", customer_id: customerId, feature_id: featureId } };
  const balances = context.ledger.balancesOf(customerId, featureId);
  const head = { customer_id: customerId, value: Number(value) };
  if (isBefore(context.apiVersion, 2, 1)) return { status: 200, body: { ...head, balance: wireBalance20(featureId, balances) } };
  return { status: 200, body: { ...head, balance: wireBalance(featureId, balances), deductions: wireDeductions(featureId, pieces) } };
}

export function check(body: Body, context: RouteContext): WireAnswer {
  const customerId = customerIdOf(body);
  const featureId = featureIdOf(body, context);
  const required = numberOf(body, "required_balance") ?? 1;
  requireCustomer(customerId, context);
  const before = context.ledger.balancesOf(customerId, featureId);
  const allowed =
    before.some((balance) => balance.isUnlimited) || (before.length > 0 && Number(addDecimals(...before.map(remainingOf))) >= required);
  // A key in the body is no field of check: two equal calls deduct twice.
  if (allowed && body["send_event"] === true) {
    const { idempotency_key: _, ...asked } = body;
    applyTrack(readTrack({ ...asked, value: required }, context), context.ledger);
  }
  return {
    status: 200,
    body: {
      allowed,
      customer_id: customerId,
      required_balance: required,
      balance: wireBalance(featureId, context.ledger.balancesOf(customerId, featureId)),
      flag: null,
    },
  };
}

export function getOrCreateCustomer(body: Body, context: RouteContext): WireAnswer {
  return {
    status: 200,
    body: wireCustomer(context.ledger.createCustomer(customerIdOf({ customer_id: body["customer_id"] ?? body["id"] }), context.nowMs)),
  };
}

export function getCustomer(customerId: string, context: RouteContext): WireAnswer {
  return { status: 200, body: wireCustomer(requireCustomer(customerId, context)) };
}

/** A balance of its own, without a plan. */
export function createBalance(body: Body, context: RouteContext): WireAnswer {
  const customer = requireCustomer(customerIdOf(body), context);
  const featureId = featureIdOf(body, context);
  const isUnlimited = body["unlimited"] === true;
  const granted = numberOf(body, "included_grant");
  if (granted === undefined && !isUnlimited) throw new AutumnError(400, "invalid_inputs", "included_grant is required.");
  context.ledger.addBalance(customer.id, featureId, { granted: decimalFromNumber(granted ?? 0), isUnlimited });
  return { status: 200, body: { message: "Balance created" } };
}

export function updateBalance(body: Body, context: RouteContext): WireAnswer {
  const customer = requireCustomer(customerIdOf(body), context);
  const featureId = featureIdOf(body, context);
  const [first, ...others] = context.ledger.balancesOf(customer.id, featureId);
  if (!first) throw new AutumnError(404, "balance_not_found", `Customer ${customer.id} has no balance of ${featureId}.`);
  const fields = ["remaining", "add_to_balance", "usage"].filter((field) => body[field] !== undefined);
  const [field] = fields;
  if (field === undefined || fields.length > 1)
    throw new AutumnError(400, "invalid_inputs", "Give exactly one of remaining, add_to_balance and usage.");
  const amount = decimalFromNumber(numberOf(body, field) ?? 0);
  const granted = field === "usage" ? first.granted : addDecimals(amount, field === "remaining" ? usageOf(first) : first.granted);
  const left =
    field === "usage"
      ? addDecimals(granted, `-${amount}`.replace("--", ""))
      : field === "remaining"
        ? amount
        : addDecimals(first.left, amount);
  context.ledger.setBalances(customer.id, featureId, [{ ...first, granted, left: keepAmount(left) }, ...others]);
  return { status: 200, body: { success: true } };
}

/** Newest first; the cursor is the number of events to skip. */
export function listEvents(body: Body, context: RouteContext): WireAnswer {
  const limit = Math.min(numberOf(body, "limit") ?? 100, 1_000);
  const cursor = body["start_cursor"] ?? "";
  if (typeof cursor !== "string" || !/^\d*$/.test(cursor)) throw new AutumnError(400, "invalid_cursor", "The cursor is not valid.");
  const skip = Number(cursor);
  const { customer_id: customerId, feature_id: featureId } = body;
  const features = featureId === undefined ? undefined : [featureId].flat();
  const matching = context.ledger.events.filter(
    (event) =>
      !context.ledger.lostEventIds.has(event.id) &&
      (customerId === undefined || event.customerId === customerId) &&
      (features?.includes(event.featureId) ?? true),
  );
  const page = matching.toReversed().slice(skip, skip + limit);
  const next = skip + page.length < matching.length ? String(skip + page.length) : null;
  return { status: 200, body: { list: page.map(wireEvent), next_cursor: next } };
}

function requireCustomer(customerId: string, { ledger }: RouteContext): Customer {
  const customer = ledger.customers.get(customerId);
  if (!customer) throw new AutumnError(404, "customer_not_found", `Customer ${customerId} not found.`);
  return customer;
}
