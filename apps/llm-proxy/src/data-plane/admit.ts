import type { IncomingHttpHeaders } from "node:http";
import { type AdmissionRequest, admitAttempt, type AdmittedRequest } from "@proliferate/access/requests";
import type { CallerRow } from "@proliferate/access/keys";
import { requestTags, requireRouteAllowed } from "@proliferate/access/principals";
import { priceUsage } from "@proliferate/metering/pricing";
import { storableCount } from "@proliferate/access/spend-logs";
import { AppError, isAppError } from "@proliferate/shared/errors";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import { storedFamily } from "../dialects/dialect.ts";
import type { Call } from "./call.ts";
import { limitOfError } from "./limit-headers.ts";
import type { DataPlaneDeps } from "./deps.ts";
import type { RoutedModel } from "../catalogue/snapshot.ts";
import { hiddenTokensPerSecond } from "./hidden-output.ts";
import { judge } from "./judge.ts";
import { requireNamedModels } from "./named-models.ts";
import { openableRoute } from "./openable-routes.ts";
import type { RequestFacts } from "../body/request-facts.ts";
import { admitRemembering } from "../exhausted/limit-memory.ts";
import type { ModelTable } from "../config/model-table.ts";

const SESSION_HEADERS = ["x-litellm-session-id", "x-claude-code-session-id", "x-session-id", "session-id", "x-session-affinity"] as const;

/** What admission needs of a request beside its call. */
interface Admittable {
  readonly caller: CallerRow;
  readonly models: ModelTable;
  readonly facts: RequestFacts;
  readonly requestedAs: string | null;
  readonly routed: RoutedModel;
  /** Of the body, which is held while the request waits. */
  readonly bytes: number;
}

/**
 * Judges what the request may spend on, puts it on record and reserves its worst case; where only reservations of others stand
 * in the way it waits for them. Throws what `judge`, `admitAttempt` and the queue throw; then nothing is forwarded.
 */
export async function admit(deps: DataPlaneDeps, call: Call, request: Admittable): Promise<AdmittedRequest> {
  const admission = admissionOf(deps, call, request);
  const gone = new AbortController();
  const leave = (): void =>
    gone.abort(new AppError("budget_reserved", "The caller left while it waited for what other requests have reserved."));
  const stayed = deps.shutdown.onEnd((reason) => gone.abort(reason));
  call.response.once("close", leave);
  if (call.response.destroyed) leave();
  try {
    return await deps.queue.admit({ caller: request.caller, bytes: request.bytes, gone: gone.signal }, async () =>
      admitOnce(deps, admission),
    );
  } catch (error) {
    const limit = limitOfError(error);
    if (limit) deps.limitWarnings.look(request.caller, [limit]);
    // Whether it is on record, nobody knows.
    if (!isAppError(error)) deps.lostAdmissions.note(call.requestId);
    throw error;
  } finally {
    call.response.removeListener("close", leave);
    stayed();
  }
}

/** By the store, or by what it said a moment ago where that is a refusal; while the store is away, by grace where there is any. */
async function admitOnce({ db, grace, limitMemory }: DataPlaneDeps, admission: AdmissionRequest): Promise<AdmittedRequest> {
  const ask = async (): Promise<AdmittedRequest> =>
    limitMemory ? admitRemembering(db, limitMemory, admission) : admitAttempt(db, admission);
  if (!grace) return ask();
  if (grace.isAbsent) return grace.admit(admission);
  try {
    const attempt = await ask();
    grace.touched(attempt);
    return attempt;
  } catch (error) {
    // Whether it is on record cannot be said, so it is not admitted a second time: its caller may ask again.
    grace.suspect(error);
    throw error;
  }
}

function admissionOf(deps: DataPlaneDeps, call: Call, { caller, models, facts, requestedAs, routed }: Admittable): AdmissionRequest {
  const { estimatedInputTokens } = facts;
  const { deployment, dialect } = routed;
  const tags = requestTags(caller, headerText(call.request.headers, "x-litellm-tags"));
  const { price, worstCasePicoUsd, outputTokens } = judge(
    { models, unjudged: deps.unjudged },
    { dialect, startedAt: call.startedAt },
    caller,
    facts,
    deployment,
    requestedAs,
  );
  return {
    caller,
    runningMs: () => performance.now() - call.startedAtMs,
    limitedKeys: deps.limitedKeys,
    requireNamedAllowed: (now) => {
      requireRouteAllowed(now, openableRoute(call.request.url ?? "/"));
      requireNamedModels(models, now, deployment.provider, facts, deps.unjudged === "reserve");
    },
    metered: {
      minimumUsd: decimalFromPicoUsd(priceUsage(price, { inputTokens: estimatedInputTokens })),
      worstCaseUsd: decimalFromPicoUsd(worstCasePicoUsd),
      estimatedInputTokens,
      maxOutputTokens: outputTokens,
      counts: facts.counts,
    },
    attempt: {
      attempt_id: call.requestId,
      instance_id: deps.instanceId,
      dialect: storedFamily(call.dialect),
      call_type: call.dialect.callType,
      model_group: deployment.modelName,
      model: deployment.model,
      provider: deployment.provider.name,
      api_base: deployment.apiBase,
      price_id: deployment.priceId,
      end_user: storable(headerText(call.request.headers, "x-litellm-end-user-id") ?? facts.endUser),
      client_session_id: storable(SESSION_HEADERS.map((name) => headerText(call.request.headers, name)).find(Boolean)),
      requester_ip_address: call.request.socket.remoteAddress ?? null,
      estimated_input_tokens: estimatedInputTokens,
      max_output_tokens: storableCount(outputTokens),
      requested_model: requestedAs,
      request_tags: tags.length === 0 ? null : tags,
      hidden_tokens_per_second: hiddenTokensPerSecond(deployment.upstreamModel, facts),
    },
  };
}

function headerText(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The caller's text as a column takes it: bounded, and without the one character that PostgreSQL cannot hold. */
function storable(text: string | undefined): string | null {
  return text === undefined ? null : text.replaceAll("\u0000", "").slice(0, 256);
}
