import { z } from "zod";
import { resourceIdSchema, settlementStateSchema } from "./session.ts";

/** The gateway's HTTP API for what operators see of organizations and decide by hand. Amounts are decimal text, instants ISO 8601 in UTC. */

const credits = z.string().describe("credits, exact decimal text");
const usd = z.string().describe("USD, exact decimal text");
const instant = z.iso.datetime({ offset: true });
const amount = z.string().regex(/^\d{1,15}(\.\d{1,12})?$/, 'must be a decimal number of zero or more, such as "500"');

/** What an organization may start: `unconfigured` and `exhausted` nothing, `suspended` nothing by an operator's word. */
export const orgStateSchema = z.enum(["unconfigured", "trial", "active", "grace", "exhausted", "suspended"]);

const by = z.string().min(1).max(200).optional().describe("who acts; the token's own name when absent");
const reason = z.string().min(1).max(1_000).describe("why, for the record: what was looked at, and what it showed");
const create = z
  .boolean()
  .default(false)
  .describe("also where billing does not know the organization yet; a typing error is refused otherwise");

const accountModeSchema = z
  .enum(["settled", "kept"])
  .describe("what becomes of what it uses: sent to the sink, or kept on the ledger; kept needs an account of which everything is settled");

const orgSummary = z.object({
  org_id: z.string(),
  state: orgStateSchema,
  state_since: instant.nullable(),
  exhausted_by: z.string().nullable(),
  grace_until: instant.nullable(),
  suspended_reason: z.string().nullable(),
  balance_credits: credits.nullable().describe("by our books; null while the sink was never asked"),
  unposted_credits: credits.describe("used, and not certainly taken by the sink: the sum of the following"),
  open_credits: credits,
  carry_credits: credits,
  moving_credits: credits.describe("sealed, being sent, or without a clear answer"),
  parked_credits: credits,
  dead_credits: credits,
  unapplied_credits: credits,
  shortfall_credits: credits.describe("used beyond a capped balance: on record, never collected"),
  mode: accountModeSchema,
  kept_credits: credits.describe("used while the account was kept: on the ledger, never sent"),
  payer_id: z.string().describe("who pays for it; its own id where nobody else does"),
  drift: z
    .object({ credits, cause: z.string(), severity: z.string(), reconciled_at: instant })
    .nullable()
    .describe("the last that a reading of the sink found; positive where we had too much"),
  reconciled_at: instant.nullable(),
  reconcile_problem: z.string().nullable(),
  live_sessions: z.number().int(),
});

/** `GET /v1/billing/orgs`. */
export const orgListQuerySchema = z.object({
  state: orgStateSchema.optional(),
  cursor: z.string().max(500).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100),
});
/** 200 of `GET /v1/billing/orgs`; `next_cursor` is null on the last page. */
export const orgListSchema = z.object({ orgs: z.array(orgSummary), next_cursor: z.string().nullable() });

/** An organization's policy of buying packs, with its breaker: `breaker_until` is null while it is closed. */
export const topUpPolicySchema = z.object({
  org_id: z.string(),
  enabled: z.boolean(),
  plan_id: z.string(),
  pack_credits: credits,
  threshold_credits: credits,
  max_packs_per_month: z.number().int(),
  min_interval_ms: z.number().int(),
  breaker_until: instant.nullable(),
  breaker_reason: z.string().nullable(),
});

/** Where a pack stands; `needs_review` waits for a person, `paid` and `declined` are final. */
export const topUpStateSchema = z.enum(["charging", "unknown", "paid", "declined", "needs_review"]);
/** One pack of credits that was bought or asked for. Amounts are exact decimal text. */
export const topUpSchema = z.object({
  top_up_id: z.string(),
  org_id: z.string(),
  month: z.string().describe("of UTC, as 2026-11"),
  pack_number: z.number().int(),
  state: topUpStateSchema,
  plan_id: z.string(),
  credits,
  idempotency_key: z.string().describe("what the purchase is looked up by at the sink"),
  attempt_count: z.number().int(),
  started_at: instant,
  finished_at: instant.nullable(),
  error_code: z.string().nullable(),
  error_message: z.string().nullable(),
});

/** `GET /v1/orgs/{org_id}`. */
export const orgReportSchema = orgSummary.extend({
  autumn_customer_id: z.string(),
  settings: z
    .object({
      plan: z.enum(["paid", "trial"]),
      subscribed_plan_id: z
        .string()
        .nullable()
        .describe("the plan that the organization subscribes to at the sink, which `plan` follows; null: it was set by hand"),
      trial_ends_at: instant.nullable(),
      grace_ms: z.number().int(),
      overdraft_credits: credits,
      min_credits: credits,
      max_sessions: z.number().int().nullable().describe("null: no limit"),
      low_balance_credits: credits,
    })
    .nullable()
    .describe("null where the gate was never asked: the defaults apply"),
  credits_per_spend_usd: z.string().nullable(),
  remote_granted_credits: credits.nullable(),
  keys: z.object({ live: z.number().int(), blocked: z.number().int(), reserved_usd: usd }),
  findings: z
    .array(z.object({ batch_id: z.string(), kind: z.string(), message: z.string(), first_seen_at: instant }))
    .describe("open differences between our books and the sink's"),
  reviews: z.record(z.string(), z.number().int()).describe("open, by reason"),
  reconciliations: z.array(
    z.object({
      reconciled_at: instant,
      cause: z.string(),
      severity: z.string(),
      before_credits: credits.nullable(),
      after_credits: credits,
      drift_credits: credits,
    }),
  ),
  customers: z.array(z.object({ sink: z.string(), customer_id: z.string() })),
  top_up_policy: topUpPolicySchema.nullable(),
  open_top_ups: z.array(topUpSchema),
});

/** `PATCH /v1/billing/orgs/{org_id}`: what is absent stays. */
export const orgSettingsRequestSchema = z.strictObject({
  mode: accountModeSchema.optional(),
  plan: z.enum(["paid", "trial"]).optional(),
  grace_ms: z.number().int().min(0).max(3_600_000).optional(),
  overdraft_credits: amount.optional(),
  min_credits: amount.optional(),
  max_sessions: z.number().int().min(0).max(1_000_000).nullable().optional(),
  low_balance_credits: amount.optional(),
  create,
  by,
  reason: reason.optional(),
});
/** `POST /v1/billing/orgs/{org_id}/suspend`: whoever is refused is told the reason. */
export const suspendOrgRequestSchema = z.strictObject({ reason, create, by });
/** `POST /v1/billing/orgs/{org_id}/resume` and other calls that need no more than who and why. */
export const byHandRequestSchema = z.strictObject({ by, reason: reason.optional() });
/** 202 of `POST /v1/billing/orgs/{org_id}/flush`: a worker settles the organization within seconds. */
export const flushRequestedSchema = z.object({ org_id: z.string(), requested: z.literal(true) });

/** `PUT /v1/billing/orgs/{org_id}/top-up-policy`: the policy as a whole. */
export const topUpPolicyRequestSchema = z.strictObject({
  enabled: z.boolean().default(true),
  plan_id: z.string().min(1).max(200).describe("the sink's plan that sells the pack"),
  pack_credits: amount,
  threshold_credits: z
    .string()
    .regex(/^-?\d{1,15}(\.\d{1,12})?$/, "must be a decimal number")
    .default("0")
    .describe("bought when the balance is at or below"),
  max_packs_per_month: z.number().int().min(0).max(1_000_000).default(20),
  min_interval_ms: z.number().int().min(0).max(2_147_483_647).default(60_000),
  create,
  by,
  reason: reason.optional(),
});
/** 200 of `DELETE /v1/billing/orgs/{org_id}/top-up-policy`. */
export const topUpPolicyRemovedSchema = z.object({ org_id: z.string(), removed: z.boolean().describe("false where it had none") });
/** 200 of `POST /v1/billing/orgs/{org_id}/top-up-policy/reset-breaker`. */
export const breakerResetSchema = z.object({ org_id: z.string(), reset: z.boolean().describe("false where it was closed") });
/** Query of `GET /v1/billing/top-ups`. */
export const topUpListQuerySchema = z.object({
  org_id: resourceIdSchema.optional(),
  state: topUpStateSchema.optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(50),
});
/** 200 of `GET /v1/billing/top-ups`. */
export const topUpListSchema = z.object({ top_ups: z.array(topUpSchema).describe("newest first") });
/** Body of `POST /v1/billing/top-ups/{top_up_id}/settle`: whether the pack was bought, by whose word and why. */
export const settleTopUpRequestSchema = z.strictObject({ bought: z.boolean(), reason, by });
/** 200 of `POST /v1/billing/top-ups/{top_up_id}/settle`. */
export const settledTopUpSchema = z.object({
  settled: z.boolean().describe("false where it was so already"),
  pack: topUpSchema,
  message: z.string(),
});

/** `POST /v1/billing/batches/{batch_id}/decide`. */
export const decideBatchRequestSchema = z.strictObject({
  delivered: z.boolean().describe("whether the sink took all of it, or none"),
  reason,
  by,
});
/** 200 of `POST /v1/billing/batches/{batch_id}/decide`. */
export const batchDecisionSchema = z.object({
  batch_id: z.string(),
  org_id: z.string(),
  decided: z.boolean().describe("false where it was so already"),
  state: settlementStateSchema,
  message: z.string(),
});

/** Body of `PUT /v1/billing/payers/{team_id}`: who is billed for the team. */
export const setPayerRequestSchema = z.strictObject({ org_id: resourceIdSchema, create, by, reason: reason.optional() });
/** 200 of `PUT` and `DELETE /v1/billing/payers/{team_id}`; a team that pays for itself has its own id as `org_id`. */
export const changedPayerSchema = z.object({
  team_id: z.string(),
  org_id: z.string().describe("who is billed from now on"),
  previous_org_id: z.string().describe("the same where nothing was changed"),
});
/** Query of `GET /v1/billing/payers`. */
export const payerListQuerySchema = z.object({
  org_id: resourceIdSchema.optional().describe("the teams that it pays for"),
  cursor: z.string().max(500).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100),
});
/** 200 of `GET /v1/billing/payers`: teams that do not pay for themselves, by id; `next_cursor` is null on the last page. */
export const payerListSchema = z.object({
  payers: z.array(z.object({ team_id: z.string(), org_id: z.string(), since: instant })),
  next_cursor: z.string().nullable(),
});

/** `PUT /v1/billing/orgs/{org_id}/customers/{sink}`. */
export const mappedSinkSchema = z.enum(["stripe"]);
/** Body of `PUT /v1/billing/orgs/{org_id}/customers/{sink}`. */
export const mapCustomerRequestSchema = z.strictObject({ customer_id: z.string().min(1).max(200), create, by, reason: reason.optional() });
/** 200 of `PUT /v1/billing/orgs/{org_id}/customers/{sink}`, with what the mapping was before. */
export const mappedCustomerSchema = z.object({
  sink: mappedSinkSchema,
  org_id: z.string(),
  customer_id: z.string(),
  previous_customer_id: z.string().nullable(),
  released_batches: z.number().int().describe("had waited for the mapping, and are due now"),
});
/** Query of `GET /v1/billing/customers`. */
export const customerListQuerySchema = z.object({ org_id: resourceIdSchema.optional(), sink: mappedSinkSchema.optional() });
/** 200 of `GET /v1/billing/customers`: organizations whose id at a sink is not their own. */
export const customerListSchema = z.object({
  customers: z.array(z.object({ sink: z.string(), org_id: z.string(), customer_id: z.string() })),
});

/** `GET /v1/billing/reviews`. */
export const reviewListQuerySchema = z.object({
  org_id: resourceIdSchema.optional(),
  reason: z
    .enum([
      "no_org",
      "no_request_id",
      "bad_spend",
      "recycled_id",
      "unlinked_refund",
      "excess_refund",
      "zero_price",
      "unknown_usage",
      "retired_month",
    ])
    .optional(),
  all: z.enum(["true", "false"]).default("false").describe("settled ones, too"),
  cursor: z.string().max(1_100).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
});
/** 200 of `GET /v1/billing/reviews`, oldest first; `next_cursor` is null on the last page. */
export const reviewListSchema = z.object({
  reviews: z.array(
    z.object({
      review_key: z.string(),
      request_id: z.string(),
      reason: z.string(),
      spend_usd: z.string(),
      model: z.string(),
      occurred_at: instant,
      org_id: z.string().nullable(),
      session_id: z.string().nullable(),
      key_hash: z.string().nullable(),
      first_seen_at: instant,
      resolved_at: instant.nullable(),
      resolution: z.string().nullable(),
    }),
  ),
  next_cursor: z.string().nullable(),
});
/** `POST /v1/billing/keys/{key_hash}/map`. */
export const mapKeyRequestSchema = z.strictObject({
  org_id: resourceIdSchema.describe("who pays for the key's rows"),
  create,
  by,
  reason: reason.optional(),
});
/** 200 of `POST /v1/billing/keys/{key_hash}/map`, with how many rows in review were billed by it. */
export const mappedKeySchema = z.object({ key_hash: z.string(), org_id: z.string(), billed_reviews: z.number().int() });

/** `POST /v1/billing/alerts/{alert_key}/clear`. */
export const clearedAlertSchema = z.object({ key: z.string(), cleared: z.boolean().describe("false where no such alert is open") });

/** `POST /v1/billing/months/{month}/retire`: tells by default. */
export const retireMonthRequestSchema = z.strictObject({ dry_run: z.boolean().default(true), by, reason: reason.optional() });
/** 200 of `POST /v1/billing/months/{month}/retire`: what was done, or in a dry run what would be. */
export const retirementSchema = z.object({
  dry_run: z.boolean(),
  month: z.string(),
  retired: z.boolean(),
  events: z.number().int().describe("that left the ledger, or would"),
  refusals: z.array(z.string()).describe("why it cannot be retired; empty when it can, or is"),
});

/** `POST /v1/billing/reconcile`: reads the sink now. Changes nothing by default. */
export const compareRequestSchema = z.strictObject({
  org_id: resourceIdSchema.optional().describe("all of them when absent"),
  dry_run: z.boolean().default(true),
  apply_corrections: z
    .boolean()
    .default(false)
    .describe("deduct or give back at the sink what it took too little or too much; not in a dry run"),
});
/** 200 of `POST /v1/billing/reconcile`. A part is null where the sink cannot tell it. */
export const sinkComparisonSchema = z.object({
  dry_run: z.boolean(),
  deliveries: z
    .object({
      compared_batches: z.number().int(),
      confirmed: z.number().int(),
      redriven: z.number().int(),
      findings: z.array(
        z.object({
          org_id: z.string(),
          batch_id: z.string(),
          kind: z.string(),
          expected_credits: credits,
          found_credits: credits.nullable(),
          correction_credits: credits.nullable().describe("to be taken, or given back when negative; null where a person must decide"),
          correction: z.enum(["applied", "open", "refused"]).nullable(),
          message: z.string(),
        }),
      ),
    })
    .nullable()
    .describe("null where the sink tells nothing of what it took"),
  balances: z.array(
    z.discriminatedUnion("outcome", [
      z.object({
        org_id: z.string(),
        outcome: z.literal("reconciled"),
        before_credits: credits.nullable(),
        remote_credits: credits,
        unposted_credits: credits,
        uncertain_credits: credits,
        after_credits: credits,
        grant_credits: credits,
        forgiven_credits: credits,
        drift_credits: credits,
        cause: z.string(),
        severity: z.string(),
      }),
      z.object({ org_id: z.string(), outcome: z.enum(["unknown", "failed", "outdated", "kept"]), problem: z.string() }),
    ]),
  ),
});

/** `GET /v1/billing/actions`: who did what by hand. */
export const actionListQuerySchema = z.object({
  org_id: resourceIdSchema.optional(),
  subject: z.string().max(1_100).optional().describe("what it was done to: a batch, a pack, a review, a key's hash, a month"),
  cursor: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional(),
  limit: z.coerce.number().int().min(1).max(500).default(50),
});
/** 200 of `GET /v1/billing/actions`, newest first; `next_cursor` is null on the last page. */
export const actionListSchema = z.object({
  actions: z.array(
    z.object({
      action_id: z.string(),
      action: z.string(),
      subject: z.string(),
      org_id: z.string().nullable(),
      operator: z.string(),
      via: z.string(),
      reason: z.string().nullable(),
      facts: z.record(z.string(), z.unknown()),
      acted_at: instant,
    }),
  ),
  next_cursor: z.string().nullable(),
});
