import { readFile } from "node:fs/promises";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collectBillingChecks, collectBillingLags } from "./billing-metrics.ts";

/** Shown, but no reason to wake anybody: an amount on its way, and the absence of traffic. */
const WITHOUT_ALERT = ["carry_credits", "batch_credits", "newest_spend_row_seconds", "requests_in_flight"];
/** Of the worker and of the metrics page itself. */
const NOT_OF_BILLING = ["llm_gateway_worker_job_interval_seconds", "llm_gateway_metrics_source_up"];

let database: TestDatabase;
let rules: readonly { readonly name: string; readonly text: string }[];
let measured: readonly string[];
let states: readonly string[];
beforeAll(async () => {
  database = await createTestDatabase();
  const page = await readFile(new URL("../../../../ops/alerts.yaml", import.meta.url), "utf8");
  rules = page.split(/^ +- alert: /m).slice(1).map((text) => ({ name: text.split("\n")[0] ?? "", text }));
  const metrics = [...(await collectBillingLags(database.db)), ...(await collectBillingChecks(database.db))];
  measured = metrics.map(({ name }) => name);
  states = metrics.find(({ name }) => name.endsWith("_batches") && !name.includes("due") && !name.includes("reconcile"))?.samples.map(({ labels }) => labels?.["state"] ?? "") ?? [];
});
afterAll(() => database.drop());

const namesIn = (text: string): readonly string[] => [...text.matchAll(/\bllm_gateway_[a-z_]+\b/g)].map(([name]) => name);

test("every metric that a rule asks for is measured", () => {
  const asked = new Set(rules.flatMap(({ text }) => namesIn(text)));

  expect(asked.size).toBeGreaterThan(10);
  expect([...asked].filter((name) => !measured.includes(name) && !NOT_OF_BILLING.includes(name))).toEqual([]);
});

test("every lag and every state of a batch that is not its end has a rule", () => {
  const text = rules.map((rule) => rule.text).join("\n");
  const asked = new Set(namesIn(text));

  expect(measured.filter((name) => !asked.has(name) && !WITHOUT_ALERT.includes(name.replace("llm_gateway_billing_", "")))).toEqual([]);
  expect(states.filter((state) => !text.includes(`state="${state}"`)).toSorted()).toEqual(["delivered", "sealed"]);
});

test("every rule says how serious it is, what is wrong and what to do, under a name of its own", () => {
  expect(rules.filter(({ text }) => !/severity: (page|ticket) [\s\S]*summary: \S[\s\S]*action: \S/.test(text)).map(({ name }) => name)).toEqual([]);
  expect(new Set(rules.map(({ name }) => name)).size).toBe(rules.length);
});
