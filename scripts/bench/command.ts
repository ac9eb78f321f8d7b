import { parseArgs } from "node:util";
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
  let options;
  try {
    options = readOptions(benchmark.counts);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${benchmark.help}`);
    return 2;
  }
  const { json, write, help, counts } = options;
  if (help) return (console.log(benchmark.help), 0);
  const figures = await benchmark.measure(counts, (line) => (json ? console.error(line) : console.log(line)));
  console.log(json ? JSON.stringify(figures) : `\n${benchmark.describe(figures)}`);
  if (write) {
    const { name, title, command } = benchmark.section(figures);
    await writeSection(name, `## ${title}\n\n\`${command}\`\n\n${benchmark.describe(figures)}`);
  }
  return 0;
}

function readOptions<Count extends string>(defaults: Readonly<Record<Count, number>>) {
  const names = Object.keys(defaults) as Count[];
  const flag = { type: "boolean", default: false } as const;
  const { values } = parseArgs({
    options: {
      ...Object.fromEntries(names.map((name) => [name, { type: "string" as const, default: String(defaults[name]) }])),
      json: flag,
      write: flag,
      help: flag,
    },
  });
  const texts = values as Readonly<Record<string, unknown>>;
  const counts = Object.fromEntries(names.map((name) => [name, wholeNumber(name, String(texts[name]))])) as Record<Count, number>;
  return { counts, json: texts["json"] === true, write: texts["write"] === true, help: texts["help"] === true };
}

function wholeNumber(name: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new TypeError(`--${name} must be a whole number from 1, not "${text}"`);
}
