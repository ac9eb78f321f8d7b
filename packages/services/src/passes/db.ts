/** Statements on the worker's passes: what tells that the jobs run, who runs one, and how far the last one came, on whichever worker. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

/** Notes that a job ran to its end just now. */
export async function recordPass(db: DatabaseExecutor, job: string): Promise<void> {
  await sql`
    insert into worker_passes (job, succeeded_at) values (${job}, billing_now())
    on conflict (job) do update set succeeded_at = excluded.succeeded_at`.execute(db);
}

interface PassRow {
  readonly job: string;
  readonly succeeded_at: Date;
  /** By the database clock. */
  readonly age_ms: number;
}

/** The last success of each job that ever had one. */
export async function readPasses(db: DatabaseExecutor): Promise<readonly PassRow[]> {
  const result = await sql<PassRow>`
    select job, succeeded_at, greatest(0, round(extract(epoch from billing_now() - succeeded_at) * 1000))::int8::text as age_ms
    from worker_passes order by job`.execute(db);
  return result.rows.map((row) => ({ ...row, age_ms: Number(row.age_ms) }));
}

/** Takes a pass that one worker is enough for: true for one caller in `everyMs`, whichever process asks. */
export async function takePass(db: DatabaseExecutor, name: string, everyMs: number): Promise<boolean> {
  const result = await sql`
    insert into pass_marks as m (name, taken_at) values (${name}, billing_now())
    on conflict (name) do update set taken_at = excluded.taken_at
    where m.taken_at <= excluded.taken_at - ${everyMs} * interval '1 millisecond' or m.taken_at > excluded.taken_at + interval '1 minute'`.execute(
    db,
  );
  return (result.numAffectedRows ?? 0n) > 0n;
}

/** Gives a pass back that did not come to its end: the next caller takes it. */
export async function returnPass(db: DatabaseExecutor, name: string): Promise<void> {
  await sql`update pass_marks set taken_at = '-infinity' where name = ${name}`.execute(db);
}

/** Up to where a pass has done all there was, as text that the database reads back; undefined before the first. */
export async function readMark(db: DatabaseExecutor, name: string): Promise<string | undefined> {
  const result = await sql<{ mark: string }>`select mark::text as mark from pass_marks where name = ${name} and mark > '-infinity'`.execute(
    db,
  );
  return result.rows[0]?.mark;
}

/** Moves a pass's mark forward; never back. */
export async function writeMark(db: DatabaseExecutor, name: string, mark: string): Promise<void> {
  await sql`
    insert into pass_marks as m (name, mark) values (${name}, ${mark}::timestamptz)
    on conflict (name) do update set mark = greatest(m.mark, excluded.mark)`.execute(db);
}
