import { z } from "zod";
import { resourceIdSchema } from "./session.ts";

/** The gateway's HTTP API: tokens for services, beside the root tokens in GATEWAY_API_TOKEN. */

/** What a service token may do. Service tokens themselves are managed with a root token alone. */
export const tokenScopeSchema = z.enum(["sessions:read", "sessions:write", "billing:read", "billing:write"]);
/** One scope of a service token: a resource, and whether it may be changed. */
export type TokenScope = z.infer<typeof tokenScopeSchema>;

const instant = z.iso.datetime({ offset: true });

/** `POST /v1/tokens`. */
export const createServiceTokenRequestSchema = z.strictObject({
  name: z.string().min(1).max(200).describe("who uses it"),
  scopes: z.array(tokenScopeSchema).min(1).max(4),
  org_id: resourceIdSchema.optional().describe("binds it to one organization; what concerns all of them is closed to it"),
  expires_at: instant.optional().describe("never, when absent"),
});

/** `POST /v1/tokens/{id}/rotate`. */
export const rotateServiceTokenRequestSchema = z.strictObject({
  overlap_seconds: z.number().int().min(0).max(86_400).default(0).describe("how long the old token still works"),
});

/** Never the token. */
export const serviceTokenSchema = z.object({
  token_id: z.string(),
  name: z.string(),
  scopes: z.array(tokenScopeSchema),
  org_id: z.string().nullable(),
  created_at: instant,
  expires_at: instant.nullable(),
  revoked_at: instant.nullable(),
  last_used_at: instant.nullable().describe("to the minute"),
});
/** {@link serviceTokenSchema}, parsed. */
export type ServiceToken = z.infer<typeof serviceTokenSchema>;

/** 201 of a creation or rotation. */
export const issuedServiceTokenSchema = serviceTokenSchema.extend({ token: z.string().describe("shown this once") });

/** 200 of `GET /v1/tokens`, revoked tokens included. */
export const serviceTokenListSchema = z.object({ tokens: z.array(serviceTokenSchema).describe("newest first") });

/** `GET /v1/tokens/{id}`. */
export const serviceTokenDetailSchema = serviceTokenSchema.extend({
  audit: z
    .array(z.object({ action: z.enum(["created", "rotated", "revoked"]), request_id: z.string(), occurred_at: instant }))
    .describe("oldest first"),
});
/** A service token with what was done to it. */
export type ServiceTokenDetail = z.infer<typeof serviceTokenDetailSchema>;
