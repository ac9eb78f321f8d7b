import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, expect, test } from "vitest";
import { recordPass } from "../passes/db.ts";
import { settle } from "../settlement/settlement.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { insertSpendRows } from "../../test/test-ledger.ts";
import { ScriptedSink } from "../../test/test-sink.ts";
import { type BillingMetric, collectBillingChecks, collectBillingLags } from "./billing-metrics.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** `name` or `name{label}` → value. */
const valuesOf = (metrics: readonly BillingMetric[]): Readonly<Record<string, number | string>> =>
  Object.fromEntries(
    metrics.flatMap(({ name, samples }) =>
      samples.map(({ labels, value }) => [
        `${name.replace("llm_gateway_billing_", "")}${labels === undefined ? "" : `{${Object.values(labels).join()}}`}`,
        value,
      ]),
    ),
  );

test("an idle deployment has a zero for every state, so that no alert is blind", async () => {
  const values = valuesOf([...(await collectBillingLags(database.db)), ...(await collectBillingChecks(database.db))]);

  expect(values).toMatchObject({
    "batches{parked}": 0,
    "batches{dead}": 0,
    "reviews{no_org}": 0,
    "oldest_unsettled_seconds": 0,
    "unbilled_usd": "0",
    "overdue_rows": 0,
    "unbalanced_orgs": 0,
  });
  expect(values).not.toHaveProperty("newest_spend_row_seconds");
});

test("every lag and state is measured, amounts exactly", async () => {
  await insertSpendRows(database.db, [{ orgId: "org_a", spendUsd: "0.1" }, { orgId: "org_b", spendUsd: "0.000001" }, { orgId: null }]);
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const sink = new ScriptedSink();
  sink.script = ({ orgId }) => (orgId === "org_a" ? { kind: "parked", status: 404, code: "customer_not_found" } : undefined);
  await settle(database.db, { sink });
  await insertSpendRows(database.db, [{ spendUsd: "0.25" }]);
  await recordPass(database.db, "llm-spend-sync");

  const values = valuesOf([...(await collectBillingLags(database.db)), ...(await collectBillingChecks(database.db))]);

  expect(values).toMatchObject({
    "batches{parked}": 1,
    "batch_credits{parked}": "30",
    "batches{delivered}": 1,
    "batch_credits{delivered}": "0.0003",
    "reviews{no_org}": 1,
    "pass_age_seconds{llm-spend-sync}": expect.any(Number),
    "unposted_credits": "30",
    "unbilled_usd": "0.25",
    "overdue_rows": 0,
    "requests_in_flight": "0",
  });
});

test("no label names an organization: they may be many, and others read the page", async () => {
  const labels = (await collectBillingLags(database.db)).flatMap(({ samples }) =>
    samples.flatMap((sample) => Object.keys(sample.labels ?? {})),
  );

  expect([...new Set(labels)].sort()).toEqual(["job", "reason", "state"]);
});
