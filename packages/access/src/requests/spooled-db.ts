import { type DatabaseExecutor, type ReservationJson } from "@proliferate/db";
import { sql } from "kysely";
import { currentHashOf } from "../keys/index.ts";
import { COUNTER_OF_LIMIT, LOCK_ORDER } from "../limits/index.ts";
import type { AdmittedAttempt } from "./db.ts";
import { HELD_BY_ATTEMPT } from "./reservations-db.ts";

/** Statements on attempts that were admitted while the store was away, and are put on record afterwards. */

/** What an attempt holds of one limit, before its window is known: the database says which one was open when it started. */
type SpooledReservation = Omit<ReservationJson, "start">;

/** An attempt that was admitted without the store. */
export type SpooledAttempt = Omit<AdmittedAttempt, "reservations"> & { readonly reservations: readonly SpooledReservation[] | null };

/**
 * Says in which window each reservation stands, and makes the counters of these windows where they are missing; those of a key that was
 * deleted meanwhile stay away. Not within a transaction that holds a counter.
 */
export async function placeReservations(
  db: DatabaseExecutor,
  { reservations, started_at: startedAt }: Pick<SpooledAttempt, "reservations" | "started_at">,
): Promise<readonly ReservationJson[] | null> {
  if (reservations === null) return null;
  const { rows } = await sql<{ reservations: readonly ReservationJson[] }>`
    with placed as (
      select r.*, limit_window_start(r."window", ${startedAt.toISOString()}::timestamptz) as start
        from jsonb_to_recordset(${JSON.stringify(reservations)}::jsonb) as r (kind text, id text, meter text, "window" text, model text, amount text)
    ), made as (
      insert into limit_counters (principal_kind, principal_id, meter, limit_window, model, window_start, window_end, used)
      select p.kind, p.id, p.meter, p."window", p.model, p.start, limit_window_end(p."window", p.start), 0 from placed p
       where p.kind <> 'key' or exists (select from "LiteLLM_VerificationToken" k where k.token = ${currentHashOf(sql`p.id`)})
       order by 1, 2, 3, 4, 5, 6
      on conflict do nothing
    )
    select coalesce(jsonb_agg(jsonb_build_object('kind', p.kind, 'id', p.id, 'meter', p.meter, 'window', p."window", 'model', p.model,
                                                 'start', p.start::text, 'amount', p.amount)), '[]') as reservations from placed p`.execute(
    db,
  );
  return rows[0]?.reservations ?? null;
}

/**
 * Puts an attempt on record that was admitted without the store, and reserves what it holds, if it is neither on record nor settled yet.
 * Until the transaction ends, nobody else does the same with it.
 */
export async function insertSpooledAttempt(tx: DatabaseExecutor, attempt: AdmittedAttempt): Promise<void> {
  const { attempt_id: attemptId, reservations, started_at: startedAt, ...others } = attempt;
  const columns = Object.keys(others) as (keyof typeof others)[];
  // A statement of its own, so that the next one sees what another process has committed by then.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`spooled_attempt:${attemptId}`}, 0))`.execute(tx);
  await sql`
    with attempt as (
      insert into request_attempts (attempt_id, started_at, reservations, ${sql.join(columns.map((column) => sql.ref(column)))})
      select ${attemptId}::uuid, ${startedAt.toISOString()}::timestamptz, ${reservations === null ? null : JSON.stringify(reservations)}::jsonb,
             ${sql.join(columns.map((column) => sql`${others[column]}`))}
       where not exists (select from "LiteLLM_SpendLogs" s where s.request_id = ${attemptId}::text)
      on conflict (attempt_id) do nothing
      returning key_hash, team_id, reserved_usd, reservations
    ), held as materialized (
      ${HELD_BY_ATTEMPT}
    ), locked as (
      select a.* from limit_counters c join held a on ${COUNTER_OF_LIMIT}
       order by ${LOCK_ORDER}
         for update of c
    )
    update limit_counters c set reserved = c.reserved + a.amount from locked a where ${COUNTER_OF_LIMIT}`.execute(tx);
}
