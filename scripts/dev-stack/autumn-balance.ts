import { normalizeDecimal } from "@proliferate/shared/money";
import { z } from "zod";
import type { Stack } from "./stack.ts";

/** What Autumn says of an organization's credits, as decimal text. */
interface CreditUsage {
  readonly usage: string;
  readonly remaining: string;
}

const DEFAULT_AUTUMN_URL = "https://api.useautumn.com";
const API_VERSION = "2.3.0";

const balanceAnswer = z.object({ balance: z.object({ usage: z.number(), remaining: z.number() }).nullish() });

/**
 * Asks Autumn itself, by plain HTTP and not through the product's Autumn code: what proves a deduction must not share the
 * mistakes of what made it. Throws an Error that says what to set up when the organization has no credits in Autumn.
 */
export async function readCreditUsage(autumn: Stack["autumn"], orgId: string): Promise<CreditUsage> {
  const answer = balanceAnswer.parse(
    await call(autumn, "/v1/balances.check", { customer_id: orgId, feature_id: "credits", required_balance: 0 }),
  );
  if (!answer.balance)
    throw new Error(
      `Autumn has the customer "${orgId}" but no balance of the feature "credits" for it: attach a plan that grants credits (or set DEV_ORG_ID to a customer that has one), then start again.`,
    );
  return { usage: normalizeDecimal(String(answer.balance.usage)), remaining: normalizeDecimal(String(answer.balance.remaining)) };
}

async function call(autumn: Stack["autumn"], path: string, body: unknown): Promise<unknown> {
  const base = (autumn.url ?? DEFAULT_AUTUMN_URL).replace(/\/v1$/, "");
  const response = await fetch(`${base}${path}`, {
    method: "POST",
    headers: { "authorization": `Bearer ${autumn.apiKey}`, "content-type": "application/json", "x-api-version": API_VERSION },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(15_000),
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text) as unknown;
  throw new Error(`Autumn answered ${response.status} to ${path}: ${text.slice(0, 300)}`);
}
