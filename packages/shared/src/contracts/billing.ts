import { z } from "zod";
import { billingStatusSchema, resourceIdSchema, settlementStateSchema } from "./session.ts";

/** The gateway's HTTP API for operators of billing. Amounts are decimal text, instants ISO 8601 in UTC. */

const usd = z.string().describe("USD, exact decimal text");
const credits = z.string().describe("credits, exact decimal text");
const instant = z.iso.datetime({ offset: true });
const ageSeconds = z.number().nullable();

/** `GET /v1/billing/status`: where every credit of the deployment is now, and whether spend rows and ledger agree. */
export const operatorStatusQuerySchema = z.object({
  from: instant.optional().describe("compare requests that began then or later; of the last two days when absent"),
  all: z.enum(["true", "false"]).default("false").describe("compare all requests there are: reads both tables from end to end"),
});
/** 200 of `GET /v1/billing/status`. Sums are exact decimal text. */
export const operatorStatusSchema = billingStatusSchema.extend({
  checked_at: instant,
  completeness: z
    .object({
      from: instant.nullable(),
      source_rows: z.number().int(),
      source_usd: usd,
      billed_usd: usd,
      review_rows: z.number().int(),
      review_usd: usd,
      unbilled_rows: z.number().int(),
      unbilled_usd: usd,
      overdue_rows: z.number().int().describe("unbilled 10 minutes after their request ended"),
      overdue_usd: usd,
      overbilled_usd: usd,
      oldest_unbilled_seconds: ageSeconds,
      difference_usd: usd.describe("0, or the comparison itself erred"),
    })
    .describe("every spend row compared with its event, amount by amount"),
  unposted_credits: credits.describe("on the ledger, not confirmed by the sink"),
  oldest_undelivered_seconds: ageSeconds,
  due_batches: z.number().int(),
  last_delivered_at: instant.nullable(),
  newest_source_row_seconds: ageSeconds,
  attempts_in_flight: z.number().int(),
  oldest_attempt_seconds: ageSeconds,
  low_water_mark: instant
    .nullable()
    .describe("spend rows that began before it are billed or in review: the source may delete them; null: the first sweep is under way"),
  passes: z.array(z.object({ job: z.string(), age_ms: z.number() })),
  resting: z
    .array(
      z.object({
        org_id: z.string(),
        state: settlementStateSchema,
        batches: z.number().int(),
        credits: credits.describe("not taken by the sink; of a shortfall: never collected"),
        error_code: z.string().nullable(),
      }),
    )
    .describe("whose batches rest and why, the largest first, at most 100"),
  unbalanced_orgs: z
    .array(z.object({ org_id: z.string(), difference_credits: credits }))
    .describe("spend that is not exactly what is delivered, on its way, at rest and carried"),
  balances: z.object({
    orgs: z.number().int(),
    states: z.record(z.string(), z.number().int()),
    late_orgs: z.number().int().describe("not compared with the sink for 36 hours"),
    drifts: z.number().int().describe("corrected in the last 24 hours, severity warn or critical"),
    drift_credits: credits,
    worst: z.object({ org_id: z.string(), cause: z.string(), credits, severity: z.string() }).nullable(),
  }),
  attention: z.object({
    waiting_orgs: z.number().int().describe("after a failed attempt"),
    open_circuits: z.number().int().describe("sinks that fail for everybody"),
    circuit: z.object({ sink: z.string(), error_code: z.string().nullable(), open_seconds: z.number() }).nullable(),
    unconfirmed_batches: z.number().int(),
    webhooks_pending: z.number().int(),
    webhooks_dead: z.number().int(),
    top_ups_in_review: z.number().int(),
    shadow_differences: z.number().int(),
    alerts: z.array(z.object({ key: z.string(), kind: z.string(), message: z.string() })),
  }),
  findings: z.record(z.string(), z.number().int()).describe("open differences between our books and the sink's, by kind"),
  problems: z.array(z.object({ code: z.string(), message: z.string() })).describe("what a person must look at; empty when all is well"),
});
/** {@link operatorStatusSchema}, parsed. */
export type OperatorStatusResponse = z.infer<typeof operatorStatusSchema>;

const arithmetic = z.object({ text: z.string().describe("the equation, computed again"), holds: z.boolean() });
const sourceRow = z.object({
  request_id: z.string(),
  call_type: z.string(),
  status: z.string().nullable(),
  team_id: z.string().nullable(),
  user_id: z.string().nullable(),
  key_hash: z.string(),
  model: z.string(),
  provider: z.string().nullable(),
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
  spend: z.string().describe("decimal text; NaN and Infinity as they are"),
  started_at: instant,
  ended_at: instant,
});
const review = z.object({
  review_key: z.string(),
  request_id: z.string(),
  reason: z.string(),
  spend_usd: z.string(),
  model: z.string(),
  occurred_at: instant,
  first_seen_at: instant,
  resolved_at: instant.nullable(),
  resolution: z.string().nullable(),
  org_id: z.string().nullable(),
});
const event = z.object({
  event_id: z.string(),
  idempotency_key: z.string(),
  event_type: z.string(),
  org_id: z.string(),
  request_id: z.string(),
  original_event_id: z.string().nullable().describe("of an adjustment: the event that it corrects"),
  session_id: z.string().nullable(),
  model: z.string(),
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
  spend_usd: usd,
  rate_card_id: z.string().nullable(),
  rate: z.string(),
  markup: z.string(),
  credits_per_usd: z.string(),
  credits,
  occurred_at: instant,
  recorded_at: instant,
  batch_id: z.string().nullable(),
  is_kept: z.boolean().describe("it came while its account was kept: in no batch, never sent"),
  arithmetic,
});
const batch = z.object({
  batch_id: z.string(),
  org_id: z.string(),
  sequence: z.number().int(),
  state: settlementStateSchema,
  needs_reconcile: z.boolean(),
  current_key: z.string(),
  event_count: z.number().int(),
  events_credits: credits,
  carry_in: credits,
  carry_out: credits,
  credits,
  sealed_at: instant,
  delivered_at: instant.nullable(),
  deducted_credits: credits.nullable(),
  balance_after: credits.nullable(),
  last_error_code: z.string().nullable(),
  last_error: z.string().nullable(),
  arithmetic,
  attempts: z.array(
    z.object({
      attempt: z.number().int(),
      idempotency_key: z.string(),
      started_at: instant,
      finished_at: instant.nullable(),
      outcome: z.string().nullable(),
      status: z.number().int().nullable(),
      error_code: z.string().nullable(),
    }),
  ),
  by_hand: z
    .array(z.object({ action: z.string(), operator: z.string(), reason: z.string().nullable(), acted_at: instant }))
    .describe("what people did to it, the newest first"),
  balance_effect: z.object({ before: credits, deducted: credits, after: credits }).nullable(),
  verdict: z.string(),
});

/** `GET /v1/billing/explain/{id}`: the chain behind a request, event, batch or review. */
export const explanationSchema = z.object({
  asked: z.string(),
  kind: z.enum(["request", "event", "batch", "review"]),
  source: sourceRow.nullable(),
  reviews: z.array(review),
  events: z.array(event),
  batches: z.array(batch),
  verdict: z.string().describe("how far the chain goes and why it ends there"),
});
/** {@link explanationSchema}, parsed. */
export type ExplanationResponse = z.infer<typeof explanationSchema>;

/** `POST /v1/billing/batches/{batch_id}/redrive`, `POST /v1/billing/reviews/{review_key}/redrive` and `…/dismiss`. */
export const redriveResultSchema = z.object({
  kind: z.enum(["batch", "review"]),
  id: z.string().describe("the batch's id, or the review's key"),
  org_id: z.string().nullable(),
  redriven: z.boolean().describe("false when there was nothing to do"),
  state: z.string(),
  message: z.string(),
});
/** {@link redriveResultSchema}, parsed. */
export type RedriveResponse = z.infer<typeof redriveResultSchema>;
/** Body of `POST /v1/billing/reviews/{review_key}/redrive`. */
export const redriveReviewRequestSchema = z.strictObject({
  org_id: resourceIdSchema.describe("who pays for the row"),
  create: z.boolean().default(false).describe("also where billing does not know the organization yet; a typing error is refused otherwise"),
});

const rate = z.string().regex(/^\d{1,9}(\.\d{1,6})?$/, 'must be a decimal number above zero with at most 6 decimals, such as "2.5"');

/** `POST /v1/billing/rate-cards`: from `valid_from` on, what spend costs in credits. */
export const createRateCardRequestSchema = z.strictObject({
  org_id: resourceIdSchema.optional().describe("the default of every org when absent"),
  markup: rate.describe("factor on the provider's price"),
  credits_per_usd: rate.default("100").describe('"100": 1 credit = $0.01'),
  valid_from: instant.describe("by the start of a request; inclusive"),
  valid_to: instant.optional().describe("exclusive; without end when absent"),
});
/** One rate card, as created or listed. `org_id` null: the default of all organizations. */
export const rateCardSchema = z.object({
  rate_card_id: z.string(),
  org_id: z.string().nullable(),
  markup: z.string(),
  credits_per_usd: z.string(),
  valid_from: instant,
  valid_to: instant.nullable(),
  source: z.enum(["operator", "environment"]),
});
/** {@link rateCardSchema}, parsed. */
export type RateCardResponse = z.infer<typeof rateCardSchema>;
/** Query of `GET /v1/billing/rate-cards`. */
export const rateCardListQuerySchema = z.object({ org_id: resourceIdSchema.optional().describe("its own cards and the defaults") });
/** 200 of `GET /v1/billing/rate-cards`: the defaults, then each organization's own, each by time. */
export const rateCardListSchema = z.object({ rate_cards: z.array(rateCardSchema) });

/** `GET /v1/billing/export`. */
export const exportQuerySchema = z.object({
  format: z.enum(["csv", "json"]).default("csv").describe("json: one object a line"),
  org_id: resourceIdSchema.optional(),
  from: instant.optional(),
  to: instant.optional(),
});

/** `POST /v1/billing/audit`: source against ledger by org and day. */
export const auditRequestSchema = z.strictObject({
  from: instant.describe("requests that began then or later"),
  to: instant.describe("requests that began before; a few minutes back, or rows that wait are told as missing"),
  heal: z.boolean().default(false).describe("bill what is missing, adjust amounts, put deleted events back"),
});
/** 200 of `POST /v1/billing/audit`. `gaps` names only the days on which source and ledger differ. */
export const auditResultSchema = z.object({
  audit_id: z.string(),
  compared_rows: z.number().int(),
  missing_rows: z.number().int().describe("before healing"),
  missing_usd: usd,
  healed_rows: z.number().int(),
  gaps: z.array(
    z.object({
      org_id: z.string(),
      day: z.string().describe("UTC, by the start of the requests"),
      source_rows: z.number().int(),
      source_usd: usd,
      ledger_rows: z.number().int(),
      ledger_usd: usd,
      not_ingested: z.number().int(),
      event_deleted: z.number().int(),
      adjustment_deleted: z.number().int(),
      amount_differs: z.number().int(),
      missing_usd: usd,
      examples: z.array(z.string()).describe("request ids"),
    }),
  ),
});
/** {@link auditResultSchema}, parsed. */
export type AuditResponse = z.infer<typeof auditResultSchema>;

/** 202 of `POST /v1/billing/orgs/{org_id}/reconcile`: the worker reads the org's balance at the sink within seconds. */
export const reconcileRequestedSchema = z.object({ org_id: z.string(), requested: z.literal(true) });
