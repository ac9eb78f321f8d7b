import { ProxyMetrics } from "@proliferate/llm-proxy/metrics/proxy-metrics";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import { expect, test } from "vitest";
import { evaluate } from "./evaluate.ts";
import { type AlertRule, readRuleFile } from "./rule-file.ts";
import { parseMetricsPage, type Scrape } from "./scrape.ts";

/** Each rule on traffic against a proxy to which exactly that happens: it fires, and no other does. */

const rules: readonly AlertRule[] = await readRuleFile(new URL("../../ops/traffic-alerts.yaml", import.meta.url));
const MINUTE_MS = 60_000;
type GraceState = Parameters<ProxyMetrics["watchGrace"]>[0];

type Settled = Parameters<ProxyMetrics["settled"]>;
const STARTED_AT = new Date("2026-01-01T00:00:00Z");

const ATTEMPT = { model_group: "claude-sonnet-5", provider: "anthropic", reserved_usd: "1", started_at: STARTED_AT } as Settled[0];
const OUTCOME: Settled[1] = {
  report: reportOf({ ...NO_USAGE, inputTokens: 10, outputTokens: 20 }),
  cost: { inputUsd: "0.1", outputUsd: "0.1", toolUsd: "0", totalUsd: "0.2" },
  status: "success",
  estimated: false,
  recovered: false,
  providerResponseId: null,
  firstByteAt: new Date(STARTED_AT.getTime() + 500),
  endedAt: new Date(STARTED_AT.getTime() + 1_000),
};

const newMetrics = (retiring: readonly string[] = [], grace?: Partial<GraceState>): ProxyMetrics => {
  const metrics = new ProxyMetrics({
    models: () => ({
      find: (modelName) => (modelName === "claude-sonnet-5" ? ({ modelName } as never) : undefined),
      retiring: (now) => retiring.map((modelName) => ({ modelName, retiresOn: dayAfter(now, 7) }) as never),
    }),
    held: { bodies: () => 0, answers: () => 0 },
  });
  if (grace)
    metrics.watchGrace({
      isAbsent: () => false,
      knownKeys: () => 0,
      knownPaths: () => 0,
      spooledRequests: () => 0,
      spooledBytes: () => 0,
      ...grace,
    });
  return metrics;
};
const dayAfter = (now: Date, days: number): string => new Date(now.getTime() + days * 24 * 60 * MINUTE_MS).toISOString().slice(0, 10);
const scrape = async (metrics: ProxyMetrics, ageMs: number): Promise<Scrape> => ({
  takenAtMs: Date.now() - ageMs,
  series: parseMetricsPage(await metrics.registry.metrics(), "proxy"),
});
const firing = (...scrapes: readonly Scrape[]): readonly string[] =>
  rules.filter(({ query }) => evaluate(query, scrapes, Date.now()).length > 0).map(({ name }) => name);

function serve(metrics: ProxyMetrics, times: number, change: Partial<Settled[1]> = {}): void {
  for (let index = 0; index < times; index += 1) {
    metrics.answered("answer", 200, 1);
    metrics.settled(ATTEMPT, { ...OUTCOME, ...change });
  }
}

interface Situation {
  readonly what: string;
  readonly happens: (metrics: ProxyMetrics) => void;
  readonly retiring?: readonly string[];
  /** What grace shows now. Default: there is none. */
  readonly grace?: Partial<GraceState>;
  readonly alerts: readonly string[];
}

const SITUATIONS: readonly Situation[] = [
  { what: "nothing at all", happens: () => undefined, alerts: [] },
  { what: "traffic", happens: (metrics) => serve(metrics, 100), alerts: [] },
  { what: "one failure of the proxy itself", happens: (metrics) => metrics.answered("answer", 500, 1), alerts: ["ProxyFails"] },
  {
    what: "a database that is away",
    happens: (metrics) => Array.from({ length: 11 }, () => metrics.answered("answer", 503, 1)),
    alerts: ["ProxyStoreUnavailable"],
  },
  { what: "grace that nothing calls for", happens: () => undefined, grace: { knownKeys: () => 3 }, alerts: [] },
  { what: "a proxy that does without a database", happens: () => undefined, grace: { isAbsent: () => true }, alerts: ["ProxyStoreAbsent"] },
  { what: "a spool that is not put on record", happens: () => undefined, grace: { spooledRequests: () => 2 }, alerts: ["ProxySpoolWaits"] },
  {
    what: "a provider that fails every third time",
    happens: (metrics) => (serve(metrics, 2), serve(metrics, 1, { status: "failure", error: { code: "529", kind: "x", message: "x" } })),
    alerts: ["ProxyProviderErrors"],
  },
  {
    what: "callers that leave, which is no provider's fault",
    happens: (metrics) => serve(metrics, 3, { status: "failure", error: { code: "499", kind: "CallerGone", message: "x" } }),
    alerts: [],
  },
  { what: "a settlement that the store did not take", happens: (metrics) => metrics.settleFailed(), alerts: ["ProxySettlesLate"] },
  {
    what: "usage that nobody knows",
    happens: (metrics) => (serve(metrics, 100), serve(metrics, 1, { report: { ...OUTCOME.report, unknown: ["new_tokens"] } })),
    alerts: ["ProxyUnknownUsage"],
  },
  {
    what: "money 10: usage that has no price",
    happens: (metrics) => serve(metrics, 1, { unpriced: ["service_tier=new"] }),
    alerts: ["ProxyUnknownUsage"],
  },
  { what: "money 11: a model that goes in a week", happens: () => undefined, retiring: ["claude-sonnet-5"], alerts: ["ProxyModelRetires"] },
  { what: "an estimate in a hundred", happens: (metrics) => (serve(metrics, 99), serve(metrics, 1, { estimated: true })), alerts: [] },
  {
    what: "an estimate in five",
    happens: (metrics) => (serve(metrics, 4), serve(metrics, 1, { estimated: true })),
    alerts: ["ProxyEstimates"],
  },
  {
    what: "an answer that cost more than was reserved",
    happens: (metrics) => serve(metrics, 1, { cost: { ...OUTCOME.cost, totalUsd: "1.5" } }),
    alerts: ["ProxyOverReservation"],
  },
  {
    what: "answers that begin after a minute",
    happens: (metrics) => serve(metrics, 3, { firstByteAt: new Date(STARTED_AT.getTime() + 60_000) }),
    alerts: ["ProxySlow"],
  },
];

test.each(SITUATIONS)("users 04: $what", async ({ happens, alerts, retiring, grace }) => {
  const metrics = newMetrics(retiring, grace);
  const before = await scrape(metrics, 10 * MINUTE_MS);
  happens(metrics);

  expect(firing(before, await scrape(metrics, 0))).toEqual(alerts);
});

test("users 04: what happened before ten minutes ago wakes nobody any more", async () => {
  const metrics = newMetrics();
  for (const { happens } of SITUATIONS) happens(metrics);

  expect(firing(await scrape(metrics, 10 * MINUTE_MS), await scrape(metrics, 0))).toEqual([]);
});

test("users 04: every rule has a situation", () => {
  expect(rules.map(({ name }) => name).toSorted()).toEqual([...new Set(SITUATIONS.flatMap(({ alerts }) => alerts))].toSorted());
});
