import type { DatabaseClient } from "@proliferate/db";
import { z } from "zod";
import { requestReconcile } from "../balance/index.ts";
import { isKnownOrg } from "../billing-gate/index.ts";
import { orgIdFromCustomerId } from "../sinks/index.ts";

/**
 * An event of Autumn, as far as it is read: whom it concerns. Newer events name the customer by `customer_id`, the older
 * `customer.products.updated` by `customer.id` (https://docs.useautumn.com/documentation/webhooks).
 */
const autumnEvent = z.object({
  type: z.string().min(1).max(200),
  data: z.object({ customer_id: z.string().max(1_000).nullish(), customer: z.object({ id: z.string().max(1_000).nullish() }).nullish() }),
});

/**
 * - `refreshing`: the worker reads the org's balance and plan anew within seconds.
 * - `ignored`: it concerns nobody that billing knows, or no customer at all.
 */
interface AutumnWebhookOutcome {
  readonly outcome: "refreshing" | "ignored";
  readonly orgId: string | null;
}

/**
 * Takes a signed event of Autumn. An event is a hint, never a fact: whatever it says, the org's balance and plan are read at
 * Autumn, so events may be lost, doubled, late or out of order without any sum changing. Idempotent. Undefined for what is no event.
 */
export async function takeAutumnWebhook(db: DatabaseClient, body: unknown): Promise<AutumnWebhookOutcome | undefined> {
  const event = autumnEvent.safeParse(body);
  if (!event.success) return undefined;
  const { customer_id: customerId, customer } = event.data.data;
  const id = customerId ?? customer?.id ?? undefined;
  const orgId = id === undefined ? undefined : orgIdFromCustomerId(id);
  // Autumn may have customers that are no orgs of this deployment; they get no account here.
  if (orgId === undefined || orgId.includes("\u0000") || !(await isKnownOrg(db, orgId))) return { outcome: "ignored", orgId: null };
  await requestReconcile(db, orgId);
  return { outcome: "refreshing", orgId };
}
