import { join } from "node:path";
import { connectSession, migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import pg from "pg";
import { makeTemporaryFolder } from "../../temporary-folder.ts";
import { runBenchmark } from "../command.ts";
import { BEFORE } from "./before.ts";
import { fill, readNewestStart, sizeOf } from "./fill.ts";
import { type Measured, measure, statement } from "./recorder.ts";
import { describeFigures, type ScaleFigures } from "./report.ts";
import { filled, STATEMENTS } from "./statements.ts";

const HELP = `Fills a database of its own and has PostgreSQL explain every statement that runs by itself or for each request: time, rows and
pages read, indexes used; and the same at a tenth of the rows, so that growth shows.

  ./scripts/bench-scale.sh                      10 M spend rows: some 20 GB of disk, and 15 minutes on two cores
  ./scripts/bench-scale.sh --rows 1000000       a tenth of it
  ./scripts/bench-scale.sh --json               figures as one line of JSON
  ./scripts/bench-scale.sh --write              replaces the section in docs/benchmarks.md
`;
const SMALLEST = 100_000;

type Say = (line: string) => void;
interface Filled {
  readonly seconds: number;
  readonly now: ReadonlyMap<string, Measured>;
  readonly before: ReadonlyMap<string, Measured>;
}

/** A database of so many rows, gone again when it was measured: two of them would not fit beside each other. */
async function measureAt(server: string, spendRows: number, say: Say): Promise<Filled> {
  const name = `scale_${spendRows}`;
  await onServer(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const connectionString = url.toString();
  await migrate({ connectionString });
  const client = await connectSession({ connectionString, applicationName: "bench" });
  say(`${spendRows} spend rows`);
  const startedAt = performance.now();
  await fill(client, sizeOf(spendRows), say);
  const seconds = (performance.now() - startedAt) / 1_000;
  filled.at = await readNewestStart(client);
  const now = new Map<string, Measured>();
  for (const { name: statementName, run } of STATEMENTS) {
    now.set(statementName, await measure(client, run));
    say(`  ${statementName}: ${now.get(statementName)?.milliseconds.toFixed(2)} ms, ${now.get(statementName)?.buffers} pages`);
  }
  const before = new Map<string, Measured>();
  for (const [statementName, text] of Object.entries(BEFORE)) before.set(statementName, await measure(client, statement(text)));
  await client.end();
  await onServer(server, `drop database ${name} with (force)`);
  return { seconds, now, before };
}

async function onServer(server: string, text: string): Promise<void> {
  const admin = new pg.Client({ connectionString: server });
  await admin.connect();
  await admin.query(text);
  await admin.end();
}

async function measureAll(counts: Readonly<Record<"rows", number>>, say: Say): Promise<ScaleFigures> {
  const rows = Math.max(counts.rows, SMALLEST * 10);
  const folder = await makeTemporaryFolder("bench-scale");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });
  try {
    const small = await measureAt(postgres.connectionString, rows / 10, say);
    const large = await measureAt(postgres.connectionString, rows, say);
    const statements = STATEMENTS.map((one) => {
      const [smallFigures, largeFigures] = [small.now.get(one.name), large.now.get(one.name)];
      if (smallFigures === undefined || largeFigures === undefined) throw new Error(`${one.name} was not measured`);
      return {
        statement: { name: one.name, caller: one.caller, idleCallsAMinute: one.idleCallsAMinute },
        small: smallFigures,
        large: largeFigures,
        before: large.before.get(one.name),
      };
    });
    return { spendRows: rows, fillSeconds: large.seconds, statements };
  } finally {
    await postgres.stop();
  }
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
