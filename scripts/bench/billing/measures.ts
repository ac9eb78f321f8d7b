import { setTimeout as delay } from "node:timers/promises";
import type { SettlementSink } from "@proliferate/services/sinks";
import { settle } from "@proliferate/services/settlement";
import { syncSpend } from "@proliferate/services/billing";
import { startWorkerProcess } from "../../../apps/worker/test/worker-process.ts";
import { peakMemoryMb } from "../process-stats.ts";
import { AUTUMN_KEY, type BenchDatabase } from "./bench-server.ts";
import { insertSpendRows } from "./spend-rows.ts";

const RATE = { markup: "3", creditsPerUsd: "100" };

interface BillingPass {
  readonly ingestSeconds: number;
  readonly settleSeconds: number;
  /** Written to PostgreSQL's log for the ledger. */
  readonly ingestWalBytes: number;
  readonly batches: number;
  /** Calls of the sink. */
  readonly calls: number;
}

/** From spend rows to the ledger, and from there to delivered batches; throws unless every row came through. */
export async function billAll({ db, client }: BenchDatabase, sink: SettlementSink, rows: number): Promise<BillingPass> {
  let calls = 0;
  const counting: SettlementSink = { name: sink.name, deliver: (delivery) => ((calls += 1), sink.deliver(delivery)) };
  const walAtStart = await readWalBytes({ client });
  const startedAt = performance.now();
  const { events } = await syncSpend(db, { rate: RATE });
  const ingestSeconds = (performance.now() - startedAt) / 1_000;
  const ingestWalBytes = (await readWalBytes({ client })) - walAtStart;
  const ingestedAt = performance.now();
  const { delivered } = await settle(db, { sink: counting });
  const settledAt = performance.now();
  const { rows: left } = await client.query<{ open: string; undelivered: string }>(
    "select (select sum(open_event_count) from billing_accounts) as open, (select count(*) from settlement_batches where state <> 'delivered') as undelivered",
  );
  if (events !== rows || left[0]?.open !== "0" || left[0]?.undelivered !== "0")
    throw new Error(`${events} of ${rows} rows were billed; left: ${JSON.stringify(left[0])}`);
  return { ingestSeconds, ingestWalBytes, settleSeconds: (settledAt - ingestedAt) / 1_000, batches: delivered, calls };
}

/** Bytes that the server has written to its log so far. */
export async function readWalBytes({ client }: Pick<BenchDatabase, "client">): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as bytes");
  return Number(rows[0]?.bytes ?? 0);
}

/** A pass that finds `fresh` new rows among recent ones, over whatever history there is. Seconds. */
export async function measureSteadyPass(
  { db, client }: BenchDatabase,
  options: { readonly fresh: number; readonly prefix: string; readonly orgs: number },
): Promise<number> {
  await insertSpendRows(client, { count: options.fresh, prefix: options.prefix, orgs: options.orgs, fromHours: 0.01, toHours: 0 });
  const startedAt = performance.now();
  const { events } = await syncSpend(db, { rate: RATE });
  const seconds = (performance.now() - startedAt) / 1_000;
  if (events !== options.fresh) throw new Error(`the steady pass billed ${events} of ${options.fresh} rows`);
  return seconds;
}

/** Bills the history, of any age. Seconds. */
export async function billHistory({ db, client }: BenchDatabase): Promise<number> {
  const startedAt = performance.now();
  await syncSpend(db, { rate: RATE, fullSweep: true });
  const seconds = (performance.now() - startedAt) / 1_000;
  await client.query("vacuum analyze");
  return seconds;
}

/** The most memory that a real worker takes while it works a backlog off, in MB; undefined where the system does not tell. */
export async function measureWorkerMemory({ client, connectionString }: BenchDatabase, autumnUrl: string): Promise<number | undefined> {
  const worker = await startWorkerProcess({
    DATABASE_URL: connectionString,
    AUTUMN_API_KEY: AUTUMN_KEY,
    AUTUMN_API_URL: autumnUrl,
    LLM_SYNC_INTERVAL_MS: "200",
    OUTBOX_INTERVAL_MS: "500",
  });
  try {
    const deadline = performance.now() + 120_000;
    for (;;) {
      const { rows } = await client.query<{ is_done: boolean }>(`
        select (select count(*) from billing_event_keys) >= (select count(*) from "LiteLLM_SpendLogs")
          and not exists (select from billing_accounts where open_event_count > 0) and not exists (select from settlement_batches where state <> 'delivered') as is_done`);
      if (rows[0]?.is_done) break;
      if (performance.now() > deadline) throw new Error("the worker did not work its backlog off in two minutes");
      await delay(200);
    }
    return await peakMemoryMb(worker.child.pid);
  } finally {
    await worker.end("SIGTERM");
  }
}
