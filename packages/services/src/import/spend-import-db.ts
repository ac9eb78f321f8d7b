/** Statements on our mirror of a source that is read over REST: LiteLLM's own tables, in a schema of ours. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { type ApiSpendRow, TOTAL_CAP } from "./litellm-spend-api.ts";

/** The mirror's schema; it takes the place of LITELLM_DB_SCHEMA for whoever reads the source. */
export const MIRROR_SCHEMA = "litellm_imported";

/** Writes rows into the mirror: new ones in, changed ones over. Returns how many that were. Idempotent. A row without an amount is no row of nothing: its amount is NaN, which waits in review. */
export async function upsertSpendRows(db: DatabaseExecutor, rows: readonly ApiSpendRow[]): Promise<number> {
  const result = await sql`
    insert into "LiteLLM_SpendLogs" as stored (request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime", model,
      model_group, custom_llm_provider, "user", cache_hit, team_id, end_user, session_id, status)
    select distinct on (r.request_id) r.request_id, coalesce(r.call_type, ''), coalesce(r.api_key, ''), coalesce(r.spend, 'NaN')::float8, coalesce(r.total_tokens, 0),
      coalesce(r.prompt_tokens, 0), coalesce(r.completion_tokens, 0), r."startTime" at time zone 'UTC', coalesce(r."endTime", r."startTime") at time zone 'UTC',
      coalesce(r.model, ''), r.model_group, r.custom_llm_provider, r."user", r.cache_hit, r.team_id, r.end_user, r.session_id, r.status
    from json_to_recordset(${JSON.stringify(rows)}::json) as r (request_id text, call_type text, api_key text, spend text, total_tokens int, prompt_tokens int,
      completion_tokens int, "startTime" timestamptz, "endTime" timestamptz, model text, model_group text, custom_llm_provider text, "user" text, cache_hit text,
      team_id text, end_user text, session_id text, status text)
    on conflict (request_id) do update set spend = excluded.spend, team_id = excluded.team_id, total_tokens = excluded.total_tokens,
      prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens
    where (stored.spend, stored.team_id, stored.total_tokens) is distinct from (excluded.spend, excluded.team_id, excluded.total_tokens)`.execute(
    db,
  );
  return Number(result.numAffectedRows ?? 0n);
}

/** When the newest request of the mirror began; null where it is empty. */
export async function readMirrorEnd(db: DatabaseExecutor): Promise<Date | null> {
  const result = await sql<{ newest: Date | null }>`select max("startTime") at time zone 'UTC' as newest from "LiteLLM_SpendLogs"`.execute(
    db,
  );
  return result.rows[0]?.newest ?? null;
}

/** Of a window, both bounds within it, as the source's API counts: at most {@link TOTAL_CAP} rows are counted. */
export async function countMirrorRows(db: DatabaseExecutor, window: { readonly from: Date; readonly to: Date }): Promise<number> {
  const result = await sql<{ rows: number }>`
    select count(*)::integer as rows from (
      select from "LiteLLM_SpendLogs" where "startTime" >= ${window.from.toISOString()}::timestamptz at time zone 'UTC'
        and "startTime" <= ${window.to.toISOString()}::timestamptz at time zone 'UTC' limit ${TOTAL_CAP}) counted`.execute(db);
  return result.rows[0]?.rows ?? 0;
}

/** Keys of rows without a team, of requests that began at `from` or later, of which the mirror knows no team either; at most `limit`. */
export async function listKeysWithoutTeam(
  db: DatabaseExecutor,
  options: { readonly from: Date; readonly limit: number },
): Promise<readonly string[]> {
  const result = await sql<{ api_key: string }>`
    select distinct s.api_key from "LiteLLM_SpendLogs" s
    where s."startTime" >= ${options.from.toISOString()}::timestamptz at time zone 'UTC' and coalesce(s.team_id, '') = '' and s.api_key <> ''
      and not exists (select from "LiteLLM_VerificationToken" t where t.token = s.api_key and t.team_id <> '')
    order by s.api_key limit ${options.limit}`.execute(db);
  return result.rows.map((row) => row.api_key);
}

/** Notes a key's team in the mirror, where the owner of a row is looked up. Idempotent. */
export async function upsertKeyTeam(db: DatabaseExecutor, keyHash: string, teamId: string): Promise<void> {
  await sql`
    insert into "LiteLLM_VerificationToken" (token, team_id) values (${keyHash}, ${teamId})
    on conflict (token) do update set team_id = excluded.team_id`.execute(db);
}
