import { join } from "node:path";
import { mkdir } from "node:fs/promises";
import { runScript, wholeNumber } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";
import { type FaultReport, runFaults } from "./fault-run.ts";

const HELP = `The real worker, with either client, while every kind of bad answer comes from the Autumn emulator: silent, slow, cut off,
stalled, dripping, endless, reset before and after the deduction, 500 and 204 after it, 429, 502 pages, 503, 408. Beside them
work organizations whose answers are good. Shown: no batch waits longer than its own organization's back-off, every sum is
exact, the process lives.

  ./scripts/prove-autumn-faults.sh                    ten minutes: five with each client
  ./scripts/prove-autumn-faults.sh --seconds 240      shorter; below that the slowest batches may not end
  ./scripts/prove-autumn-faults.sh --client http      one client alone
  ./scripts/prove-autumn-faults.sh --json             the whole report

Exit status: 0 all of it holds, 1 something does not, 2 wrong options.
`;

const CLIENTS = ["autumn-js", "http"] as const;

interface Options {
  readonly clients: readonly (typeof CLIENTS)[number][];
  readonly secondsEach: number;
  readonly json: boolean;
}

function check(values: { readonly seconds: string; readonly client?: string | undefined; readonly json: boolean }): Options {
  const seconds = wholeNumber("seconds", values.seconds, { from: 10, to: 99_999 });
  const clients = CLIENTS.filter((client) => values.client === undefined || client === values.client);
  if (clients.length === 0) throw new TypeError(`--client must be one of ${CLIENTS.join(", ")}, not "${values.client}"`);
  return { clients, secondsEach: seconds / clients.length, json: values.json };
}

/** Of the time, one half is load; the other may be needed for the back-off of what is spoiled last. */
const LOAD_SHARE = 0.5;

function describe({ client, batches, waits, spoiled, violations }: FaultReport): string {
  const calls = Object.values(spoiled).reduce((sum, count) => sum + count, 0);
  const longest = waits.toSorted((a, b) => b.longestMs - a.longestMs)[0];
  const facts = `${client}: ${batches} batches of ${waits.length} organizations, ${calls} calls spoiled; the longest wait beyond an own back-off was ${longest?.longestMs ?? 0} ms (${longest?.orgId ?? "nobody"})`;
  return [facts, ...violations.map((violation) => `  does not hold: ${violation}`)].join("\n");
}

async function run(options: Options): Promise<number> {
  const folder = await makeTemporaryFolder("faults");
  const reports: FaultReport[] = [];
  for (const client of options.clients) {
    await mkdir(join(folder, client));
    const allMs = options.secondsEach * 1_000;
    const report = await runFaults({
      client,
      loadMs: allMs * LOAD_SHARE,
      settleMs: allMs * (1 - LOAD_SHARE),
      folder: join(folder, client),
      onProgress: (line) => console.error(line),
    });
    reports.push(report);
    console.log(options.json ? JSON.stringify(report, undefined, 2) : describe(report));
  }
  const holds = reports.every((report) => report.violations.length === 0);
  console.log(holds ? "No organization waited for another, every sum is exact, the worker lived." : "Something does not hold.");
  return holds ? 0 : 1;
}

process.exitCode = await runScript({
  help: HELP,
  options: { seconds: { type: "string", default: "600" }, client: { type: "string" }, json: { type: "boolean", default: false } },
  check,
  run,
});
