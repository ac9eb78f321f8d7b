import { type DatabaseExecutor, type VerificationTokenTable } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type Selectable, sql } from "kysely";
import { type DueBudget, IS_BUDGET, LOCK_ORDER } from "../limits/index.ts";
import { currentHashOf } from "./key-hashes-db.ts";

/**
 * Every statement on LiteLLM's key table. LiteLLM's own definition of it lets every list be NULL, which it reads as an empty
 * one: so does every read here, and no insert of ours leaves one NULL.
 */

export type KeyRow = Selectable<VerificationTokenTable>;

/** The lists of a key, which LiteLLM's clients expect even where its table has NULL. */
const LISTS = ["models", "allowed_cache_controls", "allowed_routes"] as const satisfies readonly (keyof KeyRow)[];
const NO_LISTS = { models: [] as string[], allowed_cache_controls: [] as string[], allowed_routes: [] as string[] };

/** The row as LiteLLM's clients expect it. */
export function withLists<Row extends KeyRow | undefined>(row: Row): Row {
  if (row === undefined) return row;
  return { ...row, ...Object.fromEntries(LISTS.map((name) => [name, row[name] ?? []])) };
}

/** A column that is absent is left as it is (update) or at its default (insert); null clears it. */
export interface KeyFields {
  readonly keyAlias?: string | null;
  /** PostgreSQL interval counted from now; null = never expires. */
  readonly life?: string | null;
  readonly userId?: string | null;
  readonly teamId?: string | null;
  readonly models?: readonly string[];
  readonly allowedRoutes?: readonly string[];
  /** What LiteLLM calls the key after its routes; it says nothing that these do not. */
  readonly keyType?: string;
  readonly aliases?: Readonly<Record<string, string>>;
  readonly budgetId?: string | null;
  /** No column: it stands in the key's budget. */
  readonly softBudgetUsd?: DecimalText | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** What LiteLLM keeps among the metadata without being told to: added to those that are given, or there. */
  readonly addedMetadata?: Readonly<Record<string, unknown>>;
  readonly blocked?: boolean;
  readonly maxBudgetUsd?: DecimalText | null;
  readonly budgetDuration?: string | null;
  readonly budgetResetAt?: Date | null;
  /** Tokens and requests a minute, and requests at one time. */
  readonly tpmLimit?: number | null;
  readonly rpmLimit?: number | null;
  readonly maxParallelRequests?: number | null;
  /** USD by model, as LiteLLM writes it: `{"gpt-5": {"budget_limit": "5", "time_period": "1d"}}`. */
  readonly modelMaxBudget?: Readonly<Record<string, unknown>>;
}

const utcNow = sql<Date>`(clock_timestamp() at time zone 'utc')::timestamp(3)`;
const inUtc = (life: string) => sql<Date>`(clock_timestamp() at time zone 'utc' + ${life}::interval)::timestamp(3)`;

function columns(fields: KeyFields) {
  return {
    ...(fields.keyAlias !== undefined && { key_alias: fields.keyAlias }),
    ...(fields.life !== undefined && { expires: fields.life === null ? null : inUtc(fields.life) }),
    ...(fields.userId !== undefined && { user_id: fields.userId }),
    ...(fields.teamId !== undefined && { team_id: fields.teamId }),
    ...(fields.models !== undefined && { models: [...fields.models] }),
    ...(fields.allowedRoutes !== undefined && { allowed_routes: [...fields.allowedRoutes] }),
    ...(fields.keyType !== undefined && { key_type: fields.keyType }),
    ...(fields.aliases !== undefined && { aliases: JSON.stringify(fields.aliases) }),
    ...(fields.budgetId !== undefined && { budget_id: fields.budgetId }),
    ...(fields.metadata !== undefined && { metadata: JSON.stringify({ ...fields.metadata, ...fields.addedMetadata }) }),
    ...(fields.blocked !== undefined && { blocked: fields.blocked }),
    ...(fields.maxBudgetUsd !== undefined && { max_budget: fields.maxBudgetUsd }),
    ...(fields.budgetDuration !== undefined && { budget_duration: fields.budgetDuration }),
    ...(fields.budgetResetAt !== undefined && { budget_reset_at: fields.budgetResetAt?.toISOString() ?? null }),
    ...(fields.modelMaxBudget !== undefined && { model_max_budget: JSON.stringify(fields.modelMaxBudget) }),
    ...(fields.tpmLimit !== undefined && { tpm_limit: fields.tpmLimit === null ? null : String(fields.tpmLimit) }),
    ...(fields.rpmLimit !== undefined && { rpm_limit: fields.rpmLimit === null ? null : String(fields.rpmLimit) }),
    ...(fields.maxParallelRequests !== undefined && { max_parallel_requests: fields.maxParallelRequests }),
  };
}

/** Inserts a key; undefined when a key with this hash exists, which is then untouched. */
export async function insertKey(
  db: DatabaseExecutor,
  key: { readonly hash: string; readonly name: string; readonly createdBy: string; readonly fields: KeyFields },
): Promise<KeyRow | undefined> {
  const row = await db
    .insertInto("LiteLLM_VerificationToken")
    .values({
      token: key.hash,
      key_name: key.name,
      created_by: key.createdBy,
      updated_by: key.createdBy,
      ...NO_LISTS,
      ...columns({ ...key.fields, metadata: key.fields.metadata ?? {} }),
    })
    .onConflict((conflict) => conflict.column("token").doNothing())
    .returningAll()
    .executeTakeFirst();
  return withLists(row);
}

/** The secret that a key has from now on. */
interface NewSecret {
  readonly hash: string;
  /** What may be shown of it. */
  readonly name: string;
}

/** Sets what is given; undefined when no key has this hash now. */
export async function updateKeyRow(
  db: DatabaseExecutor,
  hash: string,
  updatedBy: string,
  fields: KeyFields,
  secret?: NewSecret,
): Promise<KeyRow | undefined> {
  const row = await db
    .updateTable("LiteLLM_VerificationToken")
    .set({
      ...(secret && { token: secret.hash, key_name: secret.name }),
      updated_at: utcNow,
      updated_by: updatedBy,
      ...(fields.addedMetadata !== undefined && {
        metadata: sql`coalesce(metadata, '{}') || ${JSON.stringify(fields.addedMetadata)}::jsonb`,
      }),
      ...columns(fields),
    })
    .where("token", "=", hash)
    .returningAll()
    .executeTakeFirst();
  return withLists(row);
}

/** The key that has this hash, or had it before it was regenerated. */
export async function findKey(db: DatabaseExecutor, hash: string): Promise<KeyRow | undefined> {
  return withLists(
    await db.selectFrom("LiteLLM_VerificationToken").selectAll().where("token", "=", currentHashOf(hash)).executeTakeFirst(),
  );
}

/** The hash of the key that holds an alias, other than `exceptHash`. */
export async function findAliasHolder(db: DatabaseExecutor, keyAlias: string, exceptHash: string): Promise<string | undefined> {
  const row = await db
    .selectFrom("LiteLLM_VerificationToken")
    .select("token")
    .where("key_alias", "=", keyAlias)
    .where("token", "!=", exceptHash)
    .executeTakeFirst();
  return row?.token;
}

/** Within a transaction: until its end, nobody else takes or checks this alias. LiteLLM's table has no unique index on it. */
export async function lockAlias(db: DatabaseExecutor, keyAlias: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`key_alias:${keyAlias}`}, 0))`.execute(db);
}

interface KeyFilter {
  readonly teamId?: string | undefined;
  readonly userId?: string | undefined;
  readonly keyAlias?: string | undefined;
  readonly keyHash?: string | undefined;
}

interface KeyPage {
  readonly rows: readonly KeyRow[];
  readonly total: number;
}

/** Newest first; `page` counts from 1. */
export async function listKeys(db: DatabaseExecutor, filter: KeyFilter, page: number, size: number): Promise<KeyPage> {
  let matching = db.selectFrom("LiteLLM_VerificationToken");
  if (filter.teamId !== undefined) matching = matching.where("team_id", "=", filter.teamId);
  if (filter.userId !== undefined) matching = matching.where("user_id", "=", filter.userId);
  if (filter.keyAlias !== undefined) matching = matching.where("key_alias", "=", filter.keyAlias);
  if (filter.keyHash !== undefined) matching = matching.where("token", "=", currentHashOf(filter.keyHash));
  const { total } = await matching.select(sql<string>`count(*)`.as("total")).executeTakeFirstOrThrow();
  const rows = await matching
    .selectAll()
    .orderBy("created_at", "desc")
    .orderBy("token")
    .limit(size)
    .offset((page - 1) * size)
    .execute();
  return { rows: rows.map((row) => withLists(row)), total: Number(total) };
}

/**
 * Deletes the keys that exist among hashes and aliases, with their limits and the counters in which nothing is reserved, and tells the hashes that
 * they had. The caller has locked them (`lockKeys`), so that nobody regenerates one meanwhile.
 */
export async function deleteKeyRows(
  tx: DatabaseExecutor,
  hashes: readonly string[],
  aliases: readonly string[],
): Promise<readonly string[]> {
  // Counters are locked first, as by every statement that needs both: a settlement under way would wait in a circle.
  const { rows } = await sql<{ token: string }>`
    with named as (
      select hash from unnest(${[...hashes]}::text[]) as hash
      union
      select now.key_hash from key_hashes h join key_hashes now on now.key_id = h.key_id and now.is_current where h.key_hash = any(${[...hashes]}::text[])
    ), doomed as materialized (
      select token, coalesce(h.key_id, token) as key_id from "LiteLLM_VerificationToken" left join key_hashes h on h.key_hash = token
       where token in (select hash from named) or key_alias = any(${[...aliases]})
    ), locked as (
      select c.principal_id, c.reserved from limit_counters c where c.principal_kind = 'key' and c.principal_id in (select key_id from doomed)
       order by ${LOCK_ORDER}
         for update
    ), deleted as (
      delete from "LiteLLM_VerificationToken" k using doomed d where k.token = d.token and (select count(*) from locked) >= 0 returning k.token
    ), forgotten as (
      delete from limit_counters c where c.principal_kind = 'key' and c.reserved = 0 and c.principal_id in (select principal_id from locked)
    ), lifted as (
      delete from limits l using doomed d where l.principal_kind = 'key' and l.principal_id = d.key_id
    ), ended as (
      delete from "LiteLLM_DeprecatedVerificationToken" f using doomed d where f.active_token_id = d.token
    ), unnamed as (
      delete from key_hashes h using doomed d where h.key_id = d.key_id
    )
    select token from deleted`.execute(tx);
  return rows.map((row) => row.token);
}

/** Budgets of keys whose window ended at `now` or before, oldest first, 1,000 at most. */
export async function listKeysDueForReset(db: DatabaseExecutor, now: Date): Promise<readonly DueBudget[]> {
  const { rows } = await sql<DueBudget>`
    select token as id, budget_duration as duration, budget_reset_at as "resetAt" from "LiteLLM_VerificationToken"
     where budget_duration is not null and budget_reset_at <= ${now.toISOString()}::timestamp
     order by budget_reset_at
     limit 1000`.execute(db);
  return rows;
}

/**
 * Starts the spend of all keys of a budget again at 0, but for those that have a window of their own; their counters with it, which are
 * locked first. What is reserved stays.
 */
export async function clearSpendOfBudget(tx: DatabaseExecutor, budgetId: string): Promise<void> {
  await sql`
    with followers as materialized (
      select token, coalesce(h.key_id, token) as key_id from "LiteLLM_VerificationToken" left join key_hashes h on h.key_hash = token
       where budget_id = ${budgetId} and budget_duration is null
    ), locked as materialized (
      select c.principal_id from limit_counters c join followers f on f.key_id = c.principal_id
       where c.principal_kind = 'key' and ${IS_BUDGET}
       order by ${LOCK_ORDER} for update of c
    ), cleared as (
      update limit_counters c set used = 0 from locked l where c.principal_kind = 'key' and c.principal_id = l.principal_id and ${IS_BUDGET}
    )
    update "LiteLLM_VerificationToken" k set spend = 0 from followers f where k.token = f.token and (select count(*) from locked) >= 0`.execute(
    tx,
  );
}

/** Sets what the key has spent, as LiteLLM reads it, to 0; its counter is the caller's. */
export async function restartKeySpend(tx: DatabaseExecutor, hash: string): Promise<void> {
  await tx.updateTable("LiteLLM_VerificationToken").set({ spend: "0" }).where("token", "=", hash).execute();
}

/** Ends the window of a key's budget; false when somebody else did, or the window was changed meanwhile. */
export async function clearKeySpend(tx: DatabaseExecutor, due: DueBudget, nextResetAt: Date): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update "LiteLLM_VerificationToken" set spend = 0, budget_reset_at = ${nextResetAt.toISOString()}::timestamp
     where token = ${due.id} and budget_reset_at = ${due.resetAt.toISOString()}::timestamp`.execute(tx);
  return numAffectedRows === 1n;
}

/** True where the key table is ours: our engine's migrations made it or were applied to it. Stock LiteLLM looks after its own. */
export async function areKeysOurs(db: DatabaseExecutor): Promise<boolean> {
  const { rows } = await sql<{ ours: boolean }>`
    select to_regclass('"LiteLLM_VerificationToken"') is not null and exists (select from schema_migrations where migration like 'litellm/%') as ours`.execute(
    db,
  );
  return rows[0]?.ours ?? false;
}

/**
 * Deletes keys that expired longer ago than `olderThanMs` and have nothing in flight, with their counters; `limit` at most. Returns
 * how many. What they spent stays in the spend rows and on the ledger.
 */
export async function deleteExpiredKeys(
  db: DatabaseExecutor,
  options: { readonly olderThanMs: number; readonly limit: number },
): Promise<number> {
  const { rows } = await sql`
    with expired as materialized (
      select token, coalesce(h.key_id, token) as key_id from "LiteLLM_VerificationToken" left join key_hashes h on h.key_hash = token
       where expires < (now() - ${options.olderThanMs} * interval '1 millisecond') at time zone 'utc'
       order by expires limit ${options.limit}
    ), counters as (
      select c.principal_id, c.reserved from limit_counters c where c.principal_kind = 'key' and c.principal_id in (select key_id from expired)
       order by c.principal_kind, c.principal_id, c.meter, c.limit_window, c.model, c.window_start for update skip locked
    ), quiet as (
      -- Every counter of the key could be locked, and holds nothing.
      select e.token, e.key_id from expired e
       where (select count(*) from counters c where c.principal_id = e.key_id and c.reserved = 0)
           = (select count(*) from limit_counters c where c.principal_kind = 'key' and c.principal_id = e.key_id)
    ), forgotten as (
      delete from limit_counters c using quiet q where c.principal_kind = 'key' and c.principal_id = q.key_id
    ), lifted as (
      delete from limits l using quiet q where l.principal_kind = 'key' and l.principal_id = q.key_id
    ), ended as (
      delete from "LiteLLM_DeprecatedVerificationToken" f using quiet q where f.active_token_id = q.token
    ), unnamed as (
      delete from key_hashes h using quiet q where h.key_id = q.key_id
    )
    delete from "LiteLLM_VerificationToken" k using quiet q where k.token = q.token
    returning 1`.execute(db);
  return rows.length;
}
