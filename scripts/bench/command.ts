import { runScript, wholeNumber } from "../command-line.ts";
import { writeSection } from "./figures.ts";

interface Benchmark<Count extends string, Figures> {
  readonly help: string;
  /** Options that take a whole number from 1, with their defaults. */
  readonly counts: Readonly<Record<Count, number>>;
  /** Progress goes to `say`, a line at a time. */
  measure(counts: Readonly<Record<Count, number>>, say: (line: string) => void): Promise<Figures>;
  /** As Markdown, for the screen and for the page. */
  describe(figures: Figures): string;
  /** Of docs/benchmarks.md; `command` makes these figures again. */
  section(figures: Figures): { readonly name: string; readonly title: string; readonly command: string };
}

/** A benchmark's command line: reads the options, measures, prints (`--json`), writes the page (`--write`). Returns the exit status. */
export async function runBenchmark<Count extends string, Figures>(benchmark: Benchmark<Count, Figures>): Promise<number> {
  const names = Object.keys(benchmark.counts) as Count[];
  const flag = { type: "boolean", default: false } as const;
  return runScript({
    help: benchmark.help,
    options: {
      ...Object.fromEntries(names.map((name) => [name, { type: "string" as const, default: String(benchmark.counts[name]) }])),
      json: flag,
      write: flag,
    },
    check: (values) => {
      const texts = values as Readonly<Record<string, unknown>>;
      const counts = Object.fromEntries(names.map((name) => [name, wholeNumber(name, String(texts[name]))])) as Record<Count, number>;
      return { counts, json: texts["json"] === true, write: texts["write"] === true };
    },
    run: async (options) => {
      await measure(benchmark, options);
      return 0;
    },
  });
}

async function measure<Count extends string, Figures>(
  benchmark: Benchmark<Count, Figures>,
  { counts, json, write }: { readonly counts: Readonly<Record<Count, number>>; readonly json: boolean; readonly write: boolean },
): Promise<void> {
  const figures = await benchmark.measure(counts, (line) => (json ? console.error(line) : console.log(line)));
  console.log(json ? JSON.stringify(figures) : `\n${benchmark.describe(figures)}`);
  if (!write) return;
  const { name, title, command } = benchmark.section(figures);
  await writeSection(name, `## ${title}\n\n\`${command}\`\n\n${benchmark.describe(figures)}`);
}
