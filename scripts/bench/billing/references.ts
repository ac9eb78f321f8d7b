import type pg from "pg";
import type { BenchDatabase } from "./bench-server.ts";
import { AUTUMN_KEY } from "./bench-server.ts";

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1_000;
};

/** The limit: the columns of an event from the same rows into an empty table without a key, an index or a check. Seconds. */
export async function insertBare({ client }: BenchDatabase): Promise<number> {
  await client.query("drop table if exists bench_bare");
  await client.query(`create table bench_bare (idempotency_key text, org_id text, request_id text, session_id text, key_hash text, model text, prompt_tokens integer,
    completion_tokens integer, spend_usd numeric, markup numeric, credits_per_usd numeric, credits numeric, occurred_at timestamptz)`);
  return timed(() => client.query(`insert into bench_bare ${SELECT_EVENTS}`));
}

/** The same with what no ledger can do without: a unique key. Seconds. */
export async function insertKeyed({ client }: BenchDatabase): Promise<number> {
  await client.query("drop table if exists bench_keyed");
  await client.query("create table bench_keyed (like bench_bare, primary key (idempotency_key))");
  return timed(() => client.query(`insert into bench_keyed ${SELECT_EVENTS} on conflict do nothing`));
}

/**
 * What the storage of this ledger takes, without any thought: the same rows into empty tables of its own shape, with its keys,
 * indexes and checks, in one transaction. Nothing is looked up, compared, priced by card, or added to an account. Seconds.
 */
export async function insertIntoLedgerShape({ client }: BenchDatabase): Promise<number> {
  await client.query("drop table if exists bench_keys, bench_events");
  await client.query(
    "create table bench_keys (like billing_event_keys including all); create table bench_events (like billing_events including all)",
  );
  const seconds = await timed(() =>
    client.query(`begin;
      insert into bench_keys (idempotency_key, org_id, event_id, recorded_at, source_start, source_spend)
        select 'llm:' || request_id, team_id, row_number() over (), now(), "startTime", spend from "LiteLLM_SpendLogs";
      insert into bench_events (idempotency_key, org_id, request_id, session_id, key_hash, model, prompt_tokens, completion_tokens, spend_usd, markup,
        credits_per_usd, credits, occurred_at, event_id, recorded_at)
        select *, row_number() over (), now() from (${SELECT_EVENTS}) events;
      commit`),
  );
  await client.query("drop table bench_keys, bench_events");
  return seconds;
}

const SELECT_EVENTS = `
  select 'llm:' || request_id, team_id, request_id, "user", api_key, model, prompt_tokens, completion_tokens, spend::text::numeric, 3, 100,
    spend::text::numeric * 3 * 100, "startTime" at time zone 'UTC' from "LiteLLM_SpendLogs"`;

/** The original's way: each row in a transaction of its own (event, balance), then one HTTP call for each event. Seconds. */
export async function billOneByOne(
  { client }: BenchDatabase,
  options: { readonly rows: number; readonly autumnUrl: string; readonly round: number },
): Promise<number> {
  await client.query("drop table if exists bench_original, bench_balances");
  await client.query(
    "create table bench_original (like bench_bare, primary key (idempotency_key)); create table bench_balances (org_id text primary key, balance numeric not null default 0)",
  );
  await client.query(`insert into bench_balances select distinct team_id from "LiteLLM_SpendLogs"`);
  const { rows } = await client.query<{ request_id: string; team_id: string; spend: string }>(
    `select request_id, team_id, spend::text as spend from "LiteLLM_SpendLogs" limit $1`,
    [options.rows],
  );
  return timed(async () => {
    for (const row of rows) {
      await billOne(client, row);
      await deductOne(options, row);
    }
  });
}

async function billOne(
  client: pg.Client,
  row: { readonly request_id: string; readonly team_id: string; readonly spend: string },
): Promise<void> {
  await client.query("begin");
  await client.query(
    `insert into bench_original (idempotency_key, org_id, request_id, spend_usd, credits) values ($1, $2, $3, $4::numeric, $4::numeric * 300) on conflict do nothing`,
    [`llm:${row.request_id}`, row.team_id, row.request_id, row.spend],
  );
  await client.query("update bench_balances set balance = balance - $2::numeric * 300 where org_id = $1", [row.team_id, row.spend]);
  await client.query("commit");
}

async function deductOne(
  { autumnUrl, round }: { readonly autumnUrl: string; readonly round: number },
  row: { readonly request_id: string; readonly team_id: string; readonly spend: string },
): Promise<void> {
  const response = await fetch(`${autumnUrl}/v1/balances.track`, {
    method: "POST",
    headers: {
      "authorization": `Bearer ${AUTUMN_KEY}`,
      "content-type": "application/json",
      "x-api-version": "2.3.0",
      "idempotency-key": `original/${round}/${row.request_id}`,
    },
    body: JSON.stringify({ customer_id: row.team_id, feature_id: "credits", value: Number(row.spend) * 300, overage_behavior: "overflow" }),
  });
  if (!response.ok) throw new Error(`the emulator answered ${response.status}: ${await response.text()}`);
  await response.arrayBuffer();
}
