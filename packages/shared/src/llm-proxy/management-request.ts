import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import { AppError } from "../errors/index.ts";
import { readManagementFailure, safeServerText } from "./management-error.ts";

/** Tries per request. Every request of this package may be repeated: see the callers in `client.ts`. */
const maximumTries = 3;
const firstRetryDelayMs = 100;
const maximumRetryDelayMs = 2_000;
/** A page of 100 full key rows is about 300 kB. */
const maximumAnswerBytes = 8 * 1024 * 1024;

/** Which management API is called, and its credential. */
export interface ManagementTarget {
  readonly adminUrl: string;
  readonly masterKey: string;
}

/** One call of the management API. */
interface ManagementRequest {
  readonly method: "GET" | "POST";
  /** Begins with a slash; may carry a query. */
  readonly path: string;
  readonly body?: unknown;
  /** Keys in the body or the answer, to be cut out of any message. */
  readonly credentials?: readonly string[];
}

/** The time of one operation, however many requests and tries it needs. */
export interface Deadline {
  readonly timeoutMs: number;
  readonly expiry: AbortSignal;
  readonly caller: AbortSignal | undefined;
  /** Either of the two. */
  readonly signal: AbortSignal;
}

/** Starts the clock. Throws the caller's abort reason when that is already there. */
export function startDeadline(timeoutMs: number, caller: AbortSignal | undefined): Deadline {
  caller?.throwIfAborted();
  const expiry = AbortSignal.timeout(timeoutMs);
  return { timeoutMs, expiry, caller, signal: caller ? AbortSignal.any([expiry, caller]) : expiry };
}

/** A 2xx with its JSON, or a refusal that the caller may know how to read. `tries` > 1: an earlier one may have taken effect. */
type ManagementAnswer =
  | { readonly accepted: true; readonly body: unknown; readonly tries: number }
  | {
      readonly accepted: false;
      readonly status: number;
      readonly code: string | undefined;
      readonly message: string;
      readonly tries: number;
    };

interface RawAnswer {
  readonly status: number;
  readonly text: string;
  readonly retryAfterMs: number;
}

async function readBounded(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maximumAnswerBytes)
      throw new AppError("proxy_bad_response", `The LLM proxy answered with more than ${maximumAnswerBytes} bytes.`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

async function exchange(target: ManagementTarget, request: ManagementRequest, signal: AbortSignal): Promise<RawAnswer> {
  const response = await fetch(`${target.adminUrl}${request.path}`, {
    method: request.method,
    headers: {
      accept: "application/json",
      authorization: `Bearer ${target.masterKey}`,
      ...(request.body !== undefined && { "content-type": "application/json" }),
    },
    ...(request.body !== undefined && { body: JSON.stringify(request.body) }),
    // A redirect would carry the master key to wherever it points.
    redirect: "manual",
    signal,
  });
  const retryAfterSeconds = Number(response.headers.get("retry-after") ?? "0");
  return {
    status: response.status,
    text: await readBounded(response),
    retryAfterMs: Number.isFinite(retryAfterSeconds) ? retryAfterSeconds * 1_000 : 0,
  };
}

function networkErrorName(error: unknown): string {
  const cause = error instanceof Error ? (error.cause as { code?: unknown; message?: unknown } | undefined) : undefined;
  if (cause?.message === "bad port") return "this port is one that no HTTP client may use";
  return typeof cause?.code === "string" ? cause.code : "connection failed";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isTransient = (status: number): boolean => status >= 500 || status === 429 || status === 408;

/**
 * Sends a request until it is answered with something that a repetition would not change. Network errors, 5xx, 408 and 429
 * are tried again, at most 3 times in all, with jitter, within the deadline. Throws `proxy_unreachable`, `proxy_timeout`,
 * `proxy_unauthorized` (401, 403) or `proxy_bad_response` (not JSON, not LiteLLM's envelope), or the caller's abort reason.
 */
export async function sendManagementRequest(
  target: ManagementTarget,
  request: ManagementRequest,
  deadline: Deadline,
): Promise<ManagementAnswer> {
  const what = `${request.method} ${request.path.replace(/\?.*/, "")}`;
  for (let tries = 1; ; tries += 1) {
    let outcome: RawAnswer | AppError;
    try {
      outcome = await exchange(target, request, deadline.signal);
    } catch (error) {
      deadline.caller?.throwIfAborted();
      if (deadline.expiry.aborted) throw timeoutError(what, deadline);
      if (error instanceof AppError) throw error;
      outcome = new AppError(
        "proxy_unreachable",
        `The LLM proxy could not be reached for ${what}: ${networkErrorName(error)} (try ${tries}).`,
      );
    }
    const verdict = outcome instanceof AppError ? outcome : judge(target, request, outcome, what, tries);
    if (!(verdict instanceof AppError)) return verdict;
    if (!verdict.retryable || tries >= maximumTries) throw verdict;
    await pause(tries, outcome instanceof AppError ? 0 : outcome.retryAfterMs, what, deadline);
  }
}

/** A path that is not there, where a key or team that is not there would have had the code 404: most often the data plane's port. */
function noManagementHere({ adminUrl }: ManagementTarget, what: string, told: string): AppError {
  const fix = "Set LLM_PROXY_ADMIN_URL to the address of the proxy's management port, or LLM_PROXY_MANAGEMENT=shared at the proxy";
  return new AppError(
    "proxy_bad_response",
    `There is no management API at ${new URL(adminUrl).origin}: it answered ${what} with 404${told} ${fix}.`,
  );
}

function judge(
  target: ManagementTarget,
  request: ManagementRequest,
  answer: RawAnswer,
  what: string,
  tries: number,
): ManagementAnswer | AppError {
  const body = parseJson(answer.text);
  if (answer.status >= 200 && answer.status < 300) {
    if (body !== undefined) return { accepted: true, body, tries };
    return new AppError("proxy_bad_response", `The LLM proxy answered ${what} with ${answer.status}, but not with JSON.`);
  }
  const failure = readManagementFailure(answer.status, body);
  const status = failure?.status ?? answer.status;
  const message = safeServerText(failure?.text ?? "", [target.masterKey, ...(request.credentials ?? [])]);
  const told = message === "" ? "" : `: ${message}`;
  if (status === 401 || status === 403)
    return new AppError("proxy_unauthorized", `The LLM proxy refused the master key for ${what} with ${status}${told}`);
  if (isTransient(status)) return new AppError("proxy_unreachable", `The LLM proxy failed at ${what} with ${status} (try ${tries})${told}`);
  if (answer.status === 404 && failure?.code !== "404") return noManagementHere(target, what, told);
  if (!failure) return new AppError("proxy_bad_response", `The LLM proxy answered ${what} with ${status}, but not as LiteLLM does.`);
  return { accepted: false, status, code: failure.code, message, tries };
}

function timeoutError(what: string, deadline: Deadline): AppError {
  return new AppError("proxy_timeout", `The LLM proxy did not answer ${what} within ${deadline.timeoutMs} ms.`);
}

/** Waits before the next try: what the server asks for, or exponentially more with jitter, so that callers do not march in step. */
async function pause(tries: number, retryAfterMs: number, what: string, deadline: Deadline): Promise<void> {
  const backOffMs = firstRetryDelayMs * 3 ** (tries - 1) * (0.5 + Math.random() / 2);
  try {
    await delay(Math.min(Math.max(backOffMs, retryAfterMs), maximumRetryDelayMs), undefined, { signal: deadline.signal });
  } catch {
    deadline.caller?.throwIfAborted();
    throw timeoutError(what, deadline);
  }
}

/** The body of an accepted answer. Throws `proxy_rejected` with the server's words, or `proxy_bad_response` naming the field. */
export function acceptAnswer<Schema extends z.ZodType>(what: string, answer: ManagementAnswer, schema: Schema): z.output<Schema> {
  if (!answer.accepted) throw rejection(what, answer);
  const parsed = schema.safeParse(answer.body);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => issue.path.join(".") || "body").join(", ");
  throw new AppError("proxy_bad_response", `The LLM proxy answered ${what} without a usable ${fields}.`);
}

/** The error for a refusal. The text is the server's, already without credentials. */
export function rejection(what: string, refusal: { readonly status: number; readonly message: string }): AppError {
  return new AppError("proxy_rejected", `The LLM proxy refused to ${what} (${refusal.status}): ${refusal.message}`, {
    details: { status: refusal.status },
  });
}
