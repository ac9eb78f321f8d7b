import type { DatabaseExecutor } from "@proliferate/db";
import type { DecimalText } from "@proliferate/shared/money";
import { type RawBuilder, sql } from "kysely";

/** What spend rows can be summed by. `day` is that of "startTime", in UTC. */
export type SpendGroup = "day" | "api_key" | "team_id" | "user" | "model" | "model_group" | "custom_llm_provider" | "tag";

/** Which rows are summed. */
export interface SpendSumFilter {
  /** Of "startTime": from inclusive, to exclusive. */
  readonly from: Date;
  readonly to: Date;
  readonly keyHash?: string | undefined;
  readonly userId?: string | undefined;
  readonly requestId?: string | undefined;
}

/** The sum of the rows that have these texts; '' where a row has none. */
export type SpendSum<Group extends SpendGroup> = Readonly<Record<Group, string>> & {
  readonly spendUsd: DecimalText;
  readonly requests: number;
  readonly tokens: number;
};

const TEXTS: Readonly<Record<SpendGroup, RawBuilder<string>>> = {
  day: sql`to_char(s."startTime", 'YYYY-MM-DD')`,
  api_key: sql`coalesce(s.api_key, '')`,
  team_id: sql`coalesce(s.team_id, '')`,
  user: sql`coalesce(s."user", '')`,
  model: sql`coalesce(s.model, '')`,
  model_group: sql`coalesce(s.model_group, '')`,
  custom_llm_provider: sql`coalesce(s.custom_llm_provider, '')`,
  tag: sql`t.tag`,
};

/** Of a row with several tags each has all of it, and one without tags is in no sum by tag. */
const TAGS = sql`
      cross join lateral jsonb_array_elements_text(case when jsonb_typeof(s.request_tags) = 'array' then s.request_tags else '[]' end) as t (tag)`;

/**
 * Sums of spend rows by what `groups` names, `limit` groups at most: the dearest first, or in the order of the groups. Exact. Reads the rows
 * of the range by the index on "startTime" (those of one user by theirs), so it costs what the range holds.
 */
export async function sumSpend<Group extends SpendGroup>(
  db: DatabaseExecutor,
  filter: SpendSumFilter,
  groups: readonly [Group, ...Group[]],
  { order, limit }: { readonly order: "dearest" | "groups"; readonly limit: number },
): Promise<readonly SpendSum<Group>[]> {
  const columns = sql.join(groups.map((group) => sql`${TEXTS[group]} as ${sql.ref(group)}`));
  const numbers = sql.join(groups.map((_group, index) => sql.lit(index + 1)));
  const { rows } = await sql<Record<Group, string> & { spend: DecimalText; requests: string; tokens: string }>`
    select ${columns}, trim_scale(sum(s.spend::text::numeric))::text as spend, count(*) as requests, sum(s.total_tokens) as tokens
      from "LiteLLM_SpendLogs" s${groups.includes("tag" as Group) ? TAGS : sql``}
     where s."startTime" >= ${filter.from.toISOString()}::timestamp and s."startTime" < ${filter.to.toISOString()}::timestamp
       ${filter.keyHash === undefined ? sql`` : sql`and s.api_key = ${filter.keyHash}`}
       ${filter.userId === undefined ? sql`` : sql`and s."user" = ${filter.userId}`}
       ${filter.requestId === undefined ? sql`` : sql`and s.request_id = ${filter.requestId}`}
     group by ${numbers}
     order by ${order === "dearest" ? sql`sum(s.spend::text::numeric) desc, ${numbers}` : numbers}
     limit ${limit}`.execute(db);
  return rows.map(({ spend, requests, tokens, ...texts }) => ({
    ...(texts as unknown as Record<Group, string>),
    spendUsd: spend,
    requests: Number(requests),
    tokens: Number(tokens),
  }));
}

/** All of a range in one sum. */
export async function totalSpend(db: DatabaseExecutor, { from, to }: Pick<SpendSumFilter, "from" | "to">): Promise<DecimalText> {
  const { rows } = await sql<{ spend: DecimalText }>`
    select coalesce(trim_scale(sum(spend::text::numeric)), 0)::text as spend from "LiteLLM_SpendLogs"
     where "startTime" >= ${from.toISOString()}::timestamp and "startTime" < ${to.toISOString()}::timestamp`.execute(db);
  return rows[0]?.spend ?? "0";
}
