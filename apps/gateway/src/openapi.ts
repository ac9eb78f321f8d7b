import { gatewayErrorSchema } from "@proliferate/shared/contracts";
import type { z } from "@hono/zod-openapi";
import { ERROR_CODES, type ErrorCode } from "@proliferate/shared/errors";
import type { GatewayApp } from "./dependencies.ts";
import { describeOperations } from "./openapi-operations.ts";

const errorBody = gatewayErrorSchema.meta({ id: "Error" });

/** Security of every `/v1` route. */
export const BEARER_SECURITY = [{ bearer: [] }];

/** What any `/v1` route may answer besides its own errors. */
const COMMON_CODES = [
  "unauthorized",
  "insufficient_scope",
  "invalid_request",
  "store_unavailable",
  "internal_error",
] as const satisfies readonly ErrorCode[];

/** An entry of `responses`: an answer that is JSON of this schema. */
export function json<Schema extends z.ZodType>(description: string, schema: Schema) {
  return { description, content: { "application/json": { schema } } };
}

/** The `body` of a request that must have one, as JSON of this schema; `requireStatedBody` refuses a request without. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true as const, content: { "application/json": { schema } } };
}

type ErrorResponses = Record<
  string,
  { readonly description: string; readonly content: { readonly "application/json": { readonly schema: typeof errorBody } } }
>;

/** The `responses` entries for these error codes and those that every `/v1` route shares, by their status. */
export function errorResponses(...codes: readonly ErrorCode[]): ErrorResponses {
  return errorResponsesOf(...codes, ...COMMON_CODES);
}

/** The `responses` entries for exactly these error codes, by their status. */
export function errorResponsesOf(...codes: readonly ErrorCode[]): ErrorResponses {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of codes) {
    const { status } = ERROR_CODES[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, named]) => [
      String(status),
      { description: named.map((code) => `\`${code}\``).join(", "), content: { "application/json": { schema: errorBody } } },
    ]),
  );
}

/** Serves `/openapi.json`: the routes as they are registered, so the document cannot lag behind. */
export function registerOpenApiDocument(app: GatewayApp): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "A root token of GATEWAY_API_TOKEN, or a service token within its scopes and organization.",
  });
  app.get("/openapi.json", (context) =>
    context.json(
      describeOperations(
        app.getOpenAPI31Document({
          openapi: "3.1.0",
          info: {
            title: "LLM gateway control plane",
            version: "1.0.0",
            description:
              "Sessions, usage, ledger. Amounts are exact decimal text, instants ISO 8601 in UTC. Every error is `Error`; `x-request-id` is taken over and sent back.",
          },
        }),
      ),
    ),
  );
}
