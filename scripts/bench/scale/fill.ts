import type pg from "pg";
import { COUNTS } from "./backlog.ts";

/** What a database is filled with. Activity is the same at every size, so that growth shows what history costs. */
interface Size {
  readonly spendRows: number;
  readonly keys: number;
  readonly endedSessions: number;
  readonly batches: number;
  readonly orgs: number;
}

/** In the last hour, whatever there is besides. */
export const HOUR_ROWS = 40_000;
/** Spend rows that have no event yet. */
export const NEW_ROWS = 300;
export const LIVE_SESSIONS = 2_000;
export const ACTIVE_ORGS = 1_000;
/** Batches sealed in the last hour, whatever there is besides: some 17 a minute. */
export const HOUR_BATCHES = 1_000;
const HISTORY_MONTHS = 24;
/** As many batches has each org, so that what reads those of one org reads the same at each size. */
const BATCHES_OF_ORG = 40;

/** Of 10 M spend rows: 1 M keys, 1 M ended sessions, 2 M batches, 50,000 orgs. The orgs that spend are there at each size. */
export function sizeOf(spendRows: number): Size {
  const orgs = Math.max(ACTIVE_ORGS, spendRows / 200);
  return { spendRows, keys: spendRows / 10, endedSessions: spendRows / 10, batches: orgs * BATCHES_OF_ORG, orgs };
}

/** When the n-th row began (each interval times a fraction: millions times 700 days are more than an interval holds): 90 % over two years, the rest over the last day, the newest in the last hour. */
const START = `(case when i > $1 - ${HOUR_ROWS} then now() - ($1 - i) * interval '1 hour' / ${HOUR_ROWS}
  when i > $1 * 0.9 then now() - interval '1 hour' - ($1 - ${HOUR_ROWS} - i) * interval '23 hours' / ($1 * 0.1)
  else now() - interval '1 day' - interval '700 days' * (($1 * 0.9 - i) / ($1 * 0.9)) end)`;

/** When the i-th of so many batches was sealed: the newest ones over the last hour, as many at each size; the others over the 700 days before it. */
const sealedAt = (batches: number): string => `(case when i >= ${batches - HOUR_BATCHES}
  then now() - interval '1 hour' * ((${batches} - i) / ${HOUR_BATCHES}::numeric)
  else now() - interval '1 hour' - interval '700 days' * ((${batches - HOUR_BATCHES} - i) / ${batches}::numeric) end)`;

/** The org of the i-th session and key: those that live belong to the orgs that spend. */
const ORG_OF_SESSION = `'org-' || i % case when i <= ${LIVE_SESSIONS} then ${ACTIVE_ORGS} else $orgs end`;
/** The last event of the i-th org. */
const LAST_EVENT = `($1 - ${NEW_ROWS} - ($1 - ${NEW_ROWS} - i) % $orgs)`;

/**
 * Fills a migrated database by set-based statements, without triggers: they would count and check row by row what is made consistent
 * here. Returns the moment that was "now" meanwhile. Each org's events follow each other, its batches cover them range by range; a few orgs have open events, due batches, live keys.
 */
export async function fill(client: pg.Client, size: Size, say: (line: string) => void): Promise<Date> {
  // One moment for all steps: an event names the start of its spend row to the millisecond.
  const now = new Date();
  const { spendRows, keys, batches, orgs } = size;
  const eachBatch = Math.ceil(spendRows / (batches / orgs));
  const step = (name: string, text: string): Promise<void> =>
    runStep(
      client,
      name,
      text.replaceAll("$1", String(spendRows)).replaceAll("$orgs", String(orgs)).replaceAll("now()", `timestamptz '${now.toISOString()}'`),
      say,
    );
  await client.query(
    "set session_replication_role = replica; set synchronous_commit = off; set maintenance_work_mem = '512MB'; set work_mem = '256MB'",
  );
  await step(
    "partitions",
    `do $$ declare m timestamp; begin for n in 1 .. ${HISTORY_MONTHS} loop m := date_trunc('month', now() at time zone 'UTC') - make_interval(months => n);
    execute format('create table if not exists %I partition of billing_events for values from (%L) to (%L)', 'billing_events_' || to_char(m, 'YYYY_MM'), m at time zone 'UTC', (m + interval '1 month') at time zone 'UTC'); end loop; end $$`,
  );
  await step(
    "orgs",
    `insert into billing_accounts (org_id, balance_credits, last_batch_sequence, last_event_id, sealed_event_id, open_event_count, open_credits, open_since, gate_state, gate_plan, gate_low_credits, gate_low_told, gate_overdraft_credits)
    select 'org-' || i, 10000, ${batches / orgs}, ${LAST_EVENT}, case when i < ${ACTIVE_ORGS} then ${LAST_EVENT} - 1 else ${LAST_EVENT} end, case when i < ${ACTIVE_ORGS} then 1 else 0 end, case when i < ${ACTIVE_ORGS} then 0.3 else 0 end, now() - interval '2 hours', 'active', 'paid', 100, false, 500 from generate_series(0, $orgs - 1) i;
    insert into org_gates (org_id, state, credits_per_spend_usd, reconciled_at, remote_granted_credits) select 'org-' || i, 'active', 300, now(), 10000 from generate_series(0, $orgs - 1) i;
    insert into "LiteLLM_TeamTable" (team_id) select 'org-' || i from generate_series(0, $orgs - 1) i`,
  );
  await fillCallers(step, size);
  await step(
    "spend rows",
    `insert into "LiteLLM_SpendLogs" (request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime", model, "user", team_id, session_id, status)
    select 'r' || i, 'acompletion', 'key-' || 1 + i % ${keys}, 0.001, 1500, 1000, 500, s at time zone 'utc', s at time zone 'utc' + interval '2 seconds', 'm', 'session-' || 1 + i % ${keys}, 'org-' || i % $orgs, 'session-' || 1 + i % ${keys}, 'success'
    from (select i, ${START} as s from generate_series(1, $1) i) rows`,
  );
  await step(
    "event keys",
    `insert into billing_event_keys (idempotency_key, org_id, event_id, recorded_at, source_start, source_spend)
    select 'llm:r' || i, 'org-' || i % $orgs, i, s, (s at time zone 'utc')::timestamp(3), 0.001 from (select i, ${START} as s from generate_series(1, $1 - ${NEW_ROWS}) i) rows`,
  );
  await step(
    "events",
    `insert into billing_events (event_id, idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens, spend_usd, markup, credits_per_usd, credits, occurred_at, recorded_at)
    select i, 'llm:r' || i, 'org-' || i % $orgs, 'r' || i, 'session-' || 1 + i % ${keys}, 'key-' || 1 + i % ${keys}, 'm', 1000, 500, 0.001, 3, 100, 0.3, s, s from (select i, ${START} as s from generate_series(1, $1 - ${NEW_ROWS}) i) rows;
    select setval('billing_event_ids', $1)`,
  );
  await step(
    "batches",
    `insert into settlement_batches (batch_id, org_id, sequence, idempotency_key, event_count, spend_usd, events_credits, carry_in, carry_out, credits, state, sealed_at, next_attempt_at, attempt_count, first_sent_at, delivered_at, deducted_credits, after_event_id, through_event_id, oldest_event_at)
    select md5('b' || i)::uuid, 'org-' || i % $orgs, 1 + i / $orgs, 'pb:' || i, 5, 0.005, 1.5, 0, 0, 1.5, case when due then 'sealed' else 'delivered' end, s, s, 1, case when due then null else s end, case when due then null else s end, case when due then null else 1.5 end,
      (i / $orgs) * ${eachBatch}::bigint, (1 + i / $orgs) * ${eachBatch}::bigint, ${START.replaceAll(/\bi\b/g, `(i / $orgs * ${eachBatch}::bigint)`)}
    from (select i, i >= ${batches - ACTIVE_ORGS / 2} as due, ${sealedAt(batches)} as s from generate_series(0, ${batches - 1}) i) rows;
    insert into settlement_attempts (batch_id, attempt, idempotency_key, started_at, finished_at, outcome) select batch_id, 1, idempotency_key, sealed_at, sealed_at, 'delivered' from settlement_batches where state = 'delivered';
    ${COUNTS}`,
  );
  await step(
    "deployment, marks",
    `insert into billing_deployment (rates_seen) values (hashtextextended('300', 1)) on conflict (singleton) do update set rates_seen = excluded.rates_seen; insert into pass_marks (name, mark) values ('spend-recent', now() - interval '30 seconds')`,
  );
  await client.query("reset session_replication_role");
  await step("vacuum", "vacuum (analyze)");
  return now;
}

/** Keys with their counters, and the sessions that hold them. */
async function fillCallers(step: (name: string, text: string) => Promise<void>, { keys, endedSessions }: Size): Promise<void> {
  await step(
    "keys",
    `insert into "LiteLLM_VerificationToken" (token, key_name, user_id, team_id, expires, budget_duration, budget_reset_at)
    select 'key-' || i, 'sk-...', 'session-' || i, ${ORG_OF_SESSION}, now() at time zone 'utc' + case when i <= ${LIVE_SESSIONS} then interval '6 hours' else interval '1 hour' - i * interval '20 days' / ${keys} end,
      case when i % 100 = 0 then '30d' end, case when i % 100 = 0 then now() at time zone 'utc' + interval '10 days' end from generate_series(1, ${keys}) i;
    insert into limit_counters (principal_kind, principal_id) select 'key', 'key-' || i from generate_series(1, ${keys}) i union all select 'team', 'org-' || i from generate_series(0, $orgs - 1) i`,
  );
  await step(
    "sessions",
    `insert into gateway_sessions (session_id, org_id, state, model, key_hash, expires_at, created_at, ended_at, keys_gone_at)
    select 'session-' || i, ${ORG_OF_SESSION}, case when i <= ${LIVE_SESSIONS} then 'active' else 'ended' end, 'm', 'key-' || i, now() + interval '6 hours',
      now() - interval '1 hour' - i * interval '80 days' / ${endedSessions}, case when i > ${LIVE_SESSIONS} then now() - i * interval '80 days' / ${endedSessions} end,
      case when i > ${LIVE_SESSIONS} + 50 then now() end from generate_series(1, ${endedSessions + LIVE_SESSIONS}) i;
    insert into key_reservations (session_id, key_generation, org_id, key_hash, budget_usd, applied_usd, created_at)
    select 'session-' || i, 1, ${ORG_OF_SESSION}, 'key-' || i, 1, 1, now() - interval '1 hour' from generate_series(1, ${LIVE_SESSIONS}) i`,
  );
}

/** How often a step that takes long says that it goes on: whoever waits sees that it is alive. */
const SIGN_OF_LIFE_MS = 30_000;

async function runStep(client: pg.Client, name: string, text: string, say: (line: string) => void): Promise<void> {
  const startedAt = performance.now();
  const seconds = (): string => ((performance.now() - startedAt) / 1_000).toFixed(1);
  const signs = setInterval(() => say(`  ${name}: at it for ${seconds()} s`), SIGN_OF_LIFE_MS);
  try {
    await client.query(text);
  } finally {
    clearInterval(signs);
  }
  say(`  ${name}: ${seconds()} s`);
}
