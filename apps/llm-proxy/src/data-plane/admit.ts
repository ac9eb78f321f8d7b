import type { IncomingHttpHeaders } from "node:http";
import { admitAttempt } from "@proliferate/services/attempts/admit";
import type { AdmittedAttempt } from "@proliferate/services/attempts/db";
import type { CallerRow } from "@proliferate/services/keys/db";
import { priceUsage } from "@proliferate/services/pricing/cost";
import { worstCasePicoUsd } from "@proliferate/services/pricing/worst-case";
import { storableCount } from "@proliferate/services/spend-logs/storable";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import { priceAt } from "../config/model-table.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { hiddenTokensPerSecond } from "./hidden-output.ts";
import type { RequestFacts } from "./request-facts.ts";
import type { Deployment } from "./route.ts";

/** Reserved for the output of a request that sets no limit; no model here answers more at once without being asked to. */
const DEFAULT_MAX_OUTPUT_TOKENS = 32_000;

const SESSION_HEADERS = ["x-litellm-session-id", "x-claude-code-session-id", "x-session-id", "x-session-affinity"] as const;

/** Puts the request on record and reserves its worst case. Throws what `admitAttempt` throws; then nothing is forwarded. */
export async function admit(deps: DataPlaneDeps, call: Call, caller: CallerRow, facts: RequestFacts, deployment: Deployment): Promise<AdmittedAttempt> {
  const { estimatedInputTokens } = facts;
  const price = priceAt(deployment, call.startedAt);
  const minimum = priceUsage(price, { inputTokens: estimatedInputTokens });
  const outputTokens = facts.choices * (facts.maxOutputTokens ?? deployment.maxOutputTokens ?? DEFAULT_MAX_OUTPUT_TOKENS);
  const worstCase = worstCasePicoUsd(price, { inputTokens: estimatedInputTokens, outputTokens });
  return admitAttempt(deps.db, {
    caller,
    minimumUsd: decimalFromPicoUsd(minimum),
    worstCaseUsd: decimalFromPicoUsd(worstCase),
    attempt: {
      attempt_id: call.requestId,
      instance_id: deps.instanceId,
      dialect: call.dialect,
      call_type: call.dialect === "anthropic" ? "anthropic_messages" : "acompletion",
      model_group: deployment.modelName,
      model: deployment.model,
      provider: deployment.provider,
      api_base: deployment.apiBase,
      price_id: deployment.priceId,
      end_user: storable(headerText(call.request.headers, "x-litellm-end-user-id") ?? facts.endUser),
      client_session_id: storable(SESSION_HEADERS.map((name) => headerText(call.request.headers, name)).find(Boolean)),
      requester_ip_address: call.request.socket.remoteAddress ?? null,
      estimated_input_tokens: estimatedInputTokens,
      max_output_tokens: storableCount(outputTokens),
      hidden_tokens_per_second: hiddenTokensPerSecond(deployment.upstreamModel, facts),
      started_at: call.startedAt,
    },
  });
}

function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The caller's text as a column takes it: bounded, and without the one character that PostgreSQL cannot hold. */
function storable(text: string | undefined): string | null {
  return text === undefined ? null : text.replaceAll("\u0000", "").slice(0, 256);
}
