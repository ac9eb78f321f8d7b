import type { AdmittedAttempt } from "./db.ts";
import { completionTokens, promptTokens, totals, type Usage, type UsageReport } from "@proliferate/metering/usage";
import type { Cost } from "@proliferate/metering/pricing";
import type { DecimalText } from "@proliferate/shared/money";
import { type SpendLogRow, storableCount, storableJson } from "../spend-logs/index.ts";

/** How an attempt ended. */
export interface AttemptOutcome {
  readonly report: UsageReport;
  readonly cost: Cost;
  /** What was used and has no price, as `PricedReport` names it. Default none. */
  readonly unpriced?: readonly string[];
  /** What a person should see of this row: `over_reservation`, `estimate_capped`, `unreadable_answer`, `free` (it costs nothing by right); each is `true` in the metadata. Default none. */
  readonly flags?: readonly string[];
  /** `success` = the provider's answer came whole. A failure may have cost something all the same. */
  readonly status: "success" | "failure";
  /** The provider's own final count was not seen; usage is what had been seen, or a floor. */
  readonly estimated: boolean;
  /** Settled by another process than the one that forwarded it. */
  readonly recovered: boolean;
  readonly providerResponseId: string | null;
  /** The `call_type` of the dialect in which the provider answered, where that is not the attempt's own: what it said of usage is of that dialect. */
  readonly servedCallType?: string | undefined;
  readonly firstByteAt: Date | null;
  readonly endedAt: Date;
  readonly error?: { readonly code: string; readonly kind: string; readonly message: string };
}

/**
 * The row of an attempt, in LiteLLM's columns and conventions: '' where there is no team, `api_key` = the key's hash,
 * `user` = the key's user id, `prompt_tokens` with cached ones. `request_id`, `litellm_call_id` and the caller's `request-id`
 * are the attempt's id, never the provider's: recycled provider ids lose rows. The provider's is in the metadata.
 */
export function buildSpendLog(attempt: AdmittedAttempt, outcome: AttemptOutcome): SpendLogRow {
  const usage = totals(outcome.report);
  const prompt = promptTokens(usage);
  const completion = completionTokens(usage);
  return {
    request_id: attempt.attempt_id,
    call_type: attempt.call_type,
    api_key: attempt.key_hash,
    spend: outcome.cost.totalUsd,
    total_tokens: storableCount(prompt + completion),
    prompt_tokens: storableCount(prompt),
    completion_tokens: storableCount(completion),
    startTime: attempt.started_at.toISOString(),
    endTime: outcome.endedAt.toISOString(),
    request_duration_ms: storableCount(Math.max(0, outcome.endedAt.getTime() - attempt.started_at.getTime())),
    completionStartTime: outcome.firstByteAt?.toISOString() ?? null,
    model: attempt.model,
    model_id: "",
    model_group: attempt.model_group,
    custom_llm_provider: attempt.provider,
    api_base: attempt.api_base,
    user: attempt.user_id ?? "",
    metadata: JSON.stringify(storableJson(metadataOf(attempt, outcome))),
    cache_hit: "False",
    cache_key: "Cache OFF",
    request_tags: JSON.stringify(storableJson(attempt.request_tags ?? [])),
    team_id: attempt.team_id ?? "",
    organization_id: "",
    end_user: attempt.end_user ?? "",
    requester_ip_address: attempt.requester_ip_address ?? "",
    session_id: attempt.client_session_id ?? attempt.attempt_id,
    status: outcome.status,
    litellm_call_id: attempt.attempt_id,
  };
}

/**
 * The row `<request id>:correction` that brings an estimated row to what the request really cost: each amount is the
 * difference, so it may be negative, and the two rows together are the truth.
 */
export function buildCorrection(
  attempt: AdmittedAttempt,
  outcome: AttemptOutcome,
  estimate: { readonly spendUsd: DecimalText; readonly promptTokens: number; readonly completionTokens: number },
  differenceUsd: DecimalText,
): SpendLogRow {
  const row = buildSpendLog(attempt, outcome);
  const prompt = row.prompt_tokens - estimate.promptTokens;
  const completion = row.completion_tokens - estimate.completionTokens;
  return {
    ...row,
    request_id: `${attempt.attempt_id}:correction`,
    spend: differenceUsd,
    prompt_tokens: storableCount(prompt),
    completion_tokens: storableCount(completion),
    total_tokens: storableCount(prompt + completion),
    metadata: JSON.stringify(storableJson({ ...metadataOf(attempt, outcome), correction_of: attempt.attempt_id })),
  };
}

function metadataOf(attempt: AdmittedAttempt, outcome: AttemptOutcome): Record<string, unknown> {
  const { report, cost, error } = outcome;
  const usage = totals(report);
  const unknown = [...report.unknown, ...(outcome.unpriced ?? [])];
  return {
    user_api_key: attempt.key_hash,
    user_api_key_alias: attempt.key_alias,
    user_api_key_team_id: attempt.team_id,
    user_api_key_org_id: null,
    user_api_key_user_id: attempt.user_id,
    user_api_key_team_alias: null,
    spend_logs_metadata: null,
    requester_ip_address: attempt.requester_ip_address,
    applied_guardrails: [],
    status: outcome.status,
    error_information: error
      ? { error_code: error.code, error_class: error.kind, llm_provider: attempt.provider, traceback: "", error_message: error.message }
      : null,
    usage_object: usageObject(usage),
    additional_usage_values: {
      cache_read_input_tokens: usage.cacheReadTokens,
      cache_creation_input_tokens: usage.cacheWrite5mTokens + usage.cacheWrite1hTokens,
    },
    model_map_information: { model_map_key: attempt.price_id },
    cost_breakdown: { input_cost: cost.inputUsd, output_cost: cost.outputUsd, tool_usage_cost: cost.toolUsd, total_cost: cost.totalUsd },
    provider_response_id: outcome.providerResponseId,
    estimated: outcome.estimated,
    recovered: outcome.recovered,
    ...(attempt.requested_model != null && { requested_model: attempt.requested_model }),
    ...(outcome.servedCallType !== undefined && { served_call_type: outcome.servedCallType }),
    // What the provider said, so that the row can be priced anew; and what of it nobody could price.
    provider_usage: report.raw ?? null,
    ...(unknown.length > 0 && { unknown_usage: unknown }),
    ...Object.fromEntries((outcome.flags ?? []).map((flag) => [flag, true])),
  };
}

/** LiteLLM's names for the classes of usage. */
function usageObject(usage: Usage): Record<string, unknown> {
  const prompt = promptTokens(usage);
  return {
    prompt_tokens: prompt,
    completion_tokens: completionTokens(usage),
    total_tokens: prompt + completionTokens(usage),
    cache_read_input_tokens: usage.cacheReadTokens,
    cache_creation_input_tokens: usage.cacheWrite5mTokens + usage.cacheWrite1hTokens,
    cache_creation: { ephemeral_5m_input_tokens: usage.cacheWrite5mTokens, ephemeral_1h_input_tokens: usage.cacheWrite1hTokens },
    prompt_tokens_details: { cached_tokens: usage.cacheReadTokens, audio_tokens: usage.audioInputTokens + usage.audioCacheReadTokens },
    completion_tokens_details: { reasoning_tokens: usage.reasoningTokens, audio_tokens: usage.audioOutputTokens },
  };
}
