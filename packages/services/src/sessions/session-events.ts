import type { DatabaseExecutor } from "@proliferate/db";
import type { SessionEvent } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { findSession } from "./db.ts";
import { selectSessionEvents } from "./sandbox-db.ts";

/** What a session went through after the event `after` (`"0"`: from the first one), in order, at most `limit` events. */
export async function readSessionEvents(
  db: DatabaseExecutor,
  sessionId: string,
  after: string,
  limit: number,
): Promise<readonly SessionEvent[]> {
  const rows = await selectSessionEvents(db, sessionId, after, limit);
  return rows.map((row) => ({ event_id: row.event_id, type: row.type, occurred_at: row.occurred_at.toISOString(), facts: row.facts }));
}

/**
 * Whether a session has come as far as a reader waits for: to its end, or with `ready` to where its sandbox is ready or paused, or
 * there is none to wait for. Asked before the events are read: what is final then has all its events. Throws `session_not_found`.
 */
export async function isSessionFinal(db: DatabaseExecutor, sessionId: string, until: "ready" | "ended"): Promise<boolean> {
  const session = await findSession(db, sessionId);
  if (!session) throw new AppError("session_not_found", `There is no session ${sessionId}.`);
  return (
    session.state === "ended" ||
    (until === "ready" && (session.launcher === "none" || ["ready", "paused"].includes(session.sandbox_state ?? "")))
  );
}
