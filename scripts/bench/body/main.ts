import { FactCollector } from "../../../apps/llm-proxy/src/body/fact-collector.ts";
import { JsonScanner } from "../../../apps/llm-proxy/src/body/json-scanner.ts";
import { anthropicMessages } from "../../../apps/llm-proxy/src/dialects/anthropic-messages.ts";
import { runBenchmark } from "../command.ts";
import { describeMachine, whole } from "../figures.ts";
import { BODIES } from "./bodies.ts";

const HELP = `Measures how fast the scanner of the LLM proxy reads bodies, against JSON.parse of the same bytes (which makes a tree, and no facts),
and how long one slice of a large body keeps the process. Best of some rounds, on one core.

  ./scripts/bench-body.sh                  half a minute
  ./scripts/bench-body.sh --rounds 20
  ./scripts/bench-body.sh --json | --write
`;
/** As `scan-turns.ts` cuts them. */
const SLICE_BYTES = 128 * 1024;

interface BodyFigures {
  readonly name: string;
  readonly megabytes: number;
  readonly scanMbPerSecond: number;
  readonly parseMbPerSecond: number;
  readonly slowestSliceMs: number;
}

/** Of the fastest round: the others measure what else the machine does. */
function bestMs(rounds: number, task: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round += 1) {
    const startedAt = performance.now();
    task();
    best = Math.min(best, performance.now() - startedAt);
  }
  return best;
}

/** The longest slice. */
function scan(bytes: Buffer): number {
  const facts = new FactCollector(bytes.length);
  const scanner = new JsonScanner(bytes, anthropicMessages.body, facts);
  let longestMs = 0;
  for (let isOver = false; !isOver;) {
    const startedAt = performance.now();
    isOver = scanner.advance(SLICE_BYTES);
    longestMs = Math.max(longestMs, performance.now() - startedAt);
  }
  facts.facts();
  return longestMs;
}

function measureBody(name: string, bytes: Buffer, rounds: number): BodyFigures {
  const megabytes = bytes.length / 1e6;
  const most = Math.max(rounds, Math.ceil(20 / megabytes));
  let slowestSliceMs = Number.POSITIVE_INFINITY;
  const scanMs = bestMs(most, () => (slowestSliceMs = Math.min(slowestSliceMs, scan(bytes))));
  const parseMs = bestMs(most, () => JSON.parse(bytes.toString("utf8")));
  return {
    name,
    megabytes,
    scanMbPerSecond: (megabytes * 1_000) / scanMs,
    parseMbPerSecond: (megabytes * 1_000) / parseMs,
    slowestSliceMs,
  };
}

interface Figures {
  readonly machine: string;
  readonly bodies: readonly BodyFigures[];
}

function describeFigures({ machine, bodies }: Figures): string {
  return [
    `${machine}.`,
    "",
    "| body | MB | scanner MB/s | JSON.parse MB/s | ratio | longest slice ms |",
    "|---|---|---|---|---|---|",
    ...bodies.map(
      ({ name, megabytes, scanMbPerSecond, parseMbPerSecond, slowestSliceMs }) =>
        `| ${name} | ${megabytes.toFixed(2)} | ${whole(scanMbPerSecond)} | ${whole(parseMbPerSecond)} | ${(scanMbPerSecond / parseMbPerSecond).toFixed(2)} | ${slowestSliceMs.toFixed(1)} |`,
    ),
  ].join("\n");
}

process.exitCode = await runBenchmark({
  help: HELP,
  counts: { rounds: 5 },
  measure: async ({ rounds }, say) => {
    const bodies = Object.entries(BODIES).map(([name, make]) => {
      const figures = measureBody(name, make(), rounds);
      say(`${name}: ${whole(figures.scanMbPerSecond)} MB/s`);
      return figures;
    });
    return { machine: describeMachine(), bodies };
  },
  describe: describeFigures,
  section: () => ({ name: "body", title: "Reading bodies", command: "./scripts/bench-body.sh --write" }),
});
