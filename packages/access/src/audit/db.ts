import type { DatabaseExecutor, ManagementActionTable } from "@proliferate/db";
import { type Selectable, sql } from "kysely";

/** Statements on `management_actions`: what was changed by the management API. */

/** What an action was done to. */
export type SubjectKind = "key" | "team" | "user" | "budget" | "limits" | "tier";

/** One action as it is put on record. */
interface NewManagementAction {
  /** `POST /key/update` and the like. */
  readonly action: string;
  readonly kind: SubjectKind;
  readonly subject: string;
  /** `proxy_admin`, or the user whose key it was. */
  readonly operator: string;
  /** For whom, in the caller's own words. */
  readonly changedBy: string | null;
  readonly remoteAddress: string | null;
  /** A UUID. */
  readonly requestId: string;
  /** The fields that differ, without secrets; null where there was, or is, nothing. */
  readonly before: unknown;
  readonly after: unknown;
}

export type ManagementActionRow = Selectable<ManagementActionTable>;

const jsonb = (value: unknown) => sql`${value == null ? null : JSON.stringify(value)}::jsonb`;

/** Puts an action on record, in the transaction of what it tells of. */
export async function insertManagementAction(tx: DatabaseExecutor, action: NewManagementAction): Promise<void> {
  const { kind, subject, operator, changedBy, remoteAddress, requestId, before, after } = action;
  await sql`
    insert into management_actions (action, subject_kind, subject, operator, changed_by, remote_address, request_id, before, after)
    values (${action.action}, ${kind}, ${subject}, ${operator}, ${changedBy}, ${remoteAddress}, ${requestId}::uuid, ${jsonb(before)}, ${jsonb(after)})`.execute(
    tx,
  );
}

/** Within a transaction: until its end, nobody else changes these by the management API. Before anything else is locked; in one order. */
export async function lockSubjects(tx: DatabaseExecutor, subjects: readonly string[]): Promise<void> {
  await sql`
    with locks as materialized (
      select distinct hashtextextended('managed:' || subject, 0) as lock from unnest(${[...subjects]}::text[]) as subject order by 1
    )
    select pg_advisory_xact_lock(lock) from locks`.execute(tx);
}

/** What is on record, the newest first; of one subject if it is named. `page` counts from 1. */
export async function listManagementActions(
  db: DatabaseExecutor,
  { subject }: { readonly subject?: string | undefined },
  { page, size }: { readonly page: number; readonly size: number },
): Promise<{ readonly rows: readonly ManagementActionRow[]; readonly total: number }> {
  let matching = db.selectFrom("management_actions");
  if (subject !== undefined) matching = matching.where("subject", "=", subject);
  const { total } = await matching.select(sql<string>`count(*)`.as("total")).executeTakeFirstOrThrow();
  const rows = await matching
    .selectAll()
    .orderBy("action_id", "desc")
    .limit(size)
    .offset((page - 1) * size)
    .execute();
  return { rows, total: Number(total) };
}

/** Deletes what is on record for longer than `olderThanMs`; `limit` at most. Returns how many. */
export async function deleteOldManagementActions(
  db: DatabaseExecutor,
  options: { readonly olderThanMs: number; readonly limit: number },
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from management_actions where action_id in (
      select action_id from management_actions where acted_at < now() - ${options.olderThanMs} * interval '1 millisecond'
       order by acted_at limit ${options.limit})`.execute(db);
  return Number(numAffectedRows ?? 0);
}
