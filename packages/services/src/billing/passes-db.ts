/** Statements on the worker's passes: what tells that the jobs run, on whichever worker. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";

/** Notes that a job ran to its end just now. */
export async function recordPass(db: DatabaseExecutor, job: string): Promise<void> {
  await sql`
    insert into worker_passes (job, succeeded_at) values (${job}, billing_now())
    on conflict (job) do update set succeeded_at = excluded.succeeded_at`.execute(db);
}

export interface PassRow {
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
