/** Statements of the circuit before each sink, and of requests to settle an org at once. */
import type { DatabaseExecutor } from "@proliferate/db";
import { payerOf } from "@proliferate/access/principals";
import { sql } from "kysely";

/** How long a worker has for its probe before another may probe. */
const PROBE_MS = 60_000;
const FIRST_OPEN_MS = 30_000;
const LONGEST_OPEN_MS = 5 * 60_000;

/**
 * Whether a sink may be called: `closed` freely, `open` not at all, `probe` once, by this caller alone. Two workers never
 * probe at once.
 */
export async function enterCircuit(db: DatabaseExecutor, sink: string): Promise<"closed" | "open" | "probe"> {
  const result = await sql<{ probes: boolean }>`
    with clock as materialized (select billing_now() as now), probe as (
      update settlement_circuits set retry_at = (select now from clock) + ${PROBE_MS} * interval '1 millisecond'
      where sink = ${sink} and retry_at <= (select now from clock)
      returning sink
    )
    select exists (select 1 from probe) as probes from settlement_circuits where sink = ${sink}`.execute(db);
  const [row] = result.rows;
  if (row === undefined) return "closed";
  return row.probes ? "probe" : "open";
}

/** Opens the circuit, or keeps it open after a failed probe: 30 s, doubled each time up to 5 min, and no less than the sink asked for. */
export async function openCircuit(
  db: DatabaseExecutor,
  sink: string,
  reason: { readonly code: string | null; readonly retryAfterMs: number },
): Promise<void> {
  await sql`
    insert into settlement_circuits as c (sink, open_count, opened_at, retry_at, error_code)
    select ${sink}, 1, now, now + greatest(${FIRST_OPEN_MS}, ${reason.retryAfterMs}::float8) * interval '1 millisecond', ${reason.code} from (select billing_now() as now) clock
    on conflict (sink) do update
    set open_count = c.open_count + 1, error_code = excluded.error_code,
      retry_at = billing_now() + greatest(least(${FIRST_OPEN_MS} * power(2, least(c.open_count, 10)), ${LONGEST_OPEN_MS}), ${reason.retryAfterMs}::float8) * interval '1 millisecond'`.execute(
    db,
  );
}

/** Lets the sink be asked again. Idempotent. */
export async function closeCircuit(db: DatabaseExecutor, sink: string): Promise<void> {
  await sql`delete from settlement_circuits where sink = ${sink}`.execute(db);
}

/** Asks the worker to settle the usage of an org's payer at once (within about a second), as when its session ended. Idempotent. */
export async function requestFlush(db: DatabaseExecutor, orgId: string): Promise<void> {
  await sql`
    insert into settlement_flush_requests (org_id, requested_at) select ${payerOf(sql`${orgId}::text`)}, billing_now()
    on conflict (org_id) do nothing`.execute(db);
}

/** Takes the requests away. Whoever dies with them loses only time: the regular pass settles every org. */
export async function takeFlushRequests(db: DatabaseExecutor): Promise<readonly string[]> {
  const result = await sql<{ org_id: string }>`delete from settlement_flush_requests returning org_id`.execute(db);
  return result.rows.map((row) => row.org_id);
}
