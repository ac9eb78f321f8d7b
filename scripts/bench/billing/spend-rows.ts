import type pg from "pg";

interface SpendRowsOptions {
  readonly count: number;
  /** Makes the ids of one load unlike those of another. */
  readonly prefix: string;
  readonly orgs: number;
  /** The starts lie between so many hours ago… */
  readonly fromHours: number;
  /** …and so many. */
  readonly toHours: number;
}

export const orgName = (index: number): string => `org_${index}`;

/** Writes spend rows as an engine does: every column that it fills, sixteen digits of spend, ids of 28 characters in no order. */
export async function insertSpendRows(client: pg.Client, options: SpendRowsOptions): Promise<void> {
  await client.query(
    `insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime", model, model_group,
       custom_llm_provider, "user", metadata, team_id, session_id, status)
     select 'msg_' || left(md5($1 || '/' || n), 24), 'anthropic_messages', md5((n % 500)::text), random() * 0.2, 1500, 1000, 500,
       began, began + interval '4 seconds', 'anthropic/claude-sonnet-4-5-20250929', 'claude-sonnet-4-5', 'anthropic', 'session_' || n % 2000,
       '{"usage_object": {"input_tokens": 1000, "output_tokens": 500}}', 'org_' || n % $3::int, 'session_' || n % 2000, 'success'
     from (select n, (now() at time zone 'UTC') - ($5::float8 + ($4::float8 - $5::float8) * (1 - n::float8 / $2::int)) * interval '1 hour' as began
       from generate_series(1, $2::int) n) rows`,
    [options.prefix, options.count, options.orgs, options.fromHours, options.toHours],
  );
}

/** Source and ledger; the keys of the events go with the events. A new deployment, so that the sink takes no batch for one of the last round. */
export async function emptyLedger(client: pg.Client): Promise<void> {
  await client.query(
    `truncate "LiteLLM_SpendLogs", billing_events, spend_reviews, billing_accounts, settlement_batches, settlement_attempts cascade`,
  );
  await client.query("delete from billing_deployment");
}
