import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { sessionEventsSince } from "./db.ts";

/** Amounts are decimal text, USD. */
export interface ModelCost {
  readonly model: string;
  readonly requests: number;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly spend_usd: string;
  readonly reserved_usd: string;
}

/** By model, the dearest first: events, spend rows without an event, and requests in flight. Each request counts once. */
export async function selectModelCosts(db: DatabaseExecutor, sessionId: string, withSpendLogs: boolean): Promise<readonly ModelCost[]> {
  const unbilled = withSpendLogs
    ? sql`union all
      select spent.model, 1, spent.prompt_tokens, spent.completion_tokens, spent.spend::text::numeric, 0
      from "LiteLLM_SpendLogs" spent
      where spent."user" = ${sessionId} and spent.spend not in ('NaN', 'Infinity', '-Infinity')
        and spent."startTime" >= greatest(
          now() - interval '24 hours',
          (select created_at from gateway_sessions where session_id = ${sessionId}) - interval '1 hour'
        ) at time zone 'utc'
        and not exists (select 1 from billing_event_keys event where event.idempotency_key = 'llm:' || spent.request_id)`
    : sql``;
  const { rows } = await sql<Readonly<Record<keyof ModelCost, string>>>`
    select model, sum(requests) as requests, sum(prompt_tokens) as prompt_tokens, sum(completion_tokens) as completion_tokens,
      sum(spend_usd) as spend_usd, sum(reserved_usd) as reserved_usd
    from (
      select model, 1 as requests, prompt_tokens, completion_tokens, spend_usd, 0::numeric as reserved_usd
      from billing_events where session_id = ${sessionId} and recorded_at >= ${sessionEventsSince(sessionId)}
      ${unbilled}
      union all
      select model, 0, 0, 0, 0, reserved_usd from request_attempts where user_id = ${sessionId}
    ) costs
    group by model order by sum(spend_usd) desc, model`.execute(db);
  // Sums of integers are bigint, which is text until here: tokens of one session do not fit into an integer for ever.
  return rows.map((row) => ({
    ...row,
    requests: Number(row.requests),
    prompt_tokens: Number(row.prompt_tokens),
    completion_tokens: Number(row.completion_tokens),
  }));
}
