import { readFile, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";

export interface BillingFigures {
  readonly machine: string;
  readonly date: string;
  readonly rows: number;
  readonly orgs: number;
  readonly rounds: number;
  readonly bareRowsPerSecond: number;
  readonly keyedRowsPerSecond: number;
  readonly ingestRowsPerSecond: number;
  readonly deliveredRowsPerSecond: number;
  readonly originalRowsPerSecond: number;
  readonly ingestToBare: number;
  readonly ingestToKeyed: number;
  readonly deliveredToOriginal: number;
  readonly autumnCallsPerFlush: number;
  readonly smallHistory: number;
  readonly largeHistory: number;
  readonly steadySmallSeconds: number;
  readonly steadyLargeSeconds: number;
  readonly steadyRatio: number;
  readonly workerMemoryMb: number | undefined;
}

export function describeMachine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim() || "CPU"}, ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.versions.node}, embedded PostgreSQL with fsync`;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

const whole = (value: number): string => Math.round(value).toLocaleString("en-US");

export function describeFigures(figures: BillingFigures): string {
  const { rows, orgs, rounds } = figures;
  return `${figures.date}; ${figures.machine}. ${whole(rows)} spend rows of ${orgs} orgs, median of ${rounds} interleaved rounds.

| measure | result | aim |
|---|---|---|
| limit: bare \`INSERT … SELECT\`, no key, no index | ${whole(figures.bareRowsPerSecond)} rows/s | |
| the same into a table with a unique key | ${whole(figures.keyedRowsPerSecond)} rows/s | |
| spend rows → ledger | ${whole(figures.ingestRowsPerSecond)} rows/s | ≥ 50,000 |
| — of the bare limit | ${(figures.ingestToBare * 100).toFixed(0)} % | ≥ 70 % |
| — of the limit with a key | ${(figures.ingestToKeyed * 100).toFixed(0)} % | |
| spend rows → delivered batches | ${whole(figures.deliveredRowsPerSecond)} rows/s | |
| the original's way (a transaction a row, an HTTP call an event) | ${whole(figures.originalRowsPerSecond)} rows/s | |
| — delivered, in times of it | ${figures.deliveredToOriginal.toFixed(0)} × | ≥ 50 × |
| Autumn calls a flush | ${figures.autumnCallsPerFlush} for ${orgs} active orgs | orgs, not events |
| steady pass over ${whole(figures.smallHistory)} rows | ${(figures.steadySmallSeconds * 1_000).toFixed(0)} ms | |
| steady pass over ${whole(figures.largeHistory)} rows | ${(figures.steadyLargeSeconds * 1_000).toFixed(0)} ms, ${figures.steadyRatio.toFixed(2)} × | ≤ 1.3 × |
| worker memory, most | ${figures.workerMemoryMb ?? "?"} MB | < 200 MB |
`;
}

const START = "<!-- billing: written by scripts/bench/billing -->";
const END = "<!-- billing: end -->";

/** Replaces the billing section of docs/benchmarks.md, or adds it. */
export async function writeSection(figures: BillingFigures): Promise<void> {
  const page = new URL("../../../docs/benchmarks.md", import.meta.url);
  const text = await readFile(page, "utf8").catch(() => "# Benchmarks\n\nEach section is written by the command that it names; run it again to replace it.\n");
  const section = `${START}\n## Billing\n\n\`./scripts/bench-billing.sh --history ${figures.largeHistory} --write\`\n\n${describeFigures(figures)}${END}`;
  const [before, rest] = text.split(START);
  const after = rest?.split(END)[1] ?? "\n";
  await writeFile(page, `${before?.trimEnd()}\n\n${section}${after}`);
}
