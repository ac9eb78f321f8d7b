import type { DatabaseExecutor, Placeholders, SpendLogTable } from "@proliferate/db";
import { type Insertable, type RawBuilder, type Selectable, sql } from "kysely";

/** Every statement on LiteLLM's spend table. */

/** A complete row: every column that LiteLLM writes, so that no reader meets a NULL that it does not know. Times are ISO 8601 in UTC. */
export type SpendLogRow = Readonly<Required<Insertable<SpendLogTable>>>;

export type StoredSpendLog = Selectable<SpendLogTable>;

/** All columns of a row, in one order. */
const COLUMNS = Object.keys({
  api_base: true,
  api_key: true,
  cache_hit: true,
  cache_key: true,
  call_type: true,
  completion_tokens: true,
  completionStartTime: true,
  custom_llm_provider: true,
  end_user: true,
  endTime: true,
  litellm_call_id: true,
  metadata: true,
  model: true,
  model_group: true,
  model_id: true,
  organization_id: true,
  prompt_tokens: true,
  request_duration_ms: true,
  request_id: true,
  request_tags: true,
  requester_ip_address: true,
  session_id: true,
  spend: true,
  startTime: true,
  status: true,
  team_id: true,
  total_tokens: true,
  user: true,
} satisfies Record<keyof SpendLogRow, true>) as (keyof SpendLogRow)[];

/**
 * `insert into … select … from <source>`: writes the row once for each row of the common table expression `source`, so
 * that it is written exactly if what it stands for happened in the same statement.
 */
export function insertSpendLogFrom(row: SpendLogRow | Placeholders<SpendLogRow>, source: string): RawBuilder<unknown> {
  const values = COLUMNS.map((column) => sql`${row[column]}`);
  return sql`insert into "LiteLLM_SpendLogs" (${sql.join(COLUMNS.map((column) => sql.ref(column)))}) select ${sql.join(values)} from ${sql.ref(source)}`;
}

export async function findSpendLog(db: DatabaseExecutor, requestId: string): Promise<StoredSpendLog | undefined> {
  return db.selectFrom("LiteLLM_SpendLogs").selectAll().where("request_id", "=", requestId).executeTakeFirst() as Promise<
    StoredSpendLog | undefined
  >;
}

interface SpendLogFilter {
  /** Bounds on "startTime", both inclusive, as LiteLLM has them. */
  readonly from: Date;
  readonly to: Date;
  readonly teamId?: string | undefined;
  readonly userId?: string | undefined;
  readonly keyHash?: string | undefined;
  readonly requestId?: string | undefined;
  readonly status?: string | undefined;
}

interface SpendLogOrder {
  readonly column: "startTime" | "endTime" | "spend" | "total_tokens";
  readonly direction: "asc" | "desc";
}

interface SpendLogPage {
  readonly rows: readonly StoredSpendLog[];
  readonly total: number;
}

/** One page; `page` counts from 1. Ties are ordered by request_id, so that pages do not overlap. */
export async function listSpendLogs(
  db: DatabaseExecutor,
  filter: SpendLogFilter,
  order: SpendLogOrder,
  paging: { readonly page: number; readonly size: number },
): Promise<SpendLogPage> {
  let matching = db
    .selectFrom("LiteLLM_SpendLogs")
    .where("startTime", ">=", filter.from.toISOString() as never)
    .where("startTime", "<=", filter.to.toISOString() as never);
  if (filter.teamId !== undefined) matching = matching.where("team_id", "=", filter.teamId);
  if (filter.userId !== undefined) matching = matching.where("user", "=", filter.userId);
  if (filter.keyHash !== undefined) matching = matching.where("api_key", "=", filter.keyHash);
  if (filter.requestId !== undefined) matching = matching.where("request_id", "=", filter.requestId);
  if (filter.status !== undefined) matching = matching.where("status", "=", filter.status);
  const { total } = await matching.select(sql<string>`count(*)`.as("total")).executeTakeFirstOrThrow();
  const rows = await matching
    .selectAll()
    .orderBy(order.column, order.direction)
    .orderBy("request_id", order.direction)
    .limit(paging.size)
    .offset((paging.page - 1) * paging.size)
    .execute();
  return { rows: rows as readonly StoredSpendLog[], total: Number(total) };
}

/** The newest rows that match, `limit` at most; by the key of a row, by the index of a user, or else back through time from `to`. */
export async function listNewestSpendLogs(
  db: DatabaseExecutor,
  filter: Partial<Pick<SpendLogFilter, "from" | "to" | "keyHash" | "userId" | "requestId">>,
  limit: number,
): Promise<readonly StoredSpendLog[]> {
  let matching = db.selectFrom("LiteLLM_SpendLogs").selectAll();
  if (filter.from !== undefined) matching = matching.where("startTime", ">=", filter.from.toISOString() as never);
  if (filter.to !== undefined) matching = matching.where("startTime", "<", filter.to.toISOString() as never);
  if (filter.userId !== undefined) matching = matching.where("user", "=", filter.userId);
  if (filter.keyHash !== undefined) matching = matching.where("api_key", "=", filter.keyHash);
  if (filter.requestId !== undefined) matching = matching.where("request_id", "=", filter.requestId);
  const rows = await matching.orderBy("startTime", "desc").orderBy("request_id", "desc").limit(limit).execute();
  return rows as readonly StoredSpendLog[];
}

/** Which rows may be priced anew. */
export interface RepriceFilter {
  /** Of "startTime": from inclusive, to exclusive. */
  readonly from: Date;
  readonly to: Date;
  /** As spend rows name it: `anthropic/claude-sonnet-5`. */
  readonly model?: string | undefined;
  readonly requestId?: string | undefined;
  /** Only rows of which a part had no price. */
  readonly unknownOnly?: boolean | undefined;
}

/** A row with what a correction row of it says, if there is one. */
export type RepriceableRow = StoredSpendLog & { readonly corrected_usd: string | null };

/**
 * Rows that keep what their provider reported of the whole answer, in order of start and id, after the given one: a page of
 * an operator's command, which reads no more of the table than its range.
 */
export async function listRepriceable(
  db: DatabaseExecutor,
  filter: RepriceFilter,
  after: { readonly startTime: Date; readonly requestId: string } | undefined,
  limit: number,
): Promise<readonly RepriceableRow[]> {
  let rows = db
    .selectFrom("LiteLLM_SpendLogs as s")
    .leftJoin("LiteLLM_SpendLogs as c", (join) => join.on("c.request_id", "=", sql<string>`s.request_id || ':correction'`))
    .selectAll("s")
    .select("c.spend as corrected_usd")
    .where("s.startTime", ">=", filter.from.toISOString() as never)
    .where("s.startTime", "<", filter.to.toISOString() as never)
    .where("s.request_id", "not like", "%:correction")
    .where(sql<boolean>`jsonb_typeof(s.metadata->'provider_usage') = 'object' and s.metadata->>'estimated' = 'false'`);
  if (filter.model !== undefined) rows = rows.where("s.model", "=", filter.model);
  if (filter.requestId !== undefined) rows = rows.where("s.request_id", "=", filter.requestId);
  if (filter.unknownOnly) rows = rows.where(sql<boolean>`s.metadata->'unknown_usage' is not null`);
  if (after)
    rows = rows.where(sql<boolean>`(s."startTime", s.request_id) > (${after.startTime.toISOString()}::timestamp, ${after.requestId})`);
  return (await rows
    .orderBy("s.startTime")
    .orderBy("s.request_id")
    .limit(limit)
    .execute()) as readonly unknown[] as readonly RepriceableRow[];
}

/** False until LiteLLM's schema is migrated; stock LiteLLM does that itself when it first starts. */
export async function hasSpendLogs(db: DatabaseExecutor): Promise<boolean> {
  const { rows } = await sql<{ present: boolean }>`select to_regclass('"LiteLLM_SpendLogs"') is not null as present`.execute(db);
  return rows[0]?.present === true;
}
