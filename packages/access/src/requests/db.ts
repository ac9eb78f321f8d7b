import { type DatabaseClient, type DatabaseExecutor, preparedStatement, type RequestAttemptTable } from "@proliferate/db";
import { type Selectable, sql } from "kysely";
import { storableJson } from "../spend-logs/index.ts";
import type { AttemptCheckpoint } from "./checkpoint.ts";

/**
 * Statements on `request_attempts` while requests run: their checkpoints, and whose process is dead. How a row comes in is
 * `admission-db.ts`, how it goes out `settlement-db.ts`.
 */
/** An attempt as it was admitted; it never changes. */
export type AdmittedAttempt = Readonly<Omit<Selectable<RequestAttemptTable>, "checkpoint" | "checkpointed_at">>;

/** An attempt before it is on record: when it started says the clock of the database, and what it reserves say its limits. */
export type NewAttempt = Omit<AdmittedAttempt, "started_at" | "reserved_usd" | "reservations">;

export type AttemptRow = AdmittedAttempt & { readonly checkpoint: AttemptCheckpoint | null; readonly checkpointed_at: Date | null };

const keepCheckpoints = preparedStatement<{ readonly attemptIds: readonly string[]; readonly checkpoints: readonly string[] }>(
  "checkpoint_attempts",
  ({ attemptIds, checkpoints }) => sql`
    update request_attempts a set checkpoint = c.checkpoint::jsonb, checkpointed_at = clock_timestamp()
      from unnest(${attemptIds}::uuid[], ${checkpoints}::text[]) as c (attempt_id, checkpoint)
     where a.attempt_id = c.attempt_id`,
);

/** Keeps the usage seen so far of each attempt, in one statement; nothing happens to those that are settled already. */
export async function checkpointAttempts(
  db: DatabaseExecutor,
  checkpoints: readonly { readonly attemptId: string; readonly checkpoint: AttemptCheckpoint }[],
): Promise<void> {
  await keepCheckpoints(db, {
    attemptIds: checkpoints.map(({ attemptId }) => attemptId),
    checkpoints: checkpoints.map(({ checkpoint }) => JSON.stringify(storableJson(checkpoint))),
  });
}

/** The instances that have attempts on record, other than `exceptInstanceId`. */
export async function listInstancesWithAttempts(db: DatabaseExecutor, exceptInstanceId: number): Promise<readonly number[]> {
  const rows = await db
    .selectFrom("request_attempts")
    .select("instance_id")
    .distinct()
    .where("instance_id", "!=", exceptInstanceId)
    .orderBy("instance_id")
    .execute();
  return rows.map((row) => row.instance_id);
}

/** Attempts of an instance whose id is after `afterId`, in the order of their ids, `limit` at most. */
export async function listAttempts(
  db: DatabaseExecutor,
  instanceId: number,
  afterId: string | undefined,
  limit: number,
): Promise<readonly AttemptRow[]> {
  const rows = await db
    .selectFrom("request_attempts")
    .selectAll()
    .where("instance_id", "=", instanceId)
    .$if(afterId !== undefined, (query) => query.where("attempt_id", ">", afterId ?? ""))
    .orderBy("attempt_id")
    .limit(limit)
    .execute();
  return rows as readonly unknown[] as readonly AttemptRow[];
}

/** Those of these attempts that are on record. */
export async function listAttemptsById(db: DatabaseExecutor, attemptIds: readonly string[]): Promise<readonly AttemptRow[]> {
  const rows = await db
    .selectFrom("request_attempts")
    .selectAll()
    .where("attempt_id", "in", [...attemptIds])
    .execute();
  return rows as readonly unknown[] as readonly AttemptRow[];
}

/** A new number for a proxy process; never given twice. */
export async function nextInstanceId(db: DatabaseExecutor): Promise<number> {
  const { rows } = await sql<{ id: number }>`select nextval('proxy_instance_ids')::integer as id`.execute(db);
  return rows[0]?.id ?? 0;
}

/** The time by the clock that all processes share, in whole milliseconds. */
export async function readClock(db: DatabaseExecutor): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db);
  return rows[0]?.now ?? new Date();
}

/** When the transaction began, by the clock of the database: before everything that it read. */
export async function readTransactionStart(tx: DatabaseExecutor): Promise<Date> {
  const { rows } = await sql<{ start: Date }>`select now() as start`.execute(tx);
  return rows[0]?.start ?? new Date(0);
}

/** The class of the process locks that live instances hold, each on its own id; any constant that is ours. */
export const INSTANCE_LOCK_CLASS = 7_031_002;

/**
 * Does the work while holding the process lock of a dead instance, on a connection of its own. False, and nothing done,
 * when the instance lives or somebody else is at it.
 */
export async function withDeadInstance(db: DatabaseClient, instanceId: number, work: () => Promise<void>): Promise<boolean> {
  // In a transaction, which a pooler never moves to another session; it waits for the work, and that is no idleness.
  return db.transaction().execute(async (transaction) => {
    const { rows } = await sql<{ free: boolean }>`
      select pg_try_advisory_xact_lock(${INSTANCE_LOCK_CLASS}::integer, ${instanceId}::integer) as free,
        set_config('idle_in_transaction_session_timeout', '0', true)`.execute(transaction);
    if (!rows[0]?.free) return false;
    await work();
    return true;
  });
}
