import { createRoute, z } from "@hono/zod-openapi";
import {
  createServiceToken,
  describeServiceToken,
  listServiceTokens,
  readServiceToken,
  revokeServiceToken,
  rotateServiceToken,
} from "@proliferate/services/service-tokens";
import {
  createServiceTokenRequestSchema,
  issuedServiceTokenSchema,
  resourceIdSchema,
  rotateServiceTokenRequestSchema,
  serviceTokenDetailSchema,
  serviceTokenListSchema,
  serviceTokenSchema,
} from "@proliferate/shared/contracts";
import type { CommonDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";

const tokenPath = z.object({ token_id: resourceIdSchema });
const issued = issuedServiceTokenSchema.meta({ id: "IssuedServiceToken" });

const create = createRoute({
  method: "post",
  path: "/v1/tokens",
  summary: "Make a service token",
  security: BEARER_SECURITY,
  request: { body: jsonBody(createServiceTokenRequestSchema.meta({ id: "CreateServiceToken" })) },
  responses: { 201: json("`token` is shown this once.", issued), ...errorResponses("invalid_json") },
});

const list = createRoute({
  method: "get",
  path: "/v1/tokens",
  summary: "List service tokens, revoked ones included",
  security: BEARER_SECURITY,
  responses: { 200: json("All of them.", serviceTokenListSchema.meta({ id: "ServiceTokenList" })), ...errorResponses() },
});

const get = createRoute({
  method: "get",
  path: "/v1/tokens/{token_id}",
  summary: "A service token and what was done to it",
  security: BEARER_SECURITY,
  request: { params: tokenPath },
  responses: {
    200: json("Never the token itself.", serviceTokenDetailSchema.meta({ id: "ServiceTokenDetail" })),
    ...errorResponses("token_not_found"),
  },
});

const rotate = createRoute({
  method: "post",
  path: "/v1/tokens/{token_id}/rotate",
  summary: "Replace a service token",
  description: "The same rights under a new token; the old one works for `overlap_seconds` more.",
  security: BEARER_SECURITY,
  request: { params: tokenPath, body: jsonBody(rotateServiceTokenRequestSchema.meta({ id: "RotateServiceToken" })) },
  responses: { 201: json("`token` is shown this once.", issued), ...errorResponses("invalid_json", "token_not_found") },
});

const revoke = createRoute({
  method: "delete",
  path: "/v1/tokens/{token_id}",
  summary: "Revoke a service token",
  description: "In force with the next request. Final and idempotent.",
  security: BEARER_SECURITY,
  request: { params: tokenPath },
  responses: { 200: json("Revoked.", serviceTokenSchema.meta({ id: "ServiceToken" })), ...errorResponses("token_not_found") },
});

/** `/v1/tokens`, for root tokens alone (`auth.ts`). */
export function registerServiceTokenRoutes(app: GatewayApp, { db }: CommonDependencies): void {
  app.openapi(create, async (context) => {
    const { name, scopes, org_id: orgId, expires_at: expiresAt } = context.req.valid("json");
    const { row, token } = await createServiceToken(db, {
      name,
      scopes,
      orgId,
      expiresAt: expiresAt === undefined ? undefined : new Date(expiresAt),
      requestId: context.get("requestId"),
    });
    return context.json({ ...describeServiceToken(row), token }, 201);
  });
  app.openapi(list, async (context) => context.json({ tokens: [...(await listServiceTokens(db))] }, 200));
  app.openapi(get, async (context) => context.json(await readServiceToken(db, context.req.valid("param").token_id), 200));
  app.openapi(rotate, async (context) => {
    const { row, token } = await rotateServiceToken(db, context.req.valid("param").token_id, {
      overlapSeconds: context.req.valid("json").overlap_seconds,
      requestId: context.get("requestId"),
    });
    return context.json({ ...describeServiceToken(row), token }, 201);
  });
  app.openapi(revoke, async (context) =>
    context.json(describeServiceToken(await revokeServiceToken(db, context.req.valid("param").token_id, context.get("requestId"))), 200),
  );
}
