import { type AppError, type Refusal, retryAfterOf } from "@proliferate/shared/errors";
import { type ModelListing, modelRemarks } from "./model-listing.ts";

/** What Google's APIs have in common: how an error is told, and the list of models. */

/** Google's names of statuses; what is not here is told by the nearest. */
const STATUS_NAMES: Readonly<Record<number, string>> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  402: "FAILED_PRECONDITION",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  405: "UNIMPLEMENTED",
  408: "DEADLINE_EXCEEDED",
  409: "ABORTED",
  413: "INVALID_ARGUMENT",
  426: "FAILED_PRECONDITION",
  429: "RESOURCE_EXHAUSTED",
  500: "INTERNAL",
  501: "UNIMPLEMENTED",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};

const TYPE = "type.googleapis.com/google.rpc";

/**
 * The body of an error. Google's clients read no `retry-after` and no `x-should-retry`: how long to wait is a `RetryInfo`, and a limit for which no
 * short wait helps is a `QuotaFailure` of a day, at which Gemini CLI stops.
 */
export function googleErrorBody(error: AppError, { status, retryable }: Refusal, requestId: string): unknown {
  const seconds = retryAfterOf(error.code, error.retryAfterSeconds);
  const metadata = { request_id: requestId, ...(error.param !== undefined && { param: error.param }) };
  return {
    error: {
      code: status,
      message: `${error.message} ${error.fix}`,
      status: STATUS_NAMES[status] ?? (status >= 500 ? "INTERNAL" : "FAILED_PRECONDITION"),
      details: [
        { "@type": `${TYPE}.ErrorInfo`, "reason": error.code.toUpperCase(), "domain": "gateway", metadata },
        ...(seconds === undefined ? [] : [{ "@type": `${TYPE}.RetryInfo`, "retryDelay": `${Math.ceil(seconds)}s` }]),
        ...(status === 429 && !retryable
          ? [{ "@type": `${TYPE}.QuotaFailure`, "violations": [{ quotaId: "GatewayLimitPerDayOrLonger", description: error.message }] }]
          : []),
      ],
    },
  };
}

/** As Google lists models: by pages, and each as `models/NAME`. */
export const GOOGLE_MODELS: ModelListing = {
  isOwnOnly: true,
  pageSize: 50,
  query: { size: "pageSize", after: "pageToken" },
  view: (model) => ({
    name: `models/${model.id}`,
    baseModelId: model.id,
    version: "001",
    displayName: model.id,
    ...(model.contextTokens !== undefined && { inputTokenLimit: model.contextTokens }),
    ...(model.maxOutputTokens !== undefined && { outputTokenLimit: model.maxOutputTokens }),
    supportedGenerationMethods: ["generateContent", "streamGenerateContent", "countTokens"],
    ...modelRemarks(model),
  }),
  list: ({ data, has_more: hasMore, last_id: last }) => ({ models: data, ...(hasMore && last !== null && { nextPageToken: last }) }),
};
