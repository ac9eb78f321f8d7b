import { type CreateSessionResponse, createSessionResponseSchema, gatewayErrorSchema } from "@proliferate/shared/contracts";
import type { Stack } from "./stack.ts";

/** Starts a session as a company's backend would: through the gateway's API. Throws an Error with the gateway's own message. */
export async function createSession(stack: Stack, request: { readonly sessionId: string; readonly orgId: string; readonly model: string }): Promise<CreateSessionResponse> {
  const response = await fetch(`${stack.gatewayUrl}/v1/sessions`, {
    method: "POST",
    headers: { authorization: `Bearer ${stack.gatewayToken}`, "content-type": "application/json" },
    body: JSON.stringify({ session_id: request.sessionId, org_id: request.orgId, model: request.model, max_budget_usd: "5", duration: "24h" }),
    signal: AbortSignal.timeout(30_000),
  });
  const body: unknown = await response.json();
  if (response.ok) return createSessionResponseSchema.parse(body);
  const { error } = gatewayErrorSchema.parse(body);
  throw new Error(`The gateway refused the session: ${error.message} ${error.fix}`);
}
