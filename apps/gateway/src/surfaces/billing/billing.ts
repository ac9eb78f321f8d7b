import { createRoute, z } from "@hono/zod-openapi";
import { explainBilling, getOperatorStatus, recentRequestsFrom, reportBody } from "@proliferate/services/reports";
import { dismiss, redrive } from "@proliferate/services/decisions";
import {
  explanationSchema,
  operatorStatusQuerySchema,
  operatorStatusSchema,
  redriveResultSchema,
  redriveReviewRequestSchema,
} from "@proliferate/shared/contracts";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import { operatorOf } from "./operator.ts";

const status = createRoute({
  method: "get",
  path: "/v1/billing/status",
  summary: "Where every credit of this deployment is now, and whether spend rows and ledger agree",
  security: BEARER_SECURITY,
  request: { query: operatorStatusQuerySchema },
  responses: {
    200: json(
      "Over all orgs. The comparison is of requests of the last two days, unless `from` or `all` says otherwise.",
      operatorStatusSchema.meta({ id: "BillingStatus" }),
    ),
    ...errorResponses("reports_busy"),
  },
});

const explain = createRoute({
  method: "get",
  path: "/v1/billing/explain/{id}",
  summary: "Spend row, rate, arithmetic, batch, attempts and balance behind a request, event, batch or review",
  description: "`request:`, `event:` or `batch:` before the id says which is meant where two would fit.",
  security: BEARER_SECURITY,
  request: { params: z.object({ id: z.string().min(1).max(1_100) }) },
  responses: {
    200: json("The chain, as far as it goes.", explanationSchema.meta({ id: "Explanation" })),
    ...errorResponses("billing_not_found"),
  },
});

const redriveBatch = createRoute({
  method: "post",
  path: "/v1/billing/batches/{batch_id}/redrive",
  summary: "Send a batch again that rests undelivered, after its cause was corrected",
  description: "Safe to repeat: a batch that is on its way or delivered is left as it is.",
  security: BEARER_SECURITY,
  request: { params: z.object({ batch_id: z.string().min(1).max(200) }) },
  responses: {
    200: json("What became of it.", redriveResultSchema.meta({ id: "Redrive" })),
    ...errorResponses("billing_not_found", "redrive_refused"),
  },
});

const reviewPath = z.object({ review_key: z.string().min(1).max(1_100) });

const redriveReview = createRoute({
  method: "post",
  path: "/v1/billing/reviews/{review_key}/redrive",
  summary: "Bill a spend row in review to an organization",
  description: "By the review's key or the request id. Safe to repeat: a review that is settled is left as it is.",
  security: BEARER_SECURITY,
  request: { params: reviewPath, body: jsonBody(redriveReviewRequestSchema) },
  responses: {
    200: json("What became of it.", redriveResultSchema.meta({ id: "Redrive" })),
    ...errorResponses("billing_not_found", "org_not_found", "review_not_billable", "rate_card_invalid"),
  },
});

const dismissReview = createRoute({
  method: "post",
  path: "/v1/billing/reviews/{review_key}/dismiss",
  summary: "Close a review without billing it",
  security: BEARER_SECURITY,
  request: { params: reviewPath },
  responses: { 200: json("What became of it.", redriveResultSchema.meta({ id: "Redrive" })), ...errorResponses("billing_not_found") },
});

/** `/v1/billing`: billing as a whole, for operators; the same functions as the command line's. */
export function registerBillingRoutes(app: GatewayApp, { db, reports }: BillingDependencies): void {
  app.openapi(status, async (context) => {
    const { from, all } = context.req.valid("query");
    const report = await reports.run(() =>
      getOperatorStatus(reports.db, all === "true" ? {} : { from: from === undefined ? recentRequestsFrom() : new Date(from) }),
    );
    return context.json(operatorStatusSchema.parse(reportBody(report)), 200);
  });
  app.openapi(explain, async (context) =>
    context.json(explanationSchema.parse(reportBody(await explainBilling(db, context.req.valid("param").id))), 200),
  );
  app.openapi(redriveBatch, async (context) =>
    context.json(
      redriveResultSchema.parse(reportBody(await redrive(db, context.req.valid("param").batch_id, { operator: operatorOf(context) }))),
      200,
    ),
  );
  app.openapi(redriveReview, async (context) => {
    const { org_id: orgId, create } = context.req.valid("json");
    return context.json(
      redriveResultSchema.parse(
        reportBody(await redrive(db, context.req.valid("param").review_key, { orgId, create, operator: operatorOf(context) })),
      ),
      200,
    );
  });
  app.openapi(dismissReview, async (context) =>
    context.json(redriveResultSchema.parse(reportBody(await dismiss(db, context.req.valid("param").review_key, operatorOf(context)))), 200),
  );
}
