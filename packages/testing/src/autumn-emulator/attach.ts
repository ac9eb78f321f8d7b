import type { DecimalText } from "@proliferate/shared/money";
import { decimalFromNumber } from "./decimal.ts";
import type { RouteContext } from "./routes.ts";
import { AutumnError, type Body, customerIdOf, numberOf, type WireAnswer } from "./wire.ts";

/** What a customer's card does when it is charged. */
export type Card = "good" | "declined" | "absent" | "processing";

const REQUIRED_ACTIONS: Readonly<Record<Exclude<Card, "good">, string>> = {
  declined: "payment_failed",
  absent: "payment_method_required",
  processing: "payment_processing",
};

/** What an `attach` with prepaid quantities asks for; throws what Autumn answers to a wrong one. */
function readAttach(
  body: Body,
  context: RouteContext,
): { readonly customerId: string; readonly planId: string; readonly featureId: string; readonly credits: DecimalText } {
  const customerId = customerIdOf(body);
  if (!context.ledger.customers.has(customerId)) throw new AutumnError(404, "customer_not_found", `Customer ${customerId} not found.`);
  const planId = body["plan_id"];
  if (typeof planId !== "string") throw new AutumnError(400, "invalid_inputs", "plan_id is required.");
  const [quantity] = (Array.isArray(body["feature_quantities"]) ? body["feature_quantities"] : []) as readonly Body[];
  const featureId = quantity?.["feature_id"];
  if (!quantity || typeof featureId !== "string" || !context.features.has(featureId))
    throw new AutumnError(400, "invalid_inputs", "feature_quantities must name a feature.");
  return { customerId, planId, featureId, credits: decimalFromNumber(numberOf(quantity, "quantity") ?? 0) };
}

/** Charges the card; only a good one brings credits. */
export function applyAttach(body: Body, card: Card, context: RouteContext): WireAnswer {
  const { customerId, planId, featureId, credits } = readAttach(body, context);
  if (card !== "good") {
    const paymentUrl = card === "processing" ? null : "https://checkout.invalid/session";
    return {
      status: 200,
      body: {
        customer_id: customerId,
        payment_url: paymentUrl,
        required_action: { code: REQUIRED_ACTIONS[card], reason: "The payment could not be made." },
      },
    };
  }
  context.ledger.addBalance(customerId, featureId, { granted: credits, planId });
  const invoice = { status: "paid", stripe_id: `in_${context.nowMs}`, total: 500, currency: "usd", hosted_invoice_url: null };
  return { status: 200, body: { customer_id: customerId, invoice, payment_url: null } };
}
