import { ERROR_CODES, type ErrorCode } from "./codes.ts";

/**
 * The one table of refusals: what a caller is told depends on what is exhausted, or missing, and on what its program makes of a status. The
 * programs were measured (docs/clients.md): SDKs and Claude Code stop at 402 and at 429 with `x-should-retry: false`; OpenCode repeats each 429
 * for ever and stops at 402, and its provider `openai` repeats each 404 for more than a minute; Codex knows a spent quota only as 429 `insufficient_quota`,
 * and repeats any other only where `retry-after` stands beside it; LiteLLM's client, which aider is made of, repeats for a minute what it has no class for, 402
 * and 403 among them, as Codex repeats a 403. Whatever is not in the table is refused as its row of {@link ERROR_CODES} says, to everybody alike.
 */

/** Whose program calls, as far as it decides what a refusal has to look like. */
export type Client = "codex" | "litellm" | "opencode" | "other";

/**
 * - `money`: a budget or credits, for good until somebody pays
 * - `long_window`: requests or tokens of a day or longer; no short wait helps
 * - `month_of_hub`: tokens of a hub's month; the hub's client shows the text of a 402
 * - `short_wait`: a minute's rate, what runs at once, what others have reserved
 * - `store`: our own store is down
 * - `unknown_model`: nothing is exhausted, there is no such model
 * - `other_dialect`: there is, and it is not served in this API
 */
export type RefusalKind = "money" | "long_window" | "month_of_hub" | "short_wait" | "store" | "unknown_model" | "other_dialect";

/** What a caller is told. */
export interface Refusal {
  readonly status: number;
  /** False: the answer has `x-should-retry: false`. */
  readonly retryable: boolean;
  /** `error.type` in the envelope of each family of dialects. */
  readonly anthropicType: string;
  readonly openaiType: string;
  /** `error.code` in OpenAI's envelope where it is not our own code. */
  readonly openaiCode?: string;
}

/** No longer pause is asked for where a short wait helps: some clients sleep through one that is longer, others do not come back. */
const LONGEST_SHORT_WAIT_SECONDS = 60;

const refusal = (status: number, retryable: boolean, anthropicType: string, openaiType: string, openaiCode?: string): Refusal => ({
  status,
  retryable,
  anthropicType,
  openaiType,
  ...(openaiCode !== undefined && { openaiCode }),
});

const MONEY = refusal(402, false, "billing_error", "insufficient_quota");
const CODEX_QUOTA = refusal(429, false, "rate_limit_error", "insufficient_quota", "insufficient_quota");
const WAIT = refusal(429, true, "rate_limit_error", "rate_limit_exceeded");
const UNKNOWN = refusal(404, false, "not_found_error", "invalid_request_error");
const STORE = refusal(503, true, "api_error", "api_error");

/** By kind, then by client. What LiteLLM's client is told follows from what others are ({@link refusalOf}). */
export const REFUSALS: Readonly<Record<RefusalKind, Readonly<Record<Exclude<Client, "litellm">, Refusal>>>> = {
  money: { codex: CODEX_QUOTA, opencode: MONEY, other: MONEY },
  long_window: { codex: CODEX_QUOTA, opencode: MONEY, other: refusal(429, false, "rate_limit_error", "rate_limit_exceeded") },
  month_of_hub: { codex: MONEY, opencode: MONEY, other: MONEY },
  short_wait: { codex: WAIT, opencode: WAIT, other: WAIT },
  store: { codex: STORE, opencode: STORE, other: STORE },
  unknown_model: { codex: UNKNOWN, opencode: { ...UNKNOWN, status: 400 }, other: UNKNOWN },
  // The code by which Codex stops at a 404.
  other_dialect: { codex: { ...UNKNOWN, openaiCode: "model_not_found" }, opencode: { ...UNKNOWN, status: 400 }, other: UNKNOWN },
};

/** The kind of a code; every other code is no refusal of this table. */
export const REFUSAL_KINDS: Readonly<Partial<Record<ErrorCode, RefusalKind>>> = {
  budget_exceeded: "money",
  no_credits: "money",
  grace_expired: "money",
  budget_reserved: "short_wait",
  limit_exceeded: "long_window",
  limit_reserved: "short_wait",
  rate_limited: "short_wait",
  too_many_at_once: "short_wait",
  store_unavailable: "store",
  model_not_found: "unknown_model",
  model_dialect_mismatch: "other_dialect",
};

/** What a client shows of itself in its headers. */
interface ClientHeaders {
  readonly "user-agent"?: string | undefined;
  readonly "x-stainless-raw-response"?: string | readonly string[] | undefined;
}

/** The client by its headers. LiteLLM's calls OpenAI's library for the raw answer, as few others do. */
export function clientOf({ "user-agent": userAgent = "", "x-stainless-raw-response": raw }: ClientHeaders): Client {
  if (/^codex[_/-]/i.test(userAgent)) return "codex";
  if (userAgent.startsWith("litellm/") || (/^(?:Async)?OpenAI\/Python /.test(userAgent) && raw === "true")) return "litellm";
  return userAgent.startsWith("opencode/") ? "opencode" : "other";
}

/** Statuses at which a client stops where no retry helps; each other one below 500 is a failure to it that it repeats. Default: all. */
const STOPS_AT: Readonly<Partial<Record<Client, readonly number[]>>> = {
  // A 401 it repeats five times, whatever stands beside it; that status says too much to be another. At a 426 it goes on without WebSockets.
  codex: [400, 401, 404, 426, 429],
  litellm: [400, 401, 404, 422, 429],
};

/** How a client is told an error. A code that never reaches HTTP is a 500: the fault is ours. */
export function refusalOf(code: ErrorCode, client: Client): Refusal {
  const told = rowOf(code, client);
  const isUnderstood = STOPS_AT[client]?.includes(told.status) ?? true;
  return isUnderstood || told.retryable || told.status >= 500 ? told : { ...told, status: 400 };
}

function rowOf(code: ErrorCode, client: Client): Refusal {
  const kind = REFUSAL_KINDS[code];
  if (kind) return REFUSALS[kind][client === "litellm" ? "other" : client];
  const { status, retryable, anthropicType, openaiType } = ERROR_CODES[code];
  return { status: status === 0 ? 500 : status, retryable, anthropicType, openaiType };
}

/** Seconds that a caller is asked to wait; undefined where it is asked for nothing. */
export function retryAfterOf(code: ErrorCode, retryAfterSeconds: number | undefined): number | undefined {
  if (retryAfterSeconds === undefined || REFUSAL_KINDS[code] !== "short_wait") return retryAfterSeconds;
  return Math.min(retryAfterSeconds, LONGEST_SHORT_WAIT_SECONDS);
}
