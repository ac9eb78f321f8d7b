import { readFile, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";

/** What a figure was seen on; figures of two machines say nothing of each other. */
export function describeMachine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim() || "CPU"}, ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.versions.node}, embedded PostgreSQL with fsync`;
}

/** The value below which `share` (0 to 1) of the values lie; 0 of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(position)] ?? 0, sorted[Math.ceil(position)] ?? 0];
  return low + (high - low) * (position - Math.floor(position));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** For people: no decimals, thousands apart. */
export const whole = (value: number): string => Math.round(value).toLocaleString("en-US");

/** Replaces the section `name` of docs/benchmarks.md, or adds it. */
export async function writeSection(name: string, text: string): Promise<void> {
  const [start, end] = [`<!-- ${name}: written by scripts/bench/${name} -->`, `<!-- ${name}: end -->`];
  const page = new URL("../../docs/benchmarks.md", import.meta.url);
  const old = await readFile(page, "utf8").catch(
    () => "# Benchmarks\n\nEach section is written by the command that it names; run it again to replace it.\n",
  );
  const [before = "", rest] = old.split(start);
  const after = rest?.split(end)[1] ?? "\n";
  await writeFile(page, `${before.trimEnd()}\n\n${start}\n${text.trim()}\n${end}${after}`);
}
