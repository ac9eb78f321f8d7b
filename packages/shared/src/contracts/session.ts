import { z } from "zod";
import { durationPattern } from "./key-management.ts";
import { sentAmount } from "./sent-amount.ts";
import { launcherSchema, launchRequestFields, sandboxSchema, sessionFailureSchema } from "./sandbox.ts";
import { callersObject } from "./storable.ts";

/** The gateway's HTTP API: sessions, usage, ledger. Amounts are decimal text everywhere, instants ISO 8601 in UTC. */

/** Ids that stand in a path: 1..200 characters of `A-Za-z0-9._:@-`, a letter or digit first. */
export const resourceIdSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$/, "must be 1 to 200 characters of A-Za-z0-9._:@- and begin with a letter or digit");

const amount = (unit: string) => z.string().describe(`${unit}, exact decimal text`);
const instant = z.iso.datetime({ offset: true });

/** `POST /v1/sessions`. The id of a session that exists in the same org resumes it: a new key, then the old ones revoked. */
export const createSessionRequestSchema = z.strictObject({
  session_id: resourceIdSchema.optional().describe("chosen by the caller; made by the gateway when absent"),
  org_id: resourceIdSchema.describe("who pays: LiteLLM's team, Autumn's customer"),
  user_id: resourceIdSchema.optional().describe("for the caller's own records"),
  model: z.string().min(1).max(200).optional().describe("the agent's model; the gateway's default when absent"),
  max_budget_usd: sentAmount.optional().describe("raw provider cost that the key may cause; no limit when absent"),
  duration: z.string().regex(durationPattern, 'must be a number and one of s m h d w mo, such as "24h"').optional(),
  models: z.array(z.string().min(1).max(200)).min(1).max(100).optional().describe("models that the key allows; all when absent"),
  metadata: callersObject(16_384).optional().describe("the caller's own, at most 16 KiB as JSON; answered with the session"),
  ...launchRequestFields,
});
/** Body of `POST /v1/sessions` as a caller writes it, before defaults. */
export type CreateSessionRequest = z.input<typeof createSessionRequestSchema>;

/** `POST /v1/sessions/{id}/extend`. */
export const extendSessionRequestSchema = z
  .strictObject({
    duration: z
      .string()
      .regex(durationPattern, 'must be a number and one of s m h d w mo, such as "24h"')
      .optional()
      .describe("from now; no longer than the sandbox lives"),
    max_budget_usd: sentAmount.optional().describe("of the whole session, what it has spent included"),
  })
  .refine((body) => body.duration !== undefined || body.max_budget_usd !== undefined, "must name duration, max_budget_usd or both");

/** `starting` has no recorded key yet, `ending` is being revoked; both are states a crash can leave and a call repairs. */
export const sessionStateSchema = z.enum(["starting", "active", "ending", "ended"]);
/** Where a session stands; the table of states is in the README of sessions. */
export type SessionState = z.infer<typeof sessionStateSchema>;

/** 201 of `POST /v1/sessions`. `api_key` is told this once; it also stands in `environment`. */
export const createSessionResponseSchema = z.object({
  session_id: z.string(),
  org_id: z.string(),
  state: sessionStateSchema,
  resumed: z.boolean().describe("true when the session existed; its older keys are revoked"),
  model: z.string(),
  api_key: z.string().describe("virtual key; shown once"),
  base_url: z.string().describe("base URL for clients, with /v1"),
  expires_at: instant.nullable(),
  environment: z.record(z.string(), z.string()).describe("variables to set in the sandbox"),
  opencode_config: z.record(z.string(), z.unknown()).describe("content of opencode_config_path"),
  opencode_config_path: z.string().describe("relative to the home directory of the sandbox"),
});
/** {@link createSessionResponseSchema}, parsed. It holds the session's key. */
export type CreateSessionResponse = z.infer<typeof createSessionResponseSchema>;

/** What was used: `credits` = `spend_usd` x markup x 100, as frozen on the billing events. */
export const usageTotalsSchema = z.object({
  requests: z.number().int(),
  prompt_tokens: z.number().int().describe("cache tokens included"),
  completion_tokens: z.number().int(),
  spend_usd: amount("USD"),
  credits: amount("credits"),
});
/** {@link usageTotalsSchema}, parsed: counts, and sums as exact decimal text. */
export type UsageTotals = z.infer<typeof usageTotalsSchema>;

/** `GET /v1/sessions/{id}`. Never the key; its hash joins the spend rows. */
export const sessionSchema = z.object({
  session_id: z.string(),
  org_id: z.string(),
  user_id: z.string().nullable(),
  state: sessionStateSchema,
  model: z.string(),
  key_hash: z.string().nullable(),
  max_budget_usd: amount("USD").nullable(),
  expires_at: instant.nullable(),
  metadata: z.record(z.string(), z.unknown()),
  created_at: instant,
  ended_at: instant.nullable(),
  launcher: launcherSchema,
  sandbox: sandboxSchema.nullable().describe("null where the caller launches the sandbox himself"),
  failure: sessionFailureSchema.nullable().describe("why a launch or a resume failed"),
  billed: usageTotalsSchema.describe("on the ledger"),
  unbilled_spend_usd: amount("USD").describe("in spend rows that the worker has not read yet"),
});
/** {@link sessionSchema}, parsed. It never holds the session's key. */
export type Session = z.infer<typeof sessionSchema>;

/** `GET /v1/sessions?org_id=`, newest first. `next_cursor` is null on the last page. */
export const sessionListQuerySchema = z.object({
  org_id: resourceIdSchema,
  cursor: z.string().max(500).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});
/** 200 of `GET /v1/sessions`, newest first; `next_cursor` is null on the last page. */
export const sessionListResponseSchema = z.object({
  sessions: z.array(sessionSchema.omit({ billed: true, unbilled_spend_usd: true })),
  next_cursor: z.string().nullable(),
});
/** {@link sessionListResponseSchema}, parsed. */
export type SessionListResponse = z.infer<typeof sessionListResponseSchema>;

/** `GET /v1/orgs/{id}/usage`: by when the request began; `from` counts, `to` does not. */
export const orgUsageQuerySchema = z.object({ from: instant.optional(), to: instant.optional(), session_id: resourceIdSchema.optional() });
/** 200 of `GET /v1/orgs/{id}/usage`. The range is repeated as it was understood; an organization that never spent has zeros. */
export const orgUsageResponseSchema = z.object({
  org_id: z.string(),
  from: instant.nullable(),
  to: instant.nullable(),
  totals: usageTotalsSchema,
  by_model: z.array(usageTotalsSchema.extend({ model: z.string() })),
  by_session: z.array(usageTotalsSchema.extend({ session_id: z.string().nullable() })),
});
/** {@link orgUsageResponseSchema}, parsed. */
export type OrgUsageResponse = z.infer<typeof orgUsageResponseSchema>;

/** `GET /v1/orgs/{id}/ledger`: batches and events, paged together. */
export const ledgerQuerySchema = z.object({
  cursor: z.string().max(500).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});
/** Where a batch stands on its way to the sink. */
export const settlementStateSchema = z.enum(["sealed", "sending", "unknown", "delivered", "unapplied", "parked", "dead", "shortfall"]);
/** One billing event: a charge or an adjustment, with the rate that was frozen on it. */
export const ledgerEventSchema = z.object({
  event_id: z.string(),
  request_id: z.string(),
  session_id: z.string().nullable(),
  model: z.string(),
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
  spend_usd: amount("USD"),
  markup: amount("factor"),
  credits_per_usd: amount("credits for one USD"),
  credits: amount("credits; spend_usd x markup x credits_per_usd"),
  occurred_at: instant,
  recorded_at: instant,
  batch_id: z.string().nullable().describe("null while the event waits for its batch"),
});
/** {@link ledgerEventSchema}, parsed. */
export type LedgerEvent = z.infer<typeof ledgerEventSchema>;

/** One settlement: the credits of its events + carry_in_credits = credits + carry_out_credits. */
export const ledgerBatchSchema = z.object({
  batch_id: z.string(),
  sequence: z.number().int(),
  state: settlementStateSchema,
  needs_reconcile: z.boolean().describe("may have been applied, but too long ago to ask again"),
  event_count: z.number().int(),
  spend_usd: amount("USD"),
  credits: amount("credits that the batch asks for"),
  carry_in_credits: amount("credits"),
  carry_out_credits: amount("credits"),
  deducted_credits: amount("credits that Autumn says it took").nullable(),
  balance_after_credits: amount("credits").nullable(),
  sealed_at: instant,
  delivered_at: instant.nullable(),
  attempt_count: z.number().int(),
  last_error_code: z.string().nullable(),
});
/** {@link ledgerBatchSchema}, parsed. */
export type LedgerBatch = z.infer<typeof ledgerBatchSchema>;

/** 200 of `GET /v1/orgs/{id}/ledger`: one page of both lists. */
export const ledgerResponseSchema = z.object({
  org_id: z.string(),
  batches: z.array(ledgerBatchSchema).describe("newest first"),
  events: z.array(ledgerEventSchema).describe("newest first"),
  next_cursor: z.string().nullable().describe("null when both lists are at their end"),
});
/** {@link ledgerResponseSchema}, parsed. */
export type LedgerResponse = z.infer<typeof ledgerResponseSchema>;

/** `GET /v1/billing/status`: where every credit of the deployment is now. */
export const billingStatusSchema = z.object({
  open_events: z.number().int().describe("in no batch yet"),
  open_credits: amount("credits"),
  carry_credits: amount("credits below the precision of a settlement; part of the next batch"),
  batches: z.record(settlementStateSchema, z.object({ batches: z.number().int(), credits: amount("credits") })),
  needs_reconcile: z.number().int(),
  oldest_unsettled_seconds: z.number().nullable(),
  reviews: z.record(z.string(), z.number().int()).describe("spend rows that cannot be billed as they are, by reason"),
});
/** {@link billingStatusSchema}, parsed. */
export type BillingStatusResponse = z.infer<typeof billingStatusSchema>;

/** Every error of the gateway, whatever the route. `code` is a row of docs/errors.md. */
export const gatewayErrorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), fix: z.string(), request_id: z.string(), param: z.string().optional() }),
});
/** {@link gatewayErrorSchema}, parsed. */
export type GatewayError = z.infer<typeof gatewayErrorSchema>;
