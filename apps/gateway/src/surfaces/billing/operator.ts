import type { Operator } from "@proliferate/services/operator";
import type { Context } from "hono";
import type { GatewayVariables } from "../../request-id.ts";

/** Who acts by this request, for the record: as the body says, else the token; the token and the request stand beside it in any case. */
export function operatorOf(
  context: Context<GatewayVariables>,
  given: { readonly by?: string | undefined; readonly reason?: string | undefined } = {},
): Operator {
  const caller = context.get("caller");
  const token = caller === "root" ? "root token" : `service token ${caller.tokenId}`;
  return { name: given.by ?? token, via: `gateway, ${token}, request ${context.get("requestId")}`, reason: given.reason };
}
