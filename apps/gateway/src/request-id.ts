import { randomUUID } from "node:crypto";
import type { TokenOwner } from "@proliferate/services/service-tokens";
import { createMiddleware } from "hono/factory";

/** Who calls: the operator with a root token, or a service within its token's rights. */
type Caller = "root" | TokenOwner;

/** What every handler may read from its context. */
export interface GatewayVariables {
  readonly Variables: { requestId: string; caller: Caller };
}

/** Takes over the caller's `x-request-id` when it is harmless in a log line, makes one otherwise, and sends it back. */
export const assignRequestId = createMiddleware<GatewayVariables>(async (context, next) => {
  const sent = context.req.header("x-request-id");
  const requestId = sent !== undefined && /^[A-Za-z0-9._:-]{1,128}$/.test(sent) ? sent : `req_${randomUUID()}`;
  context.set("requestId", requestId);
  context.header("x-request-id", requestId);
  await next();
});
