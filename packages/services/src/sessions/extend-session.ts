import { durationPattern } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import { findSession, type SessionRow } from "./db.ts";
import { notInState } from "./launch-session.ts";
import { insertSessionEvent, writeExtension, writePausedBudget } from "./sandbox-db.ts";
import { getSessionSpend } from "./session-spend.ts";
import type { SessionDependencies } from "./start-session.ts";

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, mo: 30 * 86_400_000 };

interface SessionExtension {
  readonly duration?: string | undefined;
  readonly maxBudgetUsd?: string | undefined;
}

/**
 * Gives a running session more time (from now), another budget (for all of it, what was spent included), or both, on the key
 * that it has; a paused one another budget for when it is resumed. Throws `session_not_found`, `session_not_ready`, `budget_exceeded` for a budget that is spent already,
 * `invalid_request` for a time beyond its sandbox's, and what the proxy client throws; then the key may be extended but not
 * the record, and the call may be repeated.
 */
export async function extendSession(deps: SessionDependencies, sessionId: string, change: SessionExtension): Promise<SessionRow> {
  const session = await findSession(deps.db, sessionId);
  if (session?.state === "active" && session.sandbox_state === "paused") return extendPaused(deps, session, change);
  if (session?.state !== "active" || session.key_hash === null || session.expires_at === null)
    throw await notInState(deps, sessionId, "active");
  const expiresAt = change.duration === undefined ? undefined : new Date(Date.now() + durationMs(change.duration));
  if (expiresAt && session.sandbox_expires_at && expiresAt > session.sandbox_expires_at) {
    throw new AppError(
      "invalid_request",
      `The sandbox of session ${sessionId} ends at ${session.sandbox_expires_at.toISOString()}, whatever its key may do; pause and resume the session for a new one.`,
      { param: "duration" },
    );
  }
  const keyBudgetUsd = change.maxBudgetUsd === undefined ? undefined : await budgetOfKey(deps, session, change.maxBudgetUsd);
  if (keyBudgetUsd !== undefined && deps.admission) await deps.admission.setLimit(sessionId, session.key_generation, keyBudgetUsd);
  await deps.sandboxes?.reach("extending", sessionId);
  const onKey = { duration: change.duration, maxBudgetUsd: deps.admission ? undefined : keyBudgetUsd };
  if (onKey.duration !== undefined || onKey.maxBudgetUsd !== undefined) await deps.keys.extend(session.key_hash, onKey);
  await deps.sandboxes?.reach("key_extended", sessionId);
  const extended = await writeExtension(
    deps.db,
    { sessionId, keyHash: session.key_hash },
    { expiresAt, maxBudgetUsd: change.maxBudgetUsd },
  );
  if (!extended) throw await notInState(deps, sessionId, "active");
  await insertSessionEvent(deps.db, sessionId, "extended", {
    expires_at: extended.expires_at?.toISOString() ?? null,
    max_budget_usd: extended.max_budget_usd,
  });
  return extended;
}

async function extendPaused(
  deps: SessionDependencies,
  session: SessionRow,
  { duration, maxBudgetUsd }: SessionExtension,
): Promise<SessionRow> {
  const sessionId = session.session_id;
  if (duration !== undefined)
    throw new AppError("invalid_request", `Session ${sessionId} is paused, so no time of it runs; name duration when you resume it.`, {
      param: "duration",
    });
  if (maxBudgetUsd === undefined) throw await notInState(deps, sessionId, "active");
  await budgetOfKey(deps, session, maxBudgetUsd);
  const extended = await writePausedBudget(deps.db, sessionId, maxBudgetUsd);
  if (!extended) throw await notInState(deps, sessionId, "paused");
  await insertSessionEvent(deps.db, sessionId, "extended", { expires_at: null, max_budget_usd: extended.max_budget_usd });
  return extended;
}

/** The session's budget without what its older keys had spent. */
async function budgetOfKey(deps: SessionDependencies, session: SessionRow, maxBudgetUsd: string): Promise<string> {
  const { spendUsd } = await getSessionSpend(deps.db, session.session_id);
  if (compareDecimals(maxBudgetUsd, spendUsd) > 0) return subtractDecimals(maxBudgetUsd, session.spent_before_key_usd);
  throw new AppError("budget_exceeded", `Session ${session.session_id} has spent ${spendUsd} USD already.`, { param: "max_budget_usd" });
}

function durationMs(duration: string): number {
  const unit = durationPattern.test(duration) ? UNIT_MS[duration.replace(/^\d+/, "")] : undefined;
  if (unit === undefined)
    throw new AppError("invalid_request", `"${duration}" is not a duration such as 30m or 24h.`, { param: "duration" });
  return Number.parseInt(duration, 10) * unit;
}
