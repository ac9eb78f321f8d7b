import { join } from "node:path";
import { migrate, openDatabase } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { runScript, wholeNumber } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { type FuzzOptions, type FuzzResult, fuzz, type Played } from "./fuzz-run.ts";
import { type FuzzStack, openFuzzStack } from "./fuzz-stack.ts";
import type { Choices } from "./random.ts";
import type { Mark } from "./request-cases.ts";

interface FuzzCommand {
  /** `./scripts/fuzz-….sh`. */
  readonly script: string;
  readonly help: string;
  /** What plays the cases, once the stack stands. */
  readonly prepare: (stack: FuzzStack) => Promise<(choices: Choices, mark: Mark) => Promise<Played>>;
}

interface Options extends Pick<FuzzOptions, "count" | "first" | "seed" | "atOnce"> {
  readonly isJson: boolean;
}

const OPTIONS_HELP = `
  --count N        cases; default 100,000
  --seed N         makes the same cases again; default: another one each time, which is said
  --case N         the case of this number alone, as a failure names it
  --at-once N      how many are under way at one time; default 16
  --json           the result as one line of JSON on standard output

Exit status: 0 nothing was found; 1 something was, or proxy, provider or PostgreSQL could not be started; 2 wrong options.
`;

async function run({ script, prepare }: FuzzCommand, { isJson, ...options }: Options): Promise<number> {
  const startedAt = performance.now();
  const folder = await makeTemporaryFolder("fuzz");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres"), durable: false });
  try {
    await migrate({ connectionString: postgres.connectionString });
    const db = openDatabase({ connectionString: postgres.connectionString, maxConnections: 2 });
    const stack = await openFuzzStack({ connectionString: postgres.connectionString, db });
    try {
      for (const name of stack.unanswered) console.error(`of ${name} no sample is answered: its streams are not played`);
      const perSecond = (done: number): number => Math.round((done * 1_000) / (performance.now() - startedAt));
      const onProgress = (done: number, { failures }: FuzzResult): void => {
        if (done % 5_000 === 0)
          console.error(`${done} of ${options.count} cases, ${failures.length} failures, ${perSecond(done)} a second`);
      };
      const play = await prepare(stack);
      const result = await fuzz(stack, { ...options, onProgress }, play);
      tell(script, result, isJson, perSecond(result.cases));
      return result.failures.length === 0 ? 0 : 1;
    } finally {
      await stack.stop();
      await db.destroy();
    }
  } finally {
    await postgres.stop();
  }
}

function tell(script: string, result: FuzzResult, isJson: boolean, perSecond: number): void {
  const { seed, cases, statuses, reachedProvider, rows, failures } = result;
  if (isJson) console.log(JSON.stringify({ ...result, perSecond }));
  else {
    const counted = Object.entries(statuses).map(([status, count]) => `${status === "0" ? "closed" : status}: ${count}`);
    console.log(`${cases} cases of seed ${seed}, ${perSecond} a second. Answers ${counted.join(", ")}.`);
    console.log(`${reachedProvider} calls reached the provider, ${rows} rows were closed. ${failures.length} failures.`);
  }
  for (const { case: number, why, made } of failures) {
    console.error(`case ${number} ${why}\n  made: ${made.join("; ").slice(0, 600)}\n  again: ${script} --seed ${seed} --case ${number}`);
  }
}

/** The command line of both fuzzers. Returns the exit status. */
export async function fuzzCommand(command: FuzzCommand): Promise<number> {
  return runScript({
    help: `${command.help.trimEnd()}\n${OPTIONS_HELP}`,
    options: {
      "count": { type: "string", default: "100000" },
      "seed": { type: "string" },
      "case": { type: "string" },
      "at-once": { type: "string", default: "16" },
      "json": { type: "boolean", default: false },
    },
    check: ({ count, seed, "case": only, "at-once": atOnce, json }): Options => {
      if (only !== undefined && seed === undefined) throw new TypeError("--case needs the --seed that it was of.");
      return {
        count: only === undefined ? wholeNumber("count", count) : 1,
        first: only === undefined ? 0 : wholeNumber("case", only, { from: 0 }),
        seed: seed === undefined ? Math.floor(Math.random() * 2 ** 31) : wholeNumber("seed", seed, { from: 0, to: 2 ** 31 }),
        atOnce: wholeNumber("at-once", atOnce, { to: 200 }),
        isJson: json,
      };
    },
    run: (options) => run(command, options),
  });
}
