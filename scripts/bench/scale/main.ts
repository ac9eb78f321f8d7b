import { statfs } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { connectSession, type DatabaseClient, migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import pg from "pg";
import { makeTemporaryFolder } from "../../temporary-folder.ts";
import { runBenchmark } from "../command.ts";
import { BACKLOG_BATCHES, FOLLOWS_BACKLOG, makeBacklog } from "./backlog.ts";
import { BEFORE } from "./before.ts";
import { fill, sizeOf } from "./fill.ts";
import { type Measured, measure, measureBeside, statement } from "./recorder.ts";
import { describeFigures, type ScaleFigures, type StatementFigures } from "./report.ts";
import { filled, type ScaleStatement, STATEMENTS } from "./statements.ts";

const HELP = `Fills a database of its own and has PostgreSQL explain every statement that runs by itself or for each request: time, rows and
pages read, indexes used; and the same at a tenth of the rows, so that growth shows.

  ./scripts/bench-scale.sh                      10 M spend rows: some 15 GB of disk (24 GB must be free), and 15 minutes on two cores
  ./scripts/bench-scale.sh --rows 1000000       a tenth of it
  ./scripts/bench-scale.sh --json               figures as one line of JSON
  ./scripts/bench-scale.sh --write              replaces the section in docs/benchmarks.md
`;
const SMALLEST = 100_000;
/** With indexes, and some for what filling leaves in the write-ahead log. */
const BYTES_A_ROW = 2_000;
const BYTES_BESIDE = 4 * 2 ** 30;

/** What statements before left in tables that others read, as they are rolled back: of their indexes, too, which a vacuum of few rows leaves out. */
const CLEAN_UP = "vacuum (index_cleanup on) billing_accounts, org_gates, settlement_batches, key_reservations, kept_counts";

type Say = (line: string) => void;
interface Filled {
  readonly client: pg.Client;
  /** What is new in it is new at this moment. */
  readonly at: Date;
  readonly seconds: number;
  readonly bytes: number;
}

/** A database of so many rows, and a session in it. */
async function fillAt(server: string, spendRows: number, say: Say): Promise<Filled> {
  const name = `scale_${spendRows}`;
  await onServer(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const connectionString = url.toString();
  await migrate({ connectionString });
  const client = await connectSession({ connectionString, applicationName: "bench" });
  say(`${spendRows} spend rows`);
  const startedAt = performance.now();
  const at = await fill(client, sizeOf(spendRows), say);
  const [seconds, bytes] = [(performance.now() - startedAt) / 1_000, await readSize(client)];
  say(`  ${Math.round(bytes / 2 ** 20)} MB in ${Math.round(seconds)} s`);
  return { client, at, seconds, bytes };
}

async function readSize(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>("select pg_database_size(current_database())::text as bytes");
  return Number(rows[0]?.bytes);
}

/** Refuses to begin what would fill the disk: half an hour later, under whatever else is on it. */
async function checkSpace(folder: string, spendRows: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const [free, needed] = [bavail * bsize, spendRows * BYTES_A_ROW + BYTES_BESIDE];
  if (free < needed) throw new Error(`${spendRows} rows need ${toGigabytes(needed)} GB of disk, and ${folder} has ${toGigabytes(free)} GB`);
}
const toGigabytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(0);

async function onServer(server: string, text: string): Promise<void> {
  const admin = new pg.Client({ connectionString: server });
  await admin.connect();
  await admin.query(text);
  await admin.end();
}

async function measureAll(counts: Readonly<Record<"rows", number>>, say: Say): Promise<ScaleFigures> {
  const rows = Math.max(counts.rows, SMALLEST * 10);
  const folder = await makeTemporaryFolder("bench-scale");
  await checkSpace(folder, rows);
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });
  try {
    const small = await fillAt(postgres.connectionString, rows / 10, say);
    const large = await fillAt(postgres.connectionString, rows, say);
    const load = loadavg()[0] ?? 0;
    const statements: StatementFigures[] = [];
    for (const one of STATEMENTS) statements.push(await measureStatement(one, small, large, say));
    say(`${BACKLOG_BATCHES} batches due`);
    await makeBacklog(large.client);
    const backlog = new Map<string, Measured>();
    for (const one of STATEMENTS.filter(({ name }) => FOLLOWS_BACKLOG.includes(name))) {
      const { name } = one;
      backlog.set(name, await measure(large.client, workIn(large, one).work));
      say(`  ${name}: ${backlog.get(name)?.milliseconds.toFixed(2)} ms`);
    }
    const withBacklog = statements.map((one) => ({ ...one, backlog: backlog.get(one.statement.name) }));
    await Promise.all([small.client.end(), large.client.end()]);
    return {
      spendRows: rows,
      fillSeconds: large.seconds,
      bytes: large.bytes,
      load: Math.max(load, loadavg()[0] ?? 0),
      statements: withBacklog,
    };
  } finally {
    await postgres.stop();
  }
}

/** The statement as it is asked at the moment up to which a database was filled, however long the other one took. */
const workIn = ({ client, at }: Filled, { run }: ScaleStatement) => ({
  client,
  work: async (db: DatabaseClient): Promise<unknown> => {
    filled.at = at;
    return run(db);
  },
});

async function measureStatement(one: ScaleStatement, small: Filled, large: Filled, say: Say): Promise<StatementFigures> {
  for (const { client } of [small, large]) await client.query(CLEAN_UP);
  const [smallFigures, largeFigures] = await measureBeside([small, large].map((database) => workIn(database, one)));
  if (smallFigures === undefined || largeFigures === undefined) throw new Error(`${one.name} was not measured`);
  say(`  ${one.name}: ${largeFigures.milliseconds.toFixed(2)} ms, ${largeFigures.rows} rows, ${largeFigures.buffers} pages`);
  const text = BEFORE[one.name];
  const before = text === undefined ? undefined : await measure(large.client, statement(text));
  return {
    statement: { name: one.name, caller: one.caller, idleCallsAMinute: one.idleCallsAMinute },
    small: smallFigures,
    large: largeFigures,
    before,
    backlog: undefined,
  };
}

process.exitCode = await runBenchmark({
  help: HELP,
  counts: { rows: 10_000_000 },
  measure: measureAll,
  describe: describeFigures,
  section: (figures: ScaleFigures) => ({
    name: "scale",
    title: "As tables grow",
    command: `./scripts/bench-scale.sh --rows ${figures.spendRows} --write`,
  }),
});
