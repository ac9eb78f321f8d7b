import type { DatabaseClient } from "@proliferate/db";
import type { Session, SessionListResponse } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { normalizeDecimal } from "@proliferate/shared/money";
import { findSession, selectSessions, type SessionRow } from "./db.ts";
import { getSessionSpend } from "./session-spend.ts";

/** A session with what it has spent. Throws `session_not_found`. */
export async function getSession(db: DatabaseClient, sessionId: string): Promise<Session> {
  const row = await findSession(db, sessionId);
  if (!row) throw new AppError("session_not_found", `There is no session ${sessionId}.`);
  const { billed, unbilledSpendUsd } = await getSessionSpend(db, sessionId);
  return { ...describeSession(row), billed, unbilled_spend_usd: unbilledSpendUsd };
}

/** Whether a session is this organization's; one that does not exist is nobody's. */
export async function isSessionOf(db: DatabaseClient, sessionId: string, orgId: string): Promise<boolean> {
  return (await findSession(db, sessionId))?.org_id === orgId;
}

/** One page of an org's sessions, newest first. Sessions that start meanwhile do not move the pages. */
export async function listSessions(
  db: DatabaseClient,
  query: { readonly orgId: string; readonly cursor?: string | undefined; readonly limit: number },
): Promise<SessionListResponse> {
  const before = query.cursor === undefined ? undefined : readCursor(query.cursor);
  const rows = await selectSessions(db, { orgId: query.orgId, before, limit: query.limit + 1 });
  const page = rows.slice(0, query.limit);
  const last = page.at(-1);
  return { sessions: page.map(describeSession), next_cursor: last && rows.length > page.length ? writeCursor(last.session_number) : null };
}

/** The row as the API shows it. Never the key: there is none to show. */
export function describeSession(row: SessionRow): SessionListResponse["sessions"][number] {
  return {
    session_id: row.session_id,
    org_id: row.org_id,
    user_id: row.user_id,
    state: row.state,
    model: row.model,
    key_hash: row.key_hash,
    max_budget_usd: row.max_budget_usd === null ? null : normalizeDecimal(row.max_budget_usd),
    expires_at: row.expires_at?.toISOString() ?? null,
    metadata: row.metadata,
    created_at: row.created_at.toISOString(),
    ended_at: row.ended_at?.toISOString() ?? null,
    launcher: row.launcher,
    sandbox: describeSandbox(row),
    failure: row.failure_code === null ? null : { code: row.failure_code, message: row.failure_message ?? "" },
  };
}

/** Null where the gateway launches none. */
export function describeSandbox(row: SessionRow): SessionListResponse["sessions"][number]["sandbox"] {
  if (row.sandbox_state === null) return null;
  return {
    state: row.sandbox_state,
    step: row.sandbox_step,
    sandbox_id: row.sandbox_id,
    url: row.agent_url,
    expires_at: row.sandbox_expires_at?.toISOString() ?? null,
  };
}

const writeCursor = (sessionNumber: string): string => Buffer.from(`s:${sessionNumber}`).toString("base64url");

function readCursor(cursor: string): string {
  const sessionNumber = /^s:(\d{1,18})$/.exec(Buffer.from(cursor, "base64url").toString("latin1"))?.[1];
  if (sessionNumber === undefined)
    throw new AppError("invalid_request", "The cursor is not a next_cursor of this listing.", { param: "cursor" });
  return sessionNumber;
}
