import { mkdtemp, rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Child, spawnChild } from "../dev-stack/child-process.ts";
import { evaluate } from "./evaluate.ts";
import type { PromQuery } from "./prom-query.ts";
import { type AlertRule, readRuleFile } from "./rule-file.ts";
import { type MetricSeries, parseMetricsPage, type Scrape } from "./scrape.ts";

/** The rules against the pages of our own processes, after a request that went all the way. */

/** Shown, but no reason to wake anybody: amounts beside a count, what rests in a state that has its rule, the absence of traffic. */
const WITHOUT_RULE = [
  "open_events",
  "open_credits",
  "carry_credits",
  "batch_credits",
  "overdue_usd",
  "oldest_unsettled_seconds",
  "newest_spend_row_seconds",
  "requests_in_flight",
  "webhooks_pending",
];
/** On their way, which the ages of batches watch over, or at their end. */
const STATES_WITHOUT_RULE = ["delivered", "sealed", "sending"];

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TOKEN = "token-of-the-alert-rule-tests";

let database: TestDatabase;
let provider: ProviderStandIn;
let autumn: AutumnEmulator;
let folder: string;
const children: Child[] = [];
let rules: readonly AlertRule[];
let workerPage: readonly MetricSeries[];
let gatewayPage: readonly MetricSeries[];

beforeAll(async () => {
  folder = await mkdtemp("/var/tmp/llm-gateway-alert-rules-");
  [database, provider, autumn, rules] = await Promise.all([
    createTestDatabase(),
    startProviderStandIn(),
    startAutumnEmulator({ newCustomerCredits: "10000" }),
    readRuleFile(new URL("../../ops/alerts.yaml", import.meta.url)),
  ]);
  const stack = await startStack();
  await spendSomething(stack.gateway);
  await waitUntilDelivered();
  [workerPage, gatewayPage] = await Promise.all([
    scrape(`${stack.worker}/metrics`, "worker"),
    scrape(`${stack.gateway}/metrics`, "gateway"),
  ]);
});
afterAll(async () => {
  await Promise.all(children.map((child) => child.stop()));
  await Promise.all([provider?.stop(), autumn?.stop(), database?.drop()]);
  await rm(folder, { recursive: true, force: true });
});

async function start(name: string, environment: Readonly<Record<string, string>>): Promise<Readonly<Record<string, number>>> {
  const child = spawnChild({
    name,
    entry: `${ROOT}apps/${name}/src/main.ts`,
    environment: { DATABASE_URL: database.connectionString, ...environment },
    logFile: `${folder}/${name}.log`,
  });
  children.push(child);
  return child.ready;
}

async function startStack(): Promise<{ readonly gateway: string; readonly worker: string }> {
  const keys = {
    ANTHROPIC_API_KEY: "provider-key",
    ANTHROPIC_API_BASE: provider.url,
    OPENAI_API_KEY: "provider-key",
    OPENAI_API_BASE: `${provider.url}/v1`,
  };
  const proxy = await start("llm-proxy", {
    ...keys,
    LITELLM_MASTER_KEY: "sk-master-of-the-test",
    LLM_PROXY_PORT: "0",
    LLM_PROXY_ADMIN_PORT: "0",
  });
  const proxyUrls = {
    LLM_PROXY_URL: `http://127.0.0.1:${proxy["dataPlane"]}`,
    LLM_PROXY_ADMIN_URL: `http://127.0.0.1:${proxy["management"]}`,
    LLM_PROXY_MASTER_KEY: "sk-master-of-the-test",
  };
  const settings = {
    AUTUMN_API_KEY: "am_sk_test_of_the_test",
    AUTUMN_API_URL: autumn.url,
    BILLING_WEBHOOK_URL: "http://127.0.0.1:1/",
    BILLING_WEBHOOK_SECRET: "secret-of-the-webhook",
  };
  const intervals = {
    LLM_SYNC_INTERVAL_MS: "300",
    OUTBOX_INTERVAL_MS: "300",
    GATE_INTERVAL_MS: "300",
    BALANCE_INTERVAL_MS: "300",
    RECONCILE_INTERVAL_MS: "300",
  };
  const [gateway, worker] = await Promise.all([
    start("gateway", { ...proxyUrls, GATEWAY_PORT: "0", GATEWAY_API_TOKEN: TOKEN, BILLING_GATE: "enforce" }),
    start("worker", { ...proxyUrls, ...settings, ...intervals, WORKER_PORT: "0" }),
  ]);
  return { gateway: `http://127.0.0.1:${gateway["gateway"]}`, worker: `http://127.0.0.1:${worker["worker"]}` };
}

async function spendSomething(gateway: string): Promise<void> {
  const session = await post(
    `${gateway}/v1/sessions`,
    { authorization: `Bearer ${TOKEN}` },
    { session_id: "session_alerts", org_id: "org_alerts", model: "claude-sonnet-5", max_budget_usd: "5", duration: "1h" },
  );
  const messages = [{ role: "user", content: "Say hello." }];
  await post(
    `${String(session["base_url"]).replace(/\/v1$/, "")}/v1/messages`,
    { "x-api-key": String(session["api_key"]), "anthropic-version": "2023-06-01" },
    { model: "claude-sonnet-5", max_tokens: 64, messages },
  );
}

async function post(url: string, headers: Readonly<Record<string, string>>, body: object): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}

/** And until every job of the worker has run once. */
async function waitUntilDelivered(): Promise<void> {
  const deadline = performance.now() + patience(45_000);
  for (;;) {
    const [delivered, passes, open] = await Promise.all([
      database.db.selectFrom("settlement_batches").select("batch_id").where("state", "=", "delivered").execute(),
      database.db.selectFrom("worker_passes").select("job").execute(),
      database.db.selectFrom("billing_events").select("event_id").execute(),
    ]);
    if (delivered.length > 0 && passes.length === 7 && open.length > 0) return;
    if (performance.now() > deadline) throw new Error(`not delivered; jobs that ran: ${passes.map(({ job }) => job).join(", ")}`);
    await delay(50);
  }
}

async function scrape(url: string, instance: string): Promise<readonly MetricSeries[]> {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } });
  return parseMetricsPage(await answer.text(), instance);
}

const at = (...pages: readonly (readonly MetricSeries[])[]): readonly Scrape[] => [{ takenAtMs: Date.now(), series: pages.flat() }];
const firing = (scrapes: readonly Scrape[]): readonly string[] =>
  rules.filter(({ query }) => evaluate(query, scrapes, Date.now()).length > 0).map(({ name }) => name);

interface Asked {
  readonly metric: string;
  readonly matchers: Readonly<Record<string, string>>;
  /** Labels by which it is grouped or matched. */
  readonly labels: readonly string[];
}

function askedBy(query: PromQuery, labels: readonly string[] = []): readonly Asked[] {
  switch (query.kind) {
    case "number":
      return [];
    case "selector":
      return [{ metric: query.metric, matchers: Object.fromEntries(query.matchers.map(({ label, value }) => [label, value])), labels }];
    case "aggregation":
      return askedBy(query.of, query.by);
    case "absent":
      return askedBy(query.of);
    case "binary":
      return [...askedBy(query.left, [...labels, ...(query.on ?? [])]), ...askedBy(query.right, [...labels, ...(query.on ?? [])])];
  }
}

test("every series that a rule asks for is on the worker's page, under the labels that the rule names", () => {
  const asked = rules.flatMap(({ name, query }) => askedBy(query).map((one) => ({ rule: name, ...one })));
  const missing = asked.filter(({ metric, matchers, labels }) => {
    const wanted = Object.entries(matchers);
    return !workerPage.some(
      (series) =>
        series.metric === metric &&
        wanted.every(([label, value]) => series.labels[label] === value) &&
        labels.every((label) => label in series.labels),
    );
  });

  expect(asked.length).toBeGreaterThan(30);
  expect(missing).toEqual([]);
});

test("every lag and every state that is measured has a rule", () => {
  const asked = rules.flatMap(({ query }) => askedBy(query));
  const measured = [...new Set(workerPage.map(({ metric }) => metric))].filter((metric) => metric.startsWith("llm_gateway_billing_"));
  const states = workerPage.filter(({ metric }) => metric === "llm_gateway_billing_batches").map(({ labels }) => labels["state"] ?? "");

  expect(
    measured.filter(
      (metric) => !asked.some((one) => one.metric === metric) && !WITHOUT_RULE.includes(metric.replace("llm_gateway_billing_", "")),
    ),
  ).toEqual([]);
  expect(
    states
      .filter((state) => !asked.some((one) => one.metric === "llm_gateway_billing_batches" && one.matchers["state"] === state))
      .toSorted(),
  ).toEqual(STATES_WITHOUT_RULE);
});

test("nothing fires in a healthy deployment, however its two pages are scraped", () => {
  expect(firing(at(workerPage))).toEqual([]);
  expect(
    firing(
      at(
        workerPage,
        gatewayPage,
        workerPage.map((series) => ({ ...series, labels: { ...series.labels, instance: "second_worker" } })),
      ),
    ),
  ).toEqual([]);
});

test("a worker that is gone is paged for, though the gateway's page goes on", () => {
  expect(firing(at(gatewayPage))).toEqual(["BillingMetricsMissing"]);
  expect(firing(at([]))).toEqual(["BillingMetricsMissing"]);
});

test("every rule has a name of its own, and its summary uses labels that its answer carries", () => {
  expect(new Set(rules.map(({ name }) => name)).size).toBe(rules.length);
  const labelsOf = (query: PromQuery): readonly string[] =>
    query.kind === "aggregation" ? query.by : query.kind === "binary" ? labelsOf(query.left) : [];
  const wrong = rules.filter(({ query, summary, action }) =>
    [...`${summary} ${action}`.matchAll(/\$labels\.(\w+)/g)].some(([, label = ""]) => !labelsOf(query).includes(label)),
  );

  expect(wrong.map(({ name }) => name)).toEqual([]);
});
