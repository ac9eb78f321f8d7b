import { createRoute } from "@hono/zod-openapi";
import { addRateCard, listRateCards } from "@proliferate/services/rates";
import { reportBody } from "@proliferate/services/reports";
import { createRateCardRequestSchema, rateCardListQuerySchema, rateCardListSchema, rateCardSchema } from "@proliferate/shared/contracts";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import { operatorOf } from "./operator.ts";

const create = createRoute({
  method: "post",
  path: "/v1/billing/rate-cards",
  summary: "Change what spend costs in credits, from a time on",
  description: "An open-ended card of the same owner ends where this one begins. Events that were billed before keep their rate.",
  security: BEARER_SECURITY,
  request: { body: jsonBody(createRateCardRequestSchema) },
  responses: {
    201: json("The card.", rateCardSchema.meta({ id: "RateCard" })),
    ...errorResponses("rate_card_invalid", "rate_card_overlap"),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/billing/rate-cards",
  summary: "Rate cards: the defaults, then each org's own",
  security: BEARER_SECURITY,
  request: { query: rateCardListQuerySchema },
  responses: { 200: json("By owner, then by time.", rateCardListSchema.meta({ id: "RateCardList" })), ...errorResponses() },
});

/** `/v1/billing/rate-cards`. */
export function registerRateCardRoutes(app: GatewayApp, { db }: BillingDependencies): void {
  app.openapi(create, async (context) => {
    const body = context.req.valid("json");
    const validTo = body.valid_to === undefined ? undefined : new Date(body.valid_to);
    const card = await addRateCard(
      db,
      { orgId: body.org_id, markup: body.markup, creditsPerUsd: body.credits_per_usd, validFrom: new Date(body.valid_from), validTo },
      operatorOf(context),
    );
    return context.json(rateCardSchema.parse(reportBody(card)), 201);
  });
  app.openapi(list, async (context) => {
    const cards = await listRateCards(db, { orgId: context.req.valid("query").org_id });
    return context.json(rateCardListSchema.parse(reportBody({ rateCards: cards })), 200);
  });
}
