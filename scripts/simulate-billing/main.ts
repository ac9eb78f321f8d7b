import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { migrate } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";

import { MUTATIONS } from "@proliferate/services/test/simulation/mutations";
import { createSchedule, describeMoves, type Schedule } from "@proliferate/services/test/simulation/schedule";
import { shrink } from "@proliferate/services/test/simulation/shrink";
import { simulate } from "@proliferate/services/test/simulation/simulation";
import { openSimulationDatabase } from "@proliferate/services/test/simulation/simulation-database";
import pg from "pg";
import { runScript, wholeNumber } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import type { LaneReport } from "./lane.ts";

const HELP = `Simulates billing on a real PostgreSQL: workers of the real code, stopped at every step, crashed, cut off and
delayed as a seed says, against a model of Autumn with all its faults; the ledger is checked after each step.

  ./scripts/simulate-billing.sh                     1,000 seeds
  ./scripts/simulate-billing.sh --seeds 10000       the full run
  ./scripts/simulate-billing.sh --seed 42           one seed again; if it fails: its shortest failing schedule and its trace
  ./scripts/simulate-billing.sh --from 5000         seeds from there on
  ./scripts/simulate-billing.sh --lanes 2           processes at once (default: cores + 1)
  ./scripts/simulate-billing.sh --seed 42 --trace   every step, also of a seed that passes
  ./scripts/simulate-billing.sh --mutation "…"      with a planted defect (with --seed); --mutation list names them

Exit status: 0 all seeds passed, 1 a seed failed, 2 wrong options.
`;

const SEEDS = { from: 0, to: 999_999_999_999_999 } as const;

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly seed: number | undefined;
  readonly lanes: number;
  readonly trace: boolean;
  readonly mutation: string | undefined;
}

/** A server for this run alone, gone with it; `createDatabase` makes a migrated copy. */
async function startServer(): Promise<{ createDatabase(): Promise<string>; stop(): Promise<void> }> {
  const folder = await makeTemporaryFolder("simulation");
  const server = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false });
  await migrate({ connectionString: server.connectionString });
  let count = 0;
  return {
    createDatabase: async () => {
      count += 1;
      const name = `simulation_${count}`;
      const url = new URL(server.connectionString);
      url.pathname = "/postgres";
      const client = new pg.Client({ connectionString: url.toString() });
      await client.connect();
      await client.query(`create database ${name} template app`);
      await client.end();
      url.pathname = `/${name}`;
      return url.toString();
    },
    stop: () => server.stop(),
  };
}

type Server = Awaited<ReturnType<typeof startServer>>;

/** Gives out seeds to processes until they are used up or one fails. Returns the failing reports, by seed. */
async function runLanes(
  server: Server,
  options: { readonly from: number; readonly seeds: number; readonly lanes: number },
): Promise<readonly LaneReport[]> {
  const startedAt = performance.now();
  const end = options.from + options.seeds;
  const failures: LaneReport[] = [];
  let next = options.from;
  let done = 0;
  let steps = 0;
  const progress = (): void => {
    const seconds = (performance.now() - startedAt) / 1_000;
    console.log(
      `${done} of ${options.seeds} seeds, ${steps} steps, ${seconds.toFixed(0)} s, ${(done / seconds).toFixed(1)} seeds/s, ${failures.length} failed`,
    );
  };
  const timer = setInterval(progress, 10_000);
  const lane = async (): Promise<void> => {
    const child = fork(fileURLToPath(new URL("lane.ts", import.meta.url)), [await server.createDatabase()]);
    const giveNext = (): void => void child.send(next < end && failures.length === 0 ? next++ : "end");
    child.on("message", (report: LaneReport | "ready") => {
      if (report !== "ready") {
        done += 1;
        steps += report.steps;
        if (report.violation !== undefined) {
          failures.push(report);
          console.log(`seed ${report.seed} fails: ${report.violation}`);
        }
      }
      giveNext();
    });
    const status = await new Promise<number | null>((resolve) => child.once("exit", resolve));
    if (status !== 0) throw new Error(`a simulating process ended with status ${status}`);
  };
  await Promise.all(Array.from({ length: Math.min(options.lanes, options.seeds) }, lane));
  clearInterval(timer);
  progress();
  return failures.toSorted((a, b) => a.seed - b.seed);
}

/** Runs one seed; a failing one is shrunk and shown. Returns whether it passed. */
async function explainSeed(
  server: Server,
  seed: number,
  options: { readonly trace: boolean; readonly mutation?: string | undefined },
): Promise<boolean> {
  const database = await openSimulationDatabase(await server.createDatabase());
  const run = (schedule: Schedule) => simulate(database, schedule, MUTATIONS[options.mutation ?? ""]);
  try {
    const schedule = createSchedule(seed, MUTATIONS[options.mutation ?? ""]?.oftener);
    const result = await run(schedule);
    if (result.violation === undefined) {
      if (options.trace) console.log(result.trace.join("\n"));
      console.log(`seed ${seed} passes: ${schedule.moves.length} moves, ${result.steps} steps`);
      return true;
    }
    console.log(`seed ${seed} fails: ${result.violation}\nshrinking ${schedule.moves.length} moves …`);
    const kind = kindOf(result.violation);
    const shortest = await shrink(schedule, async (candidate) => kindOf((await run(candidate)).violation) === kind);
    const shown = await run(shortest);
    console.log(
      `${shortest.moves.length} moves still fail: ${shown.violation}\n\n${describeMoves(shortest.moves)}\n\ntrace:\n${shown.trace.join("\n")}\n\nagain: ./scripts/simulate-billing.sh --seed ${seed}`,
    );
    return false;
  } finally {
    await database.close();
  }
}

/** A violation without its ids and amounts: a shorter schedule must break the same promise, not just any. */
const kindOf = (violation: string | undefined): string | undefined =>
  violation?.split(";")[0]?.replaceAll(/pb:\S+|[0-9a-f-]{36}|org_\w+|acme\.io|-?\d[\d.e-]*/g, "…");

async function play(options: Options): Promise<number> {
  if (options.mutation === "list") return (console.log(Object.keys(MUTATIONS).join("\n")), 0);
  const server = await startServer();
  try {
    if (options.seed !== undefined) return (await explainSeed(server, options.seed, options)) ? 0 : 1;
    const [failure] = await runLanes(server, options);
    if (!failure) return 0;
    await explainSeed(server, failure.seed, options);
    return 1;
  } finally {
    await server.stop();
  }
}

process.exitCode = await runScript({
  help: HELP,
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    lanes: { type: "string", default: String(availableParallelism() + 1) },
    trace: { type: "boolean", default: false },
    mutation: { type: "string" },
  },
  check: ({ seeds, from, seed, lanes, trace, mutation }): Options => {
    if (mutation !== undefined && mutation !== "list" && !(mutation in MUTATIONS))
      throw new TypeError(`there is no mutation "${mutation}"; --mutation list names them`);
    return {
      seeds: wholeNumber("seeds", seeds),
      from: wholeNumber("from", from, SEEDS),
      seed: seed === undefined ? undefined : wholeNumber("seed", seed, SEEDS),
      lanes: wholeNumber("lanes", lanes, { to: 999 }),
      trace,
      mutation,
    };
  },
  run: play,
});
