import type { DatabaseClient } from "@proliferate/db";
import { AppError, isAppError } from "@proliferate/shared/errors";
import { compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import type { SandboxProvider } from "@proliferate/shared/sandbox";
import {
  claimSession,
  discardSession,
  findSession,
  type Launchers,
  recordSessionKey,
  type SandboxClaim,
  type SessionRow,
  type SessionSettings,
} from "./db.ts";
import { allowsModel, modelSpellings } from "./model-name.ts";
import type { SessionAdmission } from "./session-admission.ts";
import type { MintedKey, SessionKeys } from "./session-keys.ts";
import { getSessionSpend } from "./session-spend.ts";

/** What a caller asks of a session. */
export interface StartSessionRequest extends SessionSettings {
  /** Starts it, or resumes it where the organization has one of this id. */
  readonly sessionId: string;
  /** Who pays. */
  readonly orgId: string;
  /** For a new session that names no model. */
  readonly defaultModel: string;
  /** Life of the key, `24h`; the proxy client's default when absent. */
  readonly duration?: string | undefined;
  /** Where the gateway launches the sandbox. */
  readonly sandbox?: SandboxClaim | undefined;
}

/** A session that has a key. `apiKey` is the secret itself. */
export interface StartedSession {
  readonly session: SessionRow;
  /** Plain text, nowhere stored. */
  readonly apiKey: string;
  /** Names of the models that the key may call; undefined when the proxy did not say. */
  readonly models: readonly string[] | undefined;
  /** True when the session had a key before; that one is revoked. */
  readonly resumed: boolean;
}

/** What starting and resuming a session needs. */
export interface SessionDependencies {
  /** Where sessions are recorded. */
  readonly db: DatabaseClient;
  /** Mints and revokes keys at the proxy. */
  readonly keys: SessionKeys;
  /** Asks the billing gate before a key is minted, and keeps what keys may spend within the balance. Absent: the gate is off. */
  readonly admission?: SessionAdmission | undefined;
  /** Ends what the gateway launched. Absent: it launches nothing. */
  readonly sandboxes?: SessionSandboxes | undefined;
  /** The process lock that this gateway holds. Absent: what it leaves is repaired a minute later. */
  readonly instanceId?: number | undefined;
}

/** What starts and ends of sessions need of the gateway's launcher. */
export interface SessionSandboxes {
  readonly launchers: Launchers;
  /** Throws `launcher_not_configured`. */
  provider(launcher: SessionRow["launcher"]): SandboxProvider;
  /** Tells whoever simulates a crash how far a session came, and waits for him. */
  reach(step: string, sessionId: string): Promise<void>;
  /** Does the work; until then nobody here takes the session for abandoned. */
  atWork<T>(sessionId: string, work: () => Promise<T>): Promise<T>;
  /** Makes a stop of this gateway wait for the work, too, and takes its failure as handled. */
  track(work: Promise<unknown>): void;
  /** Stops a launch that is under way here, ends the session's sandbox and deletes its snapshot. Idempotent. */
  remove(session: SessionRow): Promise<void>;
}

/** After these the proxy certainly has no key of ours. After a time-out, say, it may have. */
const NOTHING_MINTED = [
  "proxy_not_configured",
  "proxy_unauthorized",
  "proxy_rejected",
  "invalid_request",
  "budget_exceeded",
  "model_not_found",
  "no_credits",
  "grace_expired",
  "billing_not_configured",
  "billing_state_blocked",
  "concurrent_session_limit",
] as const;

/**
 * Starts a session, or resumes one of the same org: the new key is recorded before older ones are revoked. The session's
 * budget covers all its keys: a new key gets what is left. Throws `session_conflict` (another org's id, an ended session,
 * a newer call), `budget_exceeded`, `invalid_request` (model outside models), `model_not_found` (not served), what the billing
 * gate throws, or what the proxy client throws; then a new session leaves no row unless the proxy may have made a key, and a
 * running one goes on with its old key.
 */
export async function startSession(deps: SessionDependencies, request: StartSessionRequest): Promise<StartedSession> {
  const claimed = await claimSession(deps.db, { ...request, model: request.model ?? request.defaultModel });
  if (!claimed) throw await explainConflict(deps.db, request);
  await deps.sandboxes?.reach("claimed", claimed.session_id);

  // Listed before the mint: a list made afterwards could hold the key of a still newer call, and revoke it.
  const olderKeys = claimed.key_generation === 1 ? [] : await deps.keys.list(claimed.session_id);
  const spentBeforeUsd = claimed.key_generation === 1 ? "0" : (await getSessionSpend(deps.db, claimed.session_id)).spendUsd;
  const minted = await mintKey(deps, claimed, request, spentBeforeUsd).catch(async (error: unknown) => {
    if (NOTHING_MINTED.some((code) => isAppError(error, code))) {
      await deps.admission?.cancel(claimed.session_id, claimed.key_generation);
      if (claimed.key_generation === 1) await discardSession(deps.db, claimed.session_id, 1);
    }
    throw error;
  });
  await deps.sandboxes?.reach("minted", claimed.session_id);
  const session = await recordSessionKey(
    deps.db,
    { ...minted, spentBeforeUsd, sessionId: claimed.session_id, keyGeneration: claimed.key_generation },
    request,
  );
  if (!session) {
    await deps.keys.revoke([minted.keyHash]);
    await deps.admission?.cancel(claimed.session_id, claimed.key_generation);
    throw new AppError(
      "session_conflict",
      `Session ${request.sessionId} was started or ended by another call at the same time; that call stands.`,
    );
  }
  await deps.sandboxes?.reach("recorded", claimed.session_id);
  if (olderKeys.length > 0) await deps.keys.revoke(olderKeys);
  await deps.admission?.confirm({ sessionId: claimed.session_id, keyGeneration: claimed.key_generation, keyHash: minted.keyHash });
  return { session, apiKey: minted.apiKey, models: minted.models, resumed: claimed.key_hash !== null };
}

async function mintKey(deps: SessionDependencies, claimed: SessionRow, request: StartSessionRequest, spentUsd: string): Promise<MintedKey> {
  const model = request.model ?? claimed.model;
  const models = request.models ?? claimed.models;
  if (!allowsModel(models, model)) {
    throw new AppError("invalid_request", `The session's model "${model}" is not among the models that its key allows.`, {
      param: "model",
    });
  }
  const limitUsd = remainingBudget(claimed, request.maxBudgetUsd ?? claimed.max_budget_usd ?? undefined, spentUsd);
  const maxBudgetUsd = await admit(deps, claimed, limitUsd);
  const minted = await deps.keys.mint({
    sessionId: claimed.session_id,
    orgId: claimed.org_id,
    models: [...new Set(models.flatMap(modelSpellings))],
    maxBudgetUsd,
    duration: request.duration,
    metadata: request.metadata ?? claimed.metadata,
  });
  if (minted.models === undefined || (minted.models.length > 0 && allowsModel(minted.models, model))) return minted;
  await deps.keys.revoke([minted.keyHash]);
  throw new AppError("model_not_found", `The LLM proxy does not serve the model "${model}".`, { param: "model" });
}

/** The key's budget: the caller's limit, or the share of the org's balance that the gate admits, whichever is less. */
async function admit({ admission }: SessionDependencies, claimed: SessionRow, limitUsd: string | undefined): Promise<string | undefined> {
  if (admission === undefined) return limitUsd;
  const operation = claimed.key_hash === null ? "session_start" : "session_resume";
  return admission.admit({
    orgId: claimed.org_id,
    sessionId: claimed.session_id,
    keyGeneration: claimed.key_generation,
    operation,
    limitUsd,
  });
}

function remainingBudget(claimed: SessionRow, maxBudgetUsd: string | undefined, spentUsd: string): string | undefined {
  if (maxBudgetUsd === undefined || claimed.key_hash === null) return maxBudgetUsd;
  const remaining = subtractDecimals(maxBudgetUsd, spentUsd);
  if (compareDecimals(remaining, "0") > 0) return remaining;
  const message = `Session ${claimed.session_id} has spent ${spentUsd} of its ${maxBudgetUsd} USD; resume it with a larger max_budget_usd.`;
  throw new AppError("budget_exceeded", message, { param: "max_budget_usd" });
}

async function explainConflict(db: DatabaseClient, request: StartSessionRequest): Promise<AppError> {
  const session = await findSession(db, request.sessionId);
  if (session && session.org_id !== request.orgId)
    return new AppError("session_conflict", `Session ${request.sessionId} belongs to another organization.`);
  if (session?.state === "starting" || session?.state === "active")
    return new AppError(
      "session_conflict",
      `Session ${request.sessionId} exists; its sandbox was launched by the gateway, so it is paused, resumed and ended by its own routes.`,
    );
  return new AppError("session_conflict", `Session ${request.sessionId} has ended.`);
}
