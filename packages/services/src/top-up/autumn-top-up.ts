import { compareDecimals } from "@proliferate/shared/money";
import { type AutumnSinkOptions, classifyAutumnError, customerIdForOrg, decimalFromJsonNumber, openAutumn } from "../sinks/index.ts";
import type { TopUpOutcome, TopUpProvider } from "./top-up-provider.ts";

/** Charging a card takes longer than a deduction. */
const CHARGE_TIMEOUT_MS = 60_000;

/**
 * Buys packs by attaching the policy's plan (`billing.attach`), charged to the card that is on file:
 * nobody is there to be sent to a checkout page. The pack's credits are the plan's prepaid quantity.
 */
export function createAutumnTopUpProvider(options: AutumnSinkOptions): TopUpProvider {
  let client: ReturnType<typeof openAutumn> | undefined;
  const timeoutMs = options.timeoutMs ?? CHARGE_TIMEOUT_MS;
  return {
    async charge({ orgId, planId, credits, idempotencyKey }) {
      client ??= openAutumn({ ...options, timeoutMs });
      const autumn = await client;
      const customerId = customerIdForOrg(orgId);
      const quantity = Number(credits);
      if (compareDecimals(decimalFromJsonNumber(quantity), credits) !== 0)
        return {
          kind: "declined",
          code: "not_representable",
          message: `A pack of ${credits} credits cannot be ordered: the number of Autumn's API would be another amount. Set a pack of 15 digits at most.`,
        };
      try {
        const answer = await autumn.billing.attach(
          { customerId, planId, featureQuantities: [{ featureId: options.featureId, quantity }], redirectMode: "never" },
          { headers: { "Idempotency-Key": idempotencyKey } },
        );
        return judge(answer, customerId);
      } catch (error) {
        return judgeError(error);
      }
    },
  };
}

interface Answer {
  readonly customerId: string;
  readonly invoice?: { readonly status: string | null } | undefined;
  readonly paymentUrl: string | null;
  readonly requiredAction?: { readonly code: string } | undefined;
}

/** Paid is what Autumn calls paid; a pack is never assumed to be. */
function judge(answer: Answer, customerId: string): TopUpOutcome {
  if (answer.customerId !== customerId)
    return { kind: "unknown", code: "wrong_customer", message: "Autumn answered for another customer than the one that was charged." };
  const action = answer.requiredAction?.code;
  if (action === "payment_processing") return { kind: "unknown", code: action, message: "The payment is being processed." };
  if (action !== undefined)
    return {
      kind: "declined",
      code: action,
      message: "The card was not charged; the customer has to act (another card, or a confirmation).",
    };
  if (answer.paymentUrl !== null)
    return { kind: "declined", code: "payment_method_required", message: "There is no card on file; the customer has to add one." };
  if (answer.invoice?.status === "paid") return { kind: "paid" };
  return {
    kind: "unknown",
    code: "no_paid_invoice",
    message: "Autumn accepted the plan without a paid invoice; the granted credits decide.",
  };
}

/** Refusals that name the card. */
const CARD_CODE = /payment|card|declin/;

function judgeError(error: unknown): TopUpOutcome {
  const outcome = classifyAutumnError(error);
  const code = outcome.code ?? outcome.kind;
  switch (outcome.kind) {
    case "duplicate":
      return { kind: "unknown", code, message: "An earlier attempt used this key; whether it was paid is told by the granted credits." };
    case "unavailable":
      return { kind: "unavailable", code, message: "Autumn cannot be reached, or limits the rate of calls." };
    case "parked":
    case "dead":
      if (outcome.status === 402 || CARD_CODE.test(code)) return { kind: "declined", code, message: "The card was declined." };
      return { kind: "declined", code, message: `Autumn refused the purchase (${code}); check the policy's plan_id and the customer.` };
    default:
      return { kind: "unknown", code, message: "Autumn did not say whether the pack was paid." };
  }
}
