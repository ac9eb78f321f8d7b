/** One line of a metrics page. */
export interface MetricSeries {
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What Prometheus has from one look at its targets. */
export interface Scrape {
  readonly takenAtMs: number;
  readonly series: readonly MetricSeries[];
}

/** Reads Prometheus' text format, with the label `instance` that Prometheus adds. Throws an Error on a line that is none of it. */
export function parseMetricsPage(text: string, instance?: string): readonly MetricSeries[] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, metric, labels = "", value] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (metric === undefined) throw new Error(`not a line of a metrics page: "${line}"`);
      return { metric, labels: { ...parseLabels(labels), ...(instance && { instance }) }, value: Number(value) };
    });
}

function parseLabels(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    [...text.matchAll(/([a-zA-Z_]\w*)=("(?:[^"\\]|\\.)*")/g)].map(([, name = "", value = '""']) => [name, JSON.parse(value) as string]),
  );
}
