/** Statements on requests that carried an idempotency key. */
import type { DatabaseExecutor, SessionRequestTable } from "@proliferate/db";
import { type Selectable, sql } from "kysely";

/** A request with an idempotency key, and its sealed answer once there is one. */
type SessionRequestRow = Selectable<SessionRequestTable>;

/** Names a request: an organization and the hash of its idempotency key. */
interface RequestName {
  readonly orgId: string;
  readonly keyHash: string;
}

/** Takes the name for this request, or returns the row that has it. */
export async function claimRequest(
  db: DatabaseExecutor,
  request: RequestName & { readonly bodyHash: string; readonly sessionId: string; readonly instanceId: number },
): Promise<{ readonly row: SessionRequestRow; readonly isNew: boolean }> {
  const inserted = await db
    .insertInto("session_requests")
    .values({
      org_id: request.orgId,
      key_hash: request.keyHash,
      body_hash: request.bodyHash,
      session_id: request.sessionId,
      instance_id: request.instanceId,
      status: null,
      sealed_answer: null,
      sealed_draft: null,
    })
    .onConflict((conflict) => conflict.columns(["org_id", "key_hash"]).doNothing())
    .returningAll()
    .executeTakeFirst();
  if (inserted) return { row: inserted, isNew: true };
  const row = await db
    .selectFrom("session_requests")
    .selectAll()
    .where("org_id", "=", request.orgId)
    .where("key_hash", "=", request.keyHash)
    .executeTakeFirst();
  // The row was deleted between the two statements: its request failed. So this request is the first one.
  return row ? { row, isNew: false } : claimRequest(db, request);
}

/** Takes over what a dead gateway began. False when another was faster. */
export async function takeRequestOver(
  db: DatabaseExecutor,
  request: RequestName,
  deadInstanceId: number,
  instanceId: number,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("session_requests")
    .set({ instance_id: instanceId })
    .where("org_id", "=", request.orgId)
    .where("key_hash", "=", request.keyHash)
    .where("instance_id", "=", deadInstanceId)
    .where("status", "is", null)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Names the session that the request is about to start, and what whoever takes over needs to answer for it. */
export async function writeDraft(db: DatabaseExecutor, request: RequestName, sessionId: string, sealedDraft: Buffer): Promise<void> {
  await db
    .updateTable("session_requests")
    .set({ session_id: sessionId, sealed_draft: sealedDraft })
    .where("org_id", "=", request.orgId)
    .where("key_hash", "=", request.keyHash)
    .execute();
}

/** Keeps the answer of a request, sealed, so that its repetition gets the same. Idempotent. */
export async function writeAnswer(db: DatabaseExecutor, request: RequestName, status: number, sealedAnswer: Buffer): Promise<void> {
  await db
    .updateTable("session_requests")
    .set({ status, sealed_answer: sealedAnswer })
    .where("org_id", "=", request.orgId)
    .where("key_hash", "=", request.keyHash)
    .execute();
}

/** A request that failed is as if it had never been. */
export async function deleteRequest(db: DatabaseExecutor, request: RequestName): Promise<void> {
  await db
    .deleteFrom("session_requests")
    .where("org_id", "=", request.orgId)
    .where("key_hash", "=", request.keyHash)
    .where("status", "is", null)
    .execute();
}

/** Answers are kept for 24 hours. */
export async function deleteOldRequests(db: DatabaseExecutor): Promise<void> {
  await db
    .deleteFrom("session_requests")
    .where("created_at", "<", sql<Date>`now() - interval '24 hours'`)
    .execute();
}
