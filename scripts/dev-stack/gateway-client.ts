import {
  type CreateSessionResponse,
  createSessionResponseSchema,
  gatewayErrorSchema,
  type LaunchedSession,
  launchedSessionSchema,
} from "@proliferate/shared/contracts";
import type { Stack } from "./stack.ts";

export interface SessionRequest {
  readonly sessionId: string;
  readonly orgId: string;
  readonly model: string;
}

/** A launch waits for its agent; the real one is up in a second or two. */
const CALL_TIMEOUT_MS = 90_000;

/** Starts a session as a company's backend would: through the gateway's API. Throws an Error with the gateway's own message. */
export async function createSession(stack: Stack, request: SessionRequest): Promise<CreateSessionResponse> {
  return createSessionResponseSchema.parse(await call(stack, "POST", "/v1/sessions", body(request)));
}

/** The same, with a local sandbox that the gateway launches; answers when OpenCode does. */
export async function launchSession(stack: Stack, request: SessionRequest): Promise<LaunchedSession> {
  return launchedSessionSchema.parse(await call(stack, "POST", "/v1/sessions?wait=true", { ...body(request), launcher: "local" }));
}

/** Revokes the session's key and ends its sandbox. Idempotent. */
export async function endSession(stack: Stack, sessionId: string): Promise<void> {
  await call(stack, "DELETE", `/v1/sessions/${sessionId}`);
}

const body = ({ sessionId, orgId, model }: SessionRequest) => ({
  session_id: sessionId,
  org_id: orgId,
  model,
  max_budget_usd: "5",
  duration: "24h",
});

async function call(stack: Stack, method: string, path: string, json?: object): Promise<unknown> {
  const response = await fetch(`${stack.gatewayUrl}${path}`, {
    method,
    headers: { "authorization": `Bearer ${stack.gatewayToken}`, "content-type": "application/json" },
    ...(json && { body: JSON.stringify(json) }),
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
  });
  const answer: unknown = await response.json();
  if (response.ok) return answer;
  const { error } = gatewayErrorSchema.parse(answer);
  throw new Error(`The gateway refused the session: ${error.message} ${error.fix}`);
}
