import type { DatabaseExecutor, UserTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Insertable, type Selectable, sql } from "kysely";
import { LOCK_ORDER } from "../limits/index.ts";

/**
 * Every statement on LiteLLM's table of users. Its columns are named one by one: there is a password among those that stock LiteLLM has.
 */

const COLUMNS = [
  "user_id",
  "user_alias",
  "user_email",
  "user_role",
  "team_id",
  "teams",
  "models",
  "metadata",
  "max_budget",
  "budget_duration",
  "max_parallel_requests",
  "tpm_limit",
  "rpm_limit",
  "model_max_budget",
  "created_at",
  "updated_at",
] as const satisfies readonly (keyof UserTable)[];

type StoredUser = Pick<Selectable<UserTable>, (typeof COLUMNS)[number]>;

/** A user with what its keys spent and how many they are. */
export type UserRow = StoredUser & { readonly spend: DecimalText; readonly key_count: number };

/** A column that is absent is left as it is (update) or empty (insert); null clears it. */
export interface UserFields {
  readonly userAlias?: string | null;
  readonly userEmail?: string | null;
  readonly userRole?: string | null;
  readonly maxBudgetUsd?: DecimalText | null;
  readonly budgetDuration?: string | null;
  readonly budgetResetAt?: Date | null;
  /** Tokens and requests a minute, and requests at one time. */
  readonly tpmLimit?: number | null;
  readonly rpmLimit?: number | null;
  readonly maxParallelRequests?: number | null;
  /** In the place of all that are there. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

function columns(fields: UserFields): Partial<Insertable<UserTable>> {
  return {
    ...(fields.userAlias !== undefined && { user_alias: fields.userAlias }),
    ...(fields.userEmail !== undefined && { user_email: fields.userEmail }),
    ...(fields.userRole !== undefined && { user_role: fields.userRole }),
    ...(fields.maxBudgetUsd !== undefined && { max_budget: fields.maxBudgetUsd }),
    ...(fields.budgetDuration !== undefined && { budget_duration: fields.budgetDuration }),
    ...(fields.budgetResetAt !== undefined && { budget_reset_at: fields.budgetResetAt?.toISOString() ?? null }),
    ...(fields.tpmLimit !== undefined && { tpm_limit: fields.tpmLimit }),
    ...(fields.rpmLimit !== undefined && { rpm_limit: fields.rpmLimit }),
    ...(fields.maxParallelRequests !== undefined && { max_parallel_requests: fields.maxParallelRequests }),
    ...(fields.metadata !== undefined && { metadata: JSON.stringify(fields.metadata) }),
  };
}

const utcNow = sql<Date>`(clock_timestamp() at time zone 'utc')::timestamp(3)`;
const OF_KEYS = [
  sql<DecimalText>`(select coalesce(trim_scale(sum(k.spend::text::numeric)), 0)::text from "LiteLLM_VerificationToken" k where k.user_id = "LiteLLM_UserTable".user_id)`.as(
    "spend",
  ),
  sql<number>`(select count(*)::integer from "LiteLLM_VerificationToken" k where k.user_id = "LiteLLM_UserTable".user_id)`.as("key_count"),
] as const;

function withLists<Row extends StoredUser>(row: Row): Row {
  return { ...row, teams: row.teams ?? [], models: row.models ?? [] };
}

/** Inserts a user; false when the id exists, which is then untouched. */
export async function insertUser(db: DatabaseExecutor, userId: string, fields: UserFields): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto("LiteLLM_UserTable")
    .values({ user_id: userId, teams: [], models: [], ...columns(fields) })
    .onConflict((conflict) => conflict.column("user_id").doNothing())
    .executeTakeFirstOrThrow();
  return numInsertedOrUpdatedRows === 1n;
}

/** Sets what is given of a user that exists. */
export async function updateUserRow(db: DatabaseExecutor, userId: string, fields: UserFields): Promise<void> {
  await db
    .updateTable("LiteLLM_UserTable")
    .set({ updated_at: utcNow, ...columns(fields) })
    .where("user_id", "=", userId)
    .execute();
}

/** Until the transaction ends nobody else changes what it locks: the user, or the users with this address. */
export async function lockUser(tx: DatabaseExecutor, what: "id" | "email", text: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`user ${what}:${what === "email" ? text.toLowerCase() : text}`}, 0))`.execute(
    tx,
  );
}

/** Who has this address, in any case, other than `exceptUserId`. */
export async function findEmailHolder(db: DatabaseExecutor, email: string, exceptUserId: string): Promise<string | undefined> {
  const { rows } = await sql<{ user_id: string }>`
    select user_id from "LiteLLM_UserTable" where lower(user_email) = lower(${email}) and user_id <> ${exceptUserId} limit 1`.execute(db);
  return rows[0]?.user_id;
}

/** The id of the user who has this address; undefined where nobody has. */
export async function findUserByEmail(db: DatabaseExecutor, email: string): Promise<string | undefined> {
  const { rows } = await sql<{ id: string }>`
    select user_id as id from "LiteLLM_UserTable" where lower(user_email) = lower(${email}) order by user_id limit 1`.execute(db);
  return rows[0]?.id;
}

export async function findUser(db: DatabaseExecutor, userId: string): Promise<UserRow | undefined> {
  const row = await db
    .selectFrom("LiteLLM_UserTable")
    .select([...COLUMNS, ...OF_KEYS])
    .where("user_id", "=", userId)
    .executeTakeFirst();
  return row && withLists(row);
}

/** Those of these users that exist. */
export async function findUserIds(db: DatabaseExecutor, userIds: readonly string[]): Promise<readonly string[]> {
  const { rows } = await sql<{ user_id: string }>`
    select user_id from "LiteLLM_UserTable" where user_id = any(${[...userIds]}::text[])`.execute(db);
  return rows.map(({ user_id: id }) => id);
}

interface UserFilter {
  readonly userIds?: readonly string[] | undefined;
  readonly role?: string | undefined;
  /** A part of the address, in any case. */
  readonly emailPart?: string | undefined;
}

interface UserOrder {
  readonly column: "user_id" | "user_email" | "user_alias" | "user_role" | "created_at";
  readonly direction: "asc" | "desc";
}

/** One page; `page` counts from 1. Ties are ordered by id, so that pages do not overlap. Keys are counted for the page alone. */
export async function listUsers(
  db: DatabaseExecutor,
  filter: UserFilter,
  order: UserOrder,
  paging: { readonly page: number; readonly size: number },
): Promise<{ readonly rows: readonly UserRow[]; readonly total: number }> {
  let matching = db.selectFrom("LiteLLM_UserTable");
  if (filter.userIds !== undefined) matching = matching.where(sql<boolean>`user_id = any(${[...filter.userIds]}::text[])`);
  if (filter.role !== undefined) matching = matching.where("user_role", "=", filter.role);
  if (filter.emailPart !== undefined)
    matching = matching.where(sql<boolean>`position(lower(${filter.emailPart}) in lower(user_email)) > 0`);
  const { total } = await matching.select(sql<string>`count(*)`.as("total")).executeTakeFirstOrThrow();
  const rows = await matching
    .select([...COLUMNS, ...OF_KEYS])
    .orderBy(order.column, order.direction)
    .orderBy("user_id", order.direction)
    .limit(paging.size)
    .offset((paging.page - 1) * paging.size)
    .execute();
  return { rows: rows.map(withLists), total: Number(total) };
}

/** Deletes users with their limits, their tiers and the counters in which nothing is reserved. Not their keys. */
export async function deleteUserRows(db: DatabaseExecutor, userIds: readonly string[]): Promise<void> {
  await sql`
    with doomed as materialized (
      select user_id from "LiteLLM_UserTable" where user_id = any(${[...userIds]}::text[])
    ), locked as materialized (
      select c.principal_id from limit_counters c where c.principal_kind = 'user' and c.principal_id in (select user_id from doomed)
       order by ${LOCK_ORDER}
         for update of c
    ), forgotten as (
      delete from limit_counters c where c.principal_kind = 'user' and c.reserved = 0 and c.principal_id in (select principal_id from locked)
    ), lifted as (
      delete from limits l using doomed d where l.principal_kind = 'user' and l.principal_id = d.user_id
    ), untiered as (
      delete from user_tiers t using doomed d where t.user_id = d.user_id
    )
    delete from "LiteLLM_UserTable" u using doomed d where u.user_id = d.user_id`.execute(db);
}
