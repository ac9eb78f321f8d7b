import { durationPattern, type GenerateKeyRequest } from "../contracts/key-management.ts";
import { AppError } from "../errors/index.ts";
import { type DecimalText, normalizeDecimal } from "../money.ts";
import { sessionKeyAlias } from "./key-alias.ts";

/** What a session's key may do. */
export interface VirtualKeyOptions {
  /** Life of the key from now: a number and one of `s m h d w mo`. Default `LLM_PROXY_KEY_DURATION`, else as long as a sandbox (`SANDBOX_TIMEOUT_SECONDS`), else 24h. */
  readonly duration?: string;
  /** USD of raw provider cost, before any markup. Default: no limit of its own; the team's still binds. */
  readonly maxBudget?: number | DecimalText;
  /** Stored with the key. `session_id` and `org_id` are added and cannot be overridden. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Model names that the key allows. Default: all. An empty list is refused, as LiteLLM would read it as all. */
  readonly models?: readonly string[];
  /** Ends the call; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** A freshly minted key. `key` is told this once; everywhere else stands `token_hash`. */
export interface VirtualKey {
  readonly key: string;
  /** ISO 8601, UTC. */
  readonly expires: string;
  readonly team_id: string;
  readonly user_id: string;
  /** SHA-256 of the key in hex: `api_key` of its spend rows, and the key's name in every management call. */
  readonly token_hash: string;
  readonly key_alias: string;
}

const invalid = (param: string, problem: string): AppError => new AppError("invalid_request", `${param} ${problem}.`, { param });

/** Ids become LiteLLM's user and team: 1..255 characters, no control characters. Throws `invalid_request`. */
export function checkId(param: "sessionId" | "orgId", id: string): void {
  if (typeof id !== "string" || id === "" || id.length > 255) throw invalid(param, "must have 1 to 255 characters");
  if (/\p{Cc}/u.test(id) || !id.isWellFormed()) throw invalid(param, "must not contain control characters or broken Unicode");
}

/** The wire has only JSON numbers, so an amount that a double cannot hold exactly as written is refused, not rounded. */
export function wireAmount(maxBudget: number | DecimalText): number {
  const amount = Number(maxBudget);
  try {
    if (amount >= 0 && normalizeDecimal(String(maxBudget)) === normalizeDecimal(String(amount))) return amount;
  } catch {
    // Not a decimal number: the same answer.
  }
  throw invalid("maxBudget", "must be a USD amount of at least 0 with at most 15 significant digits");
}

/** A number and one of `s m h d w mo`. Throws `invalid_request`. */
export function checkDuration(duration: string): void {
  if (!durationPattern.test(duration)) throw invalid("duration", 'must be a number and one of s m h d w mo, such as "24h"');
}

/** The body of `POST /key/generate` for a session, everything but key and alias fixed. Throws `invalid_request` naming the option. */
export function keyRequest(sessionId: string, orgId: string, defaultDuration: string, options: VirtualKeyOptions): GenerateKeyRequest {
  checkId("sessionId", sessionId);
  checkId("orgId", orgId);
  const duration = options.duration ?? defaultDuration;
  checkDuration(duration);
  if (options.models?.length === 0)
    throw invalid("models", "must not be empty, as that would allow every model; leave it out to allow all");
  return {
    team_id: orgId,
    user_id: sessionId,
    key_alias: sessionKeyAlias(sessionId),
    duration,
    metadata: { ...options.metadata, session_id: sessionId, org_id: orgId },
    ...(options.maxBudget !== undefined && { max_budget: wireAmount(options.maxBudget) }),
    ...(options.models !== undefined && { models: [...options.models] }),
  };
}

/** LiteLLM's instants, with or without an offset, UTC when without. NaN when it is not one. */
export function epochMsFromInstant(text: string | null | undefined): number {
  if (!text) return Number.NaN;
  return Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/i.test(text) ? text : `${text}Z`);
}
