import type * as billing from "@proliferate/services/reports";
import type { LedgerBatch, LedgerEvent, LedgerResponse, OrgUsageResponse, UsageTotals } from "@proliferate/shared/contracts";
import { normalizeDecimal } from "@proliferate/shared/money";

/** The bodies of the billing reports: wire names, shortest decimal text, ISO instants. */

const totalsBody = (totals: billing.UsageTotals): UsageTotals => ({
  requests: totals.requests,
  prompt_tokens: totals.promptTokens,
  completion_tokens: totals.completionTokens,
  spend_usd: normalizeDecimal(totals.spendUsd),
  credits: normalizeDecimal(totals.credits),
});

/** Body of `GET /v1/orgs/{org_id}/usage`; the range as it was understood. */
export function orgUsageBody(usage: billing.OrgUsage, range: { readonly from?: Date; readonly to?: Date }): OrgUsageResponse {
  return {
    org_id: usage.orgId,
    from: range.from?.toISOString() ?? null,
    to: range.to?.toISOString() ?? null,
    totals: totalsBody(usage),
    by_model: usage.byModel.map((row) => ({ model: row.model, ...totalsBody(row) })),
    by_session: usage.bySession.map((row) => ({ session_id: row.sessionId, ...totalsBody(row) })),
  };
}

const optionalAmount = (amount: string | null): string | null => (amount === null ? null : normalizeDecimal(amount));

const batchBody = (batch: billing.LedgerBatch): LedgerBatch => ({
  batch_id: batch.batchId,
  sequence: batch.sequence,
  state: batch.state,
  needs_reconcile: batch.needsReconcile,
  event_count: batch.eventCount,
  spend_usd: normalizeDecimal(batch.spendUsd),
  credits: normalizeDecimal(batch.credits),
  carry_in_credits: normalizeDecimal(batch.carryInCredits),
  carry_out_credits: normalizeDecimal(batch.carryOutCredits),
  deducted_credits: optionalAmount(batch.deductedCredits),
  balance_after_credits: optionalAmount(batch.balanceAfterCredits),
  sealed_at: batch.sealedAt.toISOString(),
  delivered_at: batch.deliveredAt?.toISOString() ?? null,
  attempt_count: batch.attemptCount,
  last_error_code: batch.lastErrorCode,
});

const eventBody = (event: billing.LedgerEvent): LedgerEvent => ({
  event_id: event.eventId,
  request_id: event.requestId,
  session_id: event.sessionId,
  model: event.model,
  prompt_tokens: event.promptTokens,
  completion_tokens: event.completionTokens,
  spend_usd: normalizeDecimal(event.spendUsd),
  markup: normalizeDecimal(event.markup),
  credits_per_usd: normalizeDecimal(event.creditsPerUsd),
  credits: normalizeDecimal(event.credits),
  occurred_at: event.occurredAt.toISOString(),
  recorded_at: event.recordedAt.toISOString(),
  batch_id: event.batchId,
});

/** Body of `GET /v1/orgs/{org_id}/ledger`. */
export function ledgerBody(page: billing.LedgerPage): LedgerResponse {
  return { org_id: page.orgId, batches: page.batches.map(batchBody), events: page.events.map(eventBody), next_cursor: page.nextCursor };
}
