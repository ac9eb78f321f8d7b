import { collectDefaultMetrics, Gauge, Registry } from "prom-client";

/** One measured quantity with its labelled values, as of now. */
export interface MetricFamily {
  /** With unit last: `llm_gateway_billing_oldest_unsettled_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly samples: readonly MetricSample[];
}

export interface MetricSample {
  readonly labels?: Readonly<Record<string, string>>;
  /** Decimal text is rounded to a double here, for the graph; nothing is computed from it. */
  readonly value: number | string;
}

/** Something that is asked for its metrics when they are looked at. */
export interface MetricSource {
  /** Becomes the label of `llm_gateway_metrics_source_up`. */
  readonly name: string;
  collect(): Promise<readonly MetricFamily[]>;
  /** What was collected is served again for so long, however often it is asked for. Default 10 s. */
  readonly maxAgeMs?: number;
}

export interface MetricsPage {
  readonly contentType: string;
  /** The whole page in Prometheus' text format. Never throws: a source that fails is left out and its `…_source_up` is 0. */
  text(): Promise<string>;
}

/** The metrics of one process: those of Node itself, and those of its sources. */
export function createMetricsPage(sources: readonly MetricSource[]): MetricsPage {
  const ownMetrics = new Registry();
  collectDefaultMetrics({ register: ownMetrics });
  const cached = sources.map((source) => ({ name: source.name, collect: collectAtMostEvery(source.maxAgeMs ?? 10_000, () => source.collect()) }));
  return {
    contentType: ownMetrics.contentType,
    text: async () => {
      const page = new Registry();
      const up = new Gauge({ name: "llm_gateway_metrics_source_up", help: "1 when the source could be read, 0 when not", labelNames: ["source"], registers: [page] });
      await Promise.all(
        cached.map(async ({ name, collect }) => {
          const families = await collect().catch(() => undefined);
          up.set({ source: name }, families === undefined ? 0 : 1);
          families?.forEach((family) => addFamily(page, family));
        }),
      );
      return `${await page.metrics()}\n${await ownMetrics.metrics()}`;
    },
  };
}

function addFamily(registry: Registry, family: MetricFamily): void {
  const labelNames = [...new Set(family.samples.flatMap((sample) => Object.keys(sample.labels ?? {})))];
  const gauge = new Gauge({ name: family.name, help: family.help, labelNames, registers: [registry] });
  for (const { labels = {}, value } of family.samples) gauge.set({ ...labels }, Number(value));
}

/** Callers at the same time share one collection; a failed one is not kept. */
function collectAtMostEvery<Value>(maxAgeMs: number, collect: () => Promise<Value>): () => Promise<Value> {
  let current: { readonly value: Promise<Value>; readonly startedAt: number } | undefined;
  return async () => {
    const now = performance.now();
    if (current !== undefined && now - current.startedAt < maxAgeMs) return current.value;
    const mine = { value: collect(), startedAt: now };
    current = mine;
    mine.value.catch(() => {
      if (current === mine) current = undefined;
    });
    return mine.value;
  };
}
