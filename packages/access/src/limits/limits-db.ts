import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { sql } from "kysely";
import type { LimitOwner } from "../principals/index.ts";
import type { Limit } from "./limit.ts";

/** Statements on `limits`: what holds for whom, beside LiteLLM's `max_budget`. They hold for the next request of any process. */

/** A limit as it is on record; its amount is set. */
export type SetLimit = Omit<Limit, "principal"> & { readonly principal: LimitOwner; readonly amount: DecimalText };

/** So many limits one principal or tier has at most: every one of them is read, locked and counted for each of its requests. */
export const MOST_LIMITS = 100;

/**
 * Sets a limit: repeated, or with another amount, it is the same limit, and what its window counted stays. Fails with 22023 for an unknown
 * time zone. False, and nothing changed, where the principal has {@link MOST_LIMITS} others.
 */
export async function upsertLimit(db: DatabaseClient, limit: SetLimit): Promise<boolean> {
  return db.transaction().execute(async (tx) => writeLimit(tx, limit));
}

/** The same within a transaction. */
export async function writeLimit(tx: DatabaseExecutor, { principal, meter, window, model, amount, enforce }: SetLimit): Promise<boolean> {
  // Two that set limits of one principal at once count one after the other.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`limits:${principal.kind}:${principal.id}`}, 0))`.execute(tx);
  const { numAffectedRows } = await sql`
    insert into limits (principal_kind, principal_id, meter, limit_window, model, amount, enforce)
    select ${principal.kind}, ${principal.id}, ${meter}, ${window}, ${model}, ${amount}::numeric, ${enforce}
     where limit_window_start(${window}, now()) is not null
       and (select count(*) from limits
             where principal_kind = ${principal.kind} and principal_id = ${principal.id}
               and (meter, limit_window, model) <> (${meter}, ${window}, ${model})) < ${MOST_LIMITS}::integer
    on conflict (principal_kind, principal_id, meter, limit_window, model)
    do update set amount = excluded.amount, enforce = excluded.enforce, updated_at = now()`.execute(tx);
  return numAffectedRows === 1n;
}

/** The window that LiteLLM means by a duration of a budget; `total` for one that it does not read. */
export async function limitWindowOf(db: DatabaseExecutor, duration: string): Promise<string> {
  const { rows } = await sql<{ window: string }>`select limit_window_of(${duration}) as "window"`.execute(db);
  return rows[0]?.window ?? "total";
}

/** Takes a limit away; false when there was none. Its counters stay until their windows are long over. */
export async function deleteLimit(
  db: DatabaseExecutor,
  { principal, meter, window, model }: Omit<SetLimit, "amount" | "enforce">,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    delete from limits where principal_kind = ${principal.kind} and principal_id = ${principal.id} and meter = ${meter} and limit_window = ${window} and model = ${model}`.execute(
    db,
  );
  return numAffectedRows === 1n;
}

/** The limits of one principal, {@link MOST_LIMITS} at most, by meter and window. */
export async function listLimits(db: DatabaseExecutor, { kind, id }: LimitOwner): Promise<readonly SetLimit[]> {
  const { rows } = await sql<{
    kind: LimitOwner["kind"];
    id: string;
    meter: string;
    window: string;
    model: string;
    amount: DecimalText;
    enforce: "refuse" | "count";
  }>`
    select principal_kind as kind, principal_id as id, meter, limit_window as "window", model, trim_scale(amount) as amount, enforce from limits
     where principal_kind = ${kind} and principal_id = ${id} order by meter, limit_window, model`.execute(db);
  return rows.map(({ kind: rowKind, id: rowId, ...limit }) => ({ principal: { kind: rowKind, id: rowId }, ...limit }));
}
