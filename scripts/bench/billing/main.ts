import { runBenchmark } from "../command.ts";
import { describeMachine, median } from "../figures.ts";
import { startBenchServer } from "./bench-server.ts";
import { billAll, billHistory, measureSteadyPass, measureWorkerMemory, readWalBytes } from "./measures.ts";
import { billOneByOne, insertBare, insertIntoLedgerShape, insertKeyed } from "./references.ts";
import { type BillingFigures, describeFigures } from "./report.ts";
import { emptyLedger, insertSpendRows, orgName } from "./spend-rows.ts";

const HELP = `Measures billing against references in the same run: a bare INSERT … SELECT of the same rows (into one table, into one
with a unique key, into tables of the ledger's own shape), and the original's way (a transaction a row, an HTTP call an event). Interleaved rounds, medians, durable PostgreSQL.

  ./scripts/bench-billing.sh                        about 3 minutes
  ./scripts/bench-billing.sh --history 10000000     the steady pass over 10 M rows, too (some 15 GB of disk and 10 minutes)
  ./scripts/bench-billing.sh --rows 200000 --rounds 3 --orgs 200
  ./scripts/bench-billing.sh --json                 figures as one line of JSON
  ./scripts/bench-billing.sh --write                replaces the section in docs/benchmarks.md
`;
const SMALL_HISTORY = 100_000;
const RECENT_ROWS = 50_000;
const FRESH_ROWS = 1_000;
const STEADY_ROUNDS = 7;
const ORIGINAL_ROWS = 400;

interface Options {
  readonly rows: number;
  readonly rounds: number;
  readonly orgs: number;
  readonly history: number;
  readonly say: (line: string) => void;
}

type Throughput = Pick<
  BillingFigures,
  | "bareRowsPerSecond"
  | "keyedRowsPerSecond"
  | "shapedRowsPerSecond"
  | "ingestRowsPerSecond"
  | "deliveredRowsPerSecond"
  | "originalRowsPerSecond"
  | "bareWalBytes"
  | "ingestWalBytes"
  | "autumnCallsPerFlush"
  | "workerMemoryMb"
>;

type Server = Awaited<ReturnType<typeof startBenchServer>>;

async function measureThroughput(server: Server, { rows, rounds, orgs, say }: Options): Promise<Throughput> {
  const database = await server.createDatabase("throughput");
  const bare: number[] = [];
  const keyed: number[] = [];
  const shaped: number[] = [];
  const bareWal: number[] = [];
  const ingestWal: number[] = [];
  const ingest: number[] = [];
  const delivered: number[] = [];
  const original: number[] = [];
  const calls: number[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    await emptyLedger(database.client);
    await insertSpendRows(database.client, { count: rows, prefix: `r${round}`, orgs, fromHours: 20, toHours: 0.1 });
    await database.client.query("vacuum analyze");
    const atStart = await readWalBytes(database);
    bare.push(rows / (await insertBare(database)));
    bareWal.push(((await readWalBytes(database)) - atStart) / rows);
    keyed.push(rows / (await insertKeyed(database)));
    shaped.push(rows / (await insertIntoLedgerShape(database)));
    const pass = await billAll(database, server.sink, rows);
    ingestWal.push(pass.ingestWalBytes / rows);
    ingest.push(rows / pass.ingestSeconds);
    delivered.push(rows / (pass.ingestSeconds + pass.settleSeconds));
    calls.push(pass.calls);
    original.push(ORIGINAL_ROWS / (await billOneByOne(database, { rows: ORIGINAL_ROWS, autumnUrl: server.autumnUrl, round })));
    say(
      `round ${round}: bare ${Math.round(bare.at(-1) ?? 0)}, keyed ${Math.round(keyed.at(-1) ?? 0)}, own shape ${Math.round(shaped.at(-1) ?? 0)}, ledger ${Math.round(ingest.at(-1) ?? 0)}, delivered ${Math.round(delivered.at(-1) ?? 0)}, original ${Math.round(original.at(-1) ?? 0)} rows/s, ${pass.calls} calls`,
    );
  }
  await emptyLedger(database.client);
  await insertSpendRows(database.client, { count: rows, prefix: "memory", orgs, fromHours: 20, toHours: 0.1 });
  const workerMemoryMb = await measureWorkerMemory(database, server.autumnUrl);
  say(`worker: ${workerMemoryMb ?? "?"} MB at most`);
  return {
    bareRowsPerSecond: median(bare),
    keyedRowsPerSecond: median(keyed),
    shapedRowsPerSecond: median(shaped),
    bareWalBytes: median(bareWal),
    ingestWalBytes: median(ingestWal),
    ingestRowsPerSecond: median(ingest),
    deliveredRowsPerSecond: median(delivered),
    originalRowsPerSecond: median(original),
    autumnCallsPerFlush: median(calls),
    workerMemoryMb,
  };
}

/** The same recent traffic over a short and a long history, one pass here, one there. */
async function measureSteady(
  server: Server,
  { history, orgs, say }: Options,
): Promise<Pick<BillingFigures, "steadySmallSeconds" | "steadyLargeSeconds">> {
  const small = await server.createDatabase("small_history");
  const large = await server.createDatabase("large_history");
  for (const [database, count] of [
    [small, SMALL_HISTORY],
    [large, history],
  ] as const) {
    for (let done = 0; done < count; done += 500_000) {
      await insertSpendRows(database.client, {
        count: Math.min(500_000, count - done),
        prefix: `h${done / 500_000}`,
        orgs,
        fromHours: 4_000 - done / 10_000,
        toHours: 3_999 - done / 10_000,
      });
    }
    await insertSpendRows(database.client, { count: RECENT_ROWS, prefix: "recent", orgs, fromHours: 23, toHours: 0.1 });
    await database.client.query("analyze");
    const seconds = await billHistory(database);
    say(`history of ${count} rows: billed at ${Math.round((count + RECENT_ROWS) / seconds)} rows/s`);
  }
  const times = { small: [] as number[], large: [] as number[] };
  for (let round = 0; round <= STEADY_ROUNDS; round += 1) {
    const pass = { fresh: FRESH_ROWS, prefix: `s${round}`, orgs };
    const [smallSeconds, largeSeconds] = [await measureSteadyPass(small, pass), await measureSteadyPass(large, pass)];
    // The first pass of each warms its pages up.
    if (round === 0) continue;
    times.small.push(smallSeconds);
    times.large.push(largeSeconds);
  }
  return { steadySmallSeconds: median(times.small), steadyLargeSeconds: median(times.large) };
}

async function measure(options: Options): Promise<BillingFigures> {
  const { rows, orgs, rounds, history } = options;
  const server = await startBenchServer(Array.from({ length: orgs }, (_, index) => orgName(index)));
  try {
    const throughput = await measureThroughput(server, options);
    const steady = await measureSteady(server, options);
    return {
      machine: describeMachine(),
      date: new Date().toISOString().slice(0, 10),
      rows,
      orgs,
      rounds,
      smallHistory: SMALL_HISTORY,
      largeHistory: history,
      ...throughput,
      ...steady,
      ingestToBare: throughput.ingestRowsPerSecond / throughput.bareRowsPerSecond,
      ingestToKeyed: throughput.ingestRowsPerSecond / throughput.keyedRowsPerSecond,
      ingestToShaped: throughput.ingestRowsPerSecond / throughput.shapedRowsPerSecond,
      deliveredToOriginal: throughput.deliveredRowsPerSecond / throughput.originalRowsPerSecond,
      steadyRatio: steady.steadyLargeSeconds / steady.steadySmallSeconds,
    };
  } finally {
    await server.stop();
  }
}

process.exitCode = await runBenchmark({
  help: HELP,
  counts: { rows: 200_000, rounds: 3, orgs: 200, history: 1_000_000 },
  measure: (counts, say) => measure({ ...counts, say }),
  describe: describeFigures,
  section: ({ rows, rounds, largeHistory }) => ({
    name: "billing",
    title: "Billing",
    command: `./scripts/bench-billing.sh --rows ${rows} --rounds ${rounds} --history ${largeHistory} --write`,
  }),
});
