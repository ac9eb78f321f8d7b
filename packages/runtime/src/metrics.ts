import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** What counts in a process that is more than a look at its state. */
export { Counter, Gauge, Histogram, Registry };

/** One measured quantity with its labelled values, as of now. */
export interface MetricFamily {
  /** With unit last: `llm_gateway_billing_oldest_unsettled_seconds`. */
  readonly name: string;
  readonly help: string;
  readonly samples: readonly MetricSample[];
}

/** One value of a family, with the labels that tell it from the others. */
interface MetricSample {
  readonly labels?: Readonly<Record<string, string>>;
  /** Decimal text is rounded to a double here, for the graph; nothing is computed from it. */
  readonly value: number | string;
}

/** Something that is asked for its metrics when they are looked at. */
interface MetricSource {
  /** Becomes the label of `llm_gateway_metrics_source_up` and `…_source_age_seconds`. */
  readonly name: string;
  collect(): Promise<readonly MetricFamily[]>;
  /** What was collected is served again for so long, and for ten times as long as it took, however often it is asked for. Default 10 s. */
  readonly maxAgeMs?: number;
  /** A page waits so long for a collection; then it has the last one, and the next page the new one. Default 2 s. */
  readonly patienceMs?: number;
}

/** What `/metrics` of a process answers. */
export interface MetricsPage {
  readonly contentType: string;
  /**
   * The whole page in Prometheus' text format, soon: a slow source is served from its last collection. Never throws: a source
   * that fails is left out and its `…_source_up` is 0; one that was never collected yet has none.
   */
  text(): Promise<string>;
}

/** The metrics of one process: those of Node itself, those of its sources, and what it counted in `counted`. */
export function createMetricsPage(sources: readonly MetricSource[], counted?: Registry): MetricsPage {
  const ownMetrics = new Registry();
  collectDefaultMetrics({ register: ownMetrics });
  const collectors = sources.map((source) => new Collector(source));
  return {
    contentType: ownMetrics.contentType,
    text: async () => {
      const page = new Registry();
      const up = new Gauge({
        name: "llm_gateway_metrics_source_up",
        help: "1 when the source could be read, 0 when not",
        labelNames: ["source"],
        registers: [page],
      });
      const age = new Gauge({
        name: "llm_gateway_metrics_source_age_seconds",
        help: "How old what the source told is",
        labelNames: ["source"],
        registers: [page],
      });
      const readings = await Promise.all(
        collectors.map(async (collector) => ({ source: collector.name, collection: await collector.read() })),
      );
      for (const { source, collection } of readings) {
        if (collection === undefined) continue;
        up.set({ source }, collection.families === undefined ? 0 : 1);
        age.set({ source }, (performance.now() - collection.startedAt) / 1_000);
        collection.families?.forEach((family) => addFamily(page, family));
      }
      const parts = [page, ...(counted ? [counted] : []), ownMetrics];
      return (await Promise.all(parts.map((part) => part.metrics()))).join("\n");
    },
  };
}

function addFamily(registry: Registry, family: MetricFamily): void {
  const labelNames = [...new Set(family.samples.flatMap((sample) => Object.keys(sample.labels ?? {})))];
  const gauge = new Gauge({ name: family.name, help: family.help, labelNames, registers: [registry] });
  for (const { labels = {}, value } of family.samples) gauge.set({ ...labels }, Number(value));
}

interface Collection {
  readonly startedAt: number;
  readonly endedAt: number;
  /** Undefined when it failed. */
  readonly families: readonly MetricFamily[] | undefined;
}

/** Asks a source, never twice at once, and keeps what it told last. */
class Collector {
  readonly name: string;
  readonly #source: MetricSource;
  #last: Collection | undefined;
  #running: Promise<Collection> | undefined;

  constructor(source: MetricSource) {
    this.name = source.name;
    this.#source = source;
  }

  /** The newest collection that there is within the source's patience; undefined when there never was one. */
  async read(): Promise<Collection | undefined> {
    if (this.#isFresh()) return this.#last;
    this.#running ??= this.#collect().finally(() => (this.#running = undefined));
    const { patienceMs = 2_000 } = this.#source;
    const timeout = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => timeout.resolve(undefined), patienceMs);
    const collection = await Promise.race([this.#running, timeout.promise]);
    clearTimeout(timer);
    return collection ?? this.#last;
  }

  /** A failed collection is never fresh: the next page asks again. */
  #isFresh(): boolean {
    if (this.#last?.families === undefined) return false;
    const { startedAt, endedAt } = this.#last;
    return performance.now() - startedAt < Math.max(this.#source.maxAgeMs ?? 10_000, 10 * (endedAt - startedAt));
  }

  async #collect(): Promise<Collection> {
    const startedAt = performance.now();
    const families = await this.#source.collect().catch(() => undefined);
    this.#last = { startedAt, endedAt: performance.now(), families };
    return this.#last;
  }
}
