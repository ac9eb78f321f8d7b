import { createRoute, z } from "@hono/zod-openapi";
import { clearAlertByHand, decideBatch } from "@proliferate/services/decisions";
import { reportBody, requireKnownOrg } from "@proliferate/services/reports";
import { previewRetirement, retireMonth } from "@proliferate/services/ledger";
import { listReviews, mapKey } from "@proliferate/services/reviews";
import { readActions } from "@proliferate/services/operator";
import { mapCustomer, readSinkCustomers } from "@proliferate/services/sinks";
import {
  actionListQuerySchema,
  actionListSchema,
  batchDecisionSchema,
  byHandRequestSchema,
  clearedAlertSchema,
  customerListQuerySchema,
  customerListSchema,
  decideBatchRequestSchema,
  mapCustomerRequestSchema,
  mapKeyRequestSchema,
  mappedCustomerSchema,
  mappedKeySchema,
  mappedSinkSchema,
  resourceIdSchema,
  retirementSchema,
  retireMonthRequestSchema,
  reviewListQuerySchema,
  reviewListSchema,
} from "@proliferate/shared/contracts";
import type { BillingDependencies, GatewayApp } from "../../dependencies.ts";
import { BEARER_SECURITY, errorResponses, json, jsonBody } from "../../openapi.ts";
import { operatorOf } from "./operator.ts";

const decide = createRoute({
  method: "post",
  path: "/v1/billing/batches/{batch_id}/decide",
  summary: "Say whether a batch was delivered that nobody else can tell about, after looking at the sink",
  description:
    "Only for a batch past the sink's memory of its key, or dead or delivered without a stated amount. Kept with who and why. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params: z.object({ batch_id: z.string().min(1).max(200) }), body: jsonBody(decideBatchRequestSchema) },
  responses: {
    200: json("What became of it.", batchDecisionSchema.meta({ id: "BatchDecision" })),
    ...errorResponses("billing_not_found", "decision_refused"),
  },
});

const reviews = createRoute({
  method: "get",
  path: "/v1/billing/reviews",
  summary: "Spend rows that wait for a person, with the reason",
  security: BEARER_SECURITY,
  request: { query: reviewListQuerySchema },
  responses: { 200: json("Oldest first.", reviewListSchema.meta({ id: "ReviewList" })), ...errorResponses() },
});

const ownKey = createRoute({
  method: "post",
  path: "/v1/billing/keys/{key_hash}/map",
  summary: "Say whose a key is: its rows in review are billed at once, and those to come",
  description: "The hash, as a review shows it; never the key. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params: z.object({ key_hash: z.string().min(1).max(200) }), body: jsonBody(mapKeyRequestSchema) },
  responses: {
    200: json("How many rows were billed.", mappedKeySchema.meta({ id: "MappedKey" })),
    ...errorResponses("org_not_found", "review_not_billable", "rate_card_invalid"),
  },
});

const customers = createRoute({
  method: "get",
  path: "/v1/billing/customers",
  summary: "What sinks call the organizations, where it is not their id",
  security: BEARER_SECURITY,
  request: { query: customerListQuerySchema },
  responses: { 200: json("By organization.", customerListSchema.meta({ id: "CustomerList" })), ...errorResponses() },
});

const mapOrg = createRoute({
  method: "put",
  path: "/v1/billing/orgs/{org_id}/customers/{sink}",
  summary: "Say which customer of a sink an organization is",
  description: "Batches that waited for it are due at once. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params: z.object({ org_id: resourceIdSchema, sink: mappedSinkSchema }), body: jsonBody(mapCustomerRequestSchema) },
  responses: {
    200: json("The mapping.", mappedCustomerSchema.meta({ id: "MappedCustomer" })),
    ...errorResponses("org_not_found", "customer_mapping_conflict"),
  },
});

const clear = createRoute({
  method: "post",
  path: "/v1/billing/alerts/{alert_key}/clear",
  summary: "Close an alert that the status tells, after its cause was looked at",
  description: "It is raised again if it happens again. Safe to repeat.",
  security: BEARER_SECURITY,
  request: { params: z.object({ alert_key: z.string().min(1).max(500) }), body: jsonBody(byHandRequestSchema) },
  responses: {
    200: json("Whether one was open.", clearedAlertSchema.meta({ id: "ClearedAlert" })),
    ...errorResponses("billing_not_found"),
  },
});

const retire = createRoute({
  method: "post",
  path: "/v1/billing/months/{month}/retire",
  summary: "Take a month out of the ledger, or tell what would refuse it",
  description:
    "A dry run unless `dry_run` is false. The month's table stays, detached; its sums and keys stay in the ledger. Safe to repeat.",
  security: BEARER_SECURITY,
  request: {
    params: z.object({ month: z.string().regex(/^\d{4}-(0[1-9]|1[0-2])$/, "must be a month such as 2026-01") }),
    body: jsonBody(retireMonthRequestSchema),
  },
  responses: {
    200: json("What was done, or would be.", retirementSchema.meta({ id: "Retirement" })),
    ...errorResponses("partition_not_retirable"),
  },
});

const actions = createRoute({
  method: "get",
  path: "/v1/billing/actions",
  summary: "Who did what by hand",
  security: BEARER_SECURITY,
  request: { query: actionListQuerySchema },
  responses: { 200: json("Newest first.", actionListSchema.meta({ id: "ActionList" })), ...errorResponses() },
});

/** What a person decides, and the record of it. */
export function registerBillingDecisionRoutes(app: GatewayApp, { db }: BillingDependencies): void {
  app.openapi(decide, async (context) => {
    const body = context.req.valid("json");
    const result = await decideBatch(db, context.req.valid("param").batch_id, {
      wasTaken: body.delivered,
      operator: operatorOf(context, body),
    });
    return context.json(batchDecisionSchema.parse(reportBody(result)), 200);
  });
  app.openapi(reviews, async (context) => {
    const { org_id: orgId, reason, all, cursor, limit } = context.req.valid("query");
    return context.json(
      reviewListSchema.parse(reportBody(await listReviews(db, { orgId, reason, all: all === "true", cursor, limit }))),
      200,
    );
  });
  app.openapi(ownKey, async (context) => {
    const keyHash = context.req.valid("param").key_hash;
    const body = context.req.valid("json");
    if (!body.create) await requireKnownOrg(db, body.org_id);
    const billed = await mapKey(db, keyHash, body.org_id, { operator: operatorOf(context, body) });
    return context.json({ key_hash: keyHash, org_id: body.org_id, billed_reviews: billed }, 200);
  });
  app.openapi(customers, async (context) => {
    const { org_id: orgId, sink } = context.req.valid("query");
    return context.json(customerListSchema.parse(reportBody({ customers: await readSinkCustomers(db, { orgId, sink }) })), 200);
  });
  app.openapi(mapOrg, async (context) => {
    const { org_id: orgId, sink } = context.req.valid("param");
    const body = context.req.valid("json");
    if (!body.create) await requireKnownOrg(db, orgId);
    const mapped = await mapCustomer(db, { sink, orgId, customerId: body.customer_id }, operatorOf(context, body));
    return context.json(mappedCustomerSchema.parse(reportBody(mapped)), 200);
  });
  app.openapi(clear, async (context) => {
    const key = context.req.valid("param").alert_key;
    return context.json({ key, cleared: await clearAlertByHand(db, key, operatorOf(context, context.req.valid("json"))) }, 200);
  });
  app.openapi(retire, async (context) => {
    const { month } = context.req.valid("param");
    const body = context.req.valid("json");
    const result = body.dry_run ? await previewRetirement(db, month) : await retireMonth(db, month, operatorOf(context, body));
    return context.json(retirementSchema.parse(reportBody({ dryRun: body.dry_run, ...result })), 200);
  });
  app.openapi(actions, async (context) => {
    const { org_id: orgId, subject, cursor, limit } = context.req.valid("query");
    const rows = await readActions(db, { orgId, subject, before: cursor, limit });
    const nextCursor = rows.length < limit ? null : (rows.at(-1)?.action_id ?? null);
    return context.json(actionListSchema.parse(reportBody({ actions: rows, nextCursor })), 200);
  });
}
