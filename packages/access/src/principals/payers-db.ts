/** Statements on `payers`: who is billed for a team's usage. */
import type { DatabaseExecutor } from "@proliferate/db";
import { type RawBuilder, sql } from "kysely";

/**
 * SQL: who is billed for the team that `team` names. The team itself where there is no row, null for null. The one place at which that
 * is asked: in whatever statement an organization to be billed follows from a team, a session or a key, it goes through here. Whoever
 * pays for others pays for itself, so a payer's payer is the payer.
 *
 * Example: with the row (team_id t1, org_id org_a), `t1` is org_a and `t2` is t2.
 */
export function payerOf(team: RawBuilder<unknown>): RawBuilder<string | null> {
  return sql`coalesce((select payers.org_id from payers where payers.team_id = ${team}), ${team})`;
}

/**
 * The same for many rows: joins who is billed for the team that `team` names as `<alias>.org_id`. One hash join, whatever the number of
 * rows; as {@link payerOf} it would be a look-up a row, and one more wherever the result is named.
 */
export function joinPayer(team: RawBuilder<unknown>, alias: string): RawBuilder<unknown> {
  return sql`left join payers on payers.team_id = ${team} cross join lateral (select coalesce(payers.org_id, ${team}) as org_id) ${sql.ref(alias)}`;
}

/** Who is billed for a team. Example: `readPayer(db, "t1")` is "org_a". */
export async function readPayer(db: DatabaseExecutor, teamId: string): Promise<string> {
  const result = await sql<{ payer: string }>`select ${payerOf(sql`${teamId}::text`)} as payer`.execute(db);
  return result.rows[0]?.payer ?? teamId;
}

/** One team that does not pay for itself. */
interface PayerRow {
  readonly team_id: string;
  readonly org_id: string;
  readonly created_at: Date;
}

/** Teams that do not pay for themselves, by id after `afterTeamId`, at most `limit`; those of one payer where it is given. */
export async function listPayerRows(
  db: DatabaseExecutor,
  options: { readonly orgId: string | undefined; readonly afterTeamId: string; readonly limit: number },
): Promise<readonly PayerRow[]> {
  const result = await sql<PayerRow>`
    select team_id, org_id, created_at from payers
    where team_id > ${options.afterTeamId} collate "C" and (${options.orgId ?? null}::text is null or org_id = ${options.orgId ?? null}::text)
    order by team_id limit ${options.limit}`.execute(db);
  return result.rows;
}

/** What stands in the way of `orgId` paying for `teamId`: another pays for the payer, or the team pays for another. One step only. */
export async function findChain(
  tx: DatabaseExecutor,
  teamId: string,
  orgId: string,
): Promise<{ readonly payer_of_org: string | null; readonly team_that_it_pays_for: string | null }> {
  const result = await sql<{ payer_of_org: string | null; team_that_it_pays_for: string | null }>`
    select (select org_id from payers where team_id = ${orgId}) as payer_of_org,
      (select team_id from payers where org_id = ${teamId} order by team_id limit 1) as team_that_it_pays_for`.execute(tx);
  return result.rows[0] ?? { payer_of_org: null, team_that_it_pays_for: null };
}

/** Lets `orgId` be billed for the team from now on. Idempotent. */
export async function writePayer(tx: DatabaseExecutor, teamId: string, orgId: string): Promise<void> {
  await sql`
    insert into payers (team_id, org_id) values (${teamId}, ${orgId})
    on conflict (team_id) do update set org_id = excluded.org_id, created_at = excluded.created_at where payers.org_id <> excluded.org_id`.execute(
    tx,
  );
}

/** Lets the team pay for itself again. Idempotent. */
export async function deletePayer(tx: DatabaseExecutor, teamId: string): Promise<void> {
  await sql`delete from payers where team_id = ${teamId}`.execute(tx);
}
