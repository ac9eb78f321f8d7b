import { type DatabaseClient, openDatabase } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { recordPass } from "@proliferate/services/passes";
import { settle } from "@proliferate/services/settlement";
import type { DeliveryOutcome } from "@proliferate/services/sinks";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows, type SpendRow } from "@proliferate/services/test/test-ledger";
import { ScriptedSink } from "@proliferate/services/test/test-sink";
import { tamper } from "@proliferate/services/test/test-tampering";
import { createWorkerMetrics } from "@proliferate/worker/metrics";
import { type RawBuilder, sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { evaluate } from "./evaluate.ts";
import { type AlertRule, readRuleFile } from "./rule-file.ts";
import { parseMetricsPage, type Scrape } from "./scrape.ts";

/** Each rule against a deployment in which exactly that is wrong: it fires, and no other does. */

const JOBS = { "llm-spend-sync": 30_000, "settlement-outbox": 60_000, "billing-webhooks": 5_000 } as const;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const RATE = { markup: "3", creditsPerUsd: "100" };

const rules: readonly AlertRule[] = await readRuleFile(new URL("../../ops/alerts.yaml", import.meta.url));
/** What the situations below made fire. */
const fired = new Set<string>();

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
  for (const job of Object.keys(JOBS)) await recordPass(database.db, job);
});
afterEach(() => database.drop());

const run = async (statement: RawBuilder<unknown>): Promise<void> => void (await statement.execute(database.db));

/** Does it with the database's clock so long ago. */
async function ago(ageMs: number, action: (db: DatabaseClient) => Promise<void>): Promise<void> {
  const name = sql.ref(new URL(database.connectionString).pathname.slice(1));
  await run(sql`alter database ${name} set llm_gateway.virtual_now = ${sql.lit(new Date(Date.now() - ageMs).toISOString())}`);
  const past = openDatabase({ connectionString: database.connectionString });
  await action(past).finally(() => past.destroy());
  await run(sql`alter database ${name} reset llm_gateway.virtual_now`);
}

/** Rows from the source to one answer of the sink. */
async function bill(
  rows: readonly SpendRow[],
  script: () => DeliveryOutcome | "lose_answer" | undefined = () => undefined,
  db: DatabaseClient = database.db,
): Promise<void> {
  await insertSpendRows(db, rows);
  await syncSpend(db, { rate: RATE });
  const sink = new ScriptedSink();
  sink.script = script;
  await settle(db, { sink });
}

async function scrape(db: DatabaseClient = database.db): Promise<Scrape> {
  const page = await createWorkerMetrics({ db, jobs: JOBS }).text();
  return { takenAtMs: Date.now(), series: parseMetricsPage(page, "worker") };
}

/** Which rules hold now, however long they want it to be so before they tell anybody. */
function firing(...scrapes: readonly Scrape[]): readonly string[] {
  const names = rules.filter(({ query }) => evaluate(query, scrapes, Date.now()).length > 0).map(({ name }) => name);
  for (const name of names) fired.add(name);
  return names;
}

const dated = (page: Scrape, ageMs: number): Scrape => ({ ...page, takenAtMs: Date.now() - ageMs });
const orgs = (count: number): readonly string[] => Array.from({ length: count }, (_, index) => `org_${index}`);

interface Situation {
  readonly what: string;
  readonly plant: () => Promise<void>;
  readonly alerts: readonly string[];
}

const SITUATIONS: readonly Situation[] = [
  { what: "nothing wrong", plant: () => bill([{ spendUsd: "0.1" }]), alerts: [] },
  {
    what: "a job that stopped an hour ago",
    plant: () => run(sql`update worker_passes set succeeded_at = now() - interval '1 hour' where job = 'llm-spend-sync'`),
    alerts: ["BillingJobLate"],
  },
  {
    what: "a job that never came to its end",
    plant: () => run(sql`delete from worker_passes where job = 'settlement-outbox'`),
    alerts: ["BillingJobNeverRan"],
  },
  {
    what: "a spend row that was overlooked",
    plant: async () => {
      await insertSpendRows(database.db, [{ spendUsd: "0.1" }]);
      await run(sql`update "LiteLLM_SpendLogs" set "endTime" = "endTime" - interval '1 hour'`);
    },
    alerts: ["BillingUnbilled"],
  },
  {
    what: "much spend that waits",
    plant: async () => void (await insertSpendRows(database.db, [{ spendUsd: "101" }])),
    alerts: ["BillingSpendWaits"],
  },
  {
    what: "a proxy whose clock is an hour fast",
    plant: async () => void (await insertSpendRows(database.db, [{ ageMs: -HOUR_MS }])),
    alerts: ["BillingSpendDatedAhead"],
  },
  {
    what: "a source that says less than was billed",
    plant: async () => {
      await bill([{ spendUsd: "0.2" }]);
      await run(sql`update "LiteLLM_SpendLogs" set spend = 0.1`);
    },
    alerts: ["BillingOverbilled"],
  },
  {
    what: "an account whose carry was changed by hand",
    plant: async () => {
      await bill([{ spendUsd: "0.2" }]);
      await tamper(database.db, sql`update billing_accounts set carry_credits = carry_credits + 1`);
    },
    alerts: ["BillingLedgerUnbalanced"],
  },
  {
    what: "a batch that was refused for good",
    plant: () => bill([{}], () => ({ kind: "dead", status: 400 })),
    alerts: ["BillingBatchesDead"],
  },
  {
    what: "a batch that was accepted and not deducted",
    plant: () => bill([{}], () => ({ kind: "unapplied", status: 200, deductedCredits: "0" })),
    alerts: ["BillingBatchesUnapplied"],
  },
  {
    what: "a batch that is parked",
    plant: () => bill([{}], () => ({ kind: "parked", status: 404, code: "customer_not_found" })),
    alerts: ["BillingBatchesParked"],
  },
  {
    what: "a batch that has been parked for a day",
    plant: () => ago(24 * HOUR_MS, (db) => bill([{}], () => ({ kind: "parked", status: 404 }), db)),
    alerts: ["BillingBatchesParked", "BillingBatchesOverdue"],
  },
  { what: "a batch whose answer was lost", plant: () => bill([{}], () => "lose_answer"), alerts: ["BillingBatchesUnknown"] },
  {
    what: "an organization whose answers have been lost for 20 minutes, and which waits",
    plant: async () => {
      await ago(20 * MINUTE_MS, (db) => bill([{ spendUsd: "0.1" }], () => "lose_answer", db));
      await run(sql`update settlement_org_backoff set retry_at = billing_now() + interval '10 minutes'`);
    },
    alerts: ["BillingBatchesUnknown", "BillingDeliverySlow"],
  },
  {
    what: "a batch whose key the sink has forgotten",
    plant: async () => {
      await ago(30 * HOUR_MS, (db) => bill([{}], () => "lose_answer", db));
      await bill([]);
      await run(sql`delete from settlement_org_backoff`);
    },
    alerts: ["BillingNeedsReconcile"],
  },
  {
    what: "a batch that a dead worker claimed, and nobody after it",
    plant: async () => {
      await bill([{}], () => ({ kind: "unavailable", status: 503 }));
      await run(sql`delete from settlement_org_backoff`);
      await run(
        sql`update settlement_batches set state = 'sending', lease_until = billing_now() - interval '10 minutes', next_attempt_at = billing_now() - interval '11 minutes'`,
      );
    },
    alerts: ["BillingBatchesOverdue"],
  },
  {
    what: "a delivery that only a refused duplicate proves",
    plant: () => bill([{}]).then(() => run(sql`update settlement_batches set deducted_credits = null`)),
    alerts: ["BillingDeliveriesUnconfirmed"],
  },
  { what: "a spend row without an organization", plant: () => bill([{ orgId: null, spendUsd: "0.1" }]), alerts: ["BillingNeedsReview"] },
  {
    what: "much that the sink has not confirmed",
    plant: () => bill([{ spendUsd: "400" }], () => ({ kind: "unavailable", status: 503 })),
    alerts: ["BillingUnpostedCredits"],
  },
  {
    what: "a request that nobody ends",
    plant: () =>
      run(sql`insert into request_attempts (attempt_id, instance_id, key_hash, dialect, call_type, model_group, model, provider, price_id, reserved_usd, estimated_input_tokens, started_at)
        values (gen_random_uuid(), 1, 'hash', 'anthropic', 'anthropic_messages', 'm', 'm', 'anthropic', 'p', 0.1, 10, now() - interval '3 hours')`),
    alerts: ["BillingRequestStuckInFlight"],
  },
  { what: "a balance that drifted", plant: () => plantDrift("20", "warn"), alerts: ["BillingDrift"] },
  { what: "a balance that drifted far", plant: () => plantDrift("-600", "critical"), alerts: ["BillingDrift", "BillingDriftCritical"] },
  {
    what: "a balance that nobody compared for two days",
    plant: () => run(sql`insert into org_gates (org_id, state, reconciled_at) values ('org_a', 'active', now() - interval '2 days')`),
    alerts: ["BillingBalancesNotReconciled"],
  },
  {
    what: "many organizations out of credits",
    plant: () => run(sql`insert into org_gates (org_id, state) select unnest(${orgs(11)}::text[]), 'exhausted'`),
    alerts: ["BillingOrgsExhausted"],
  },
  {
    what: "a batch that the sink charged twice",
    plant: async () => {
      await bill([{}]);
      await run(sql`insert into delivery_findings (batch_id, kind, org_id, expected_credits, found_credits, message, first_seen_at, last_seen_at)
        select batch_id, 'double_charge', org_id, credits, credits * 2, 'charged twice', now(), now() from settlement_batches`);
    },
    alerts: ["BillingSinkDiffers"],
  },
  {
    what: "a sink that is away",
    plant: () =>
      run(
        sql`insert into settlement_circuits (sink, open_count, opened_at, retry_at) values ('autumn', 1, now(), now() + interval '1 minute')`,
      ),
    alerts: ["BillingSinkAway"],
  },
  {
    what: "many organizations that wait",
    plant: async () => {
      await run(sql`insert into billing_accounts (org_id) select unnest(${orgs(11)}::text[])`);
      await run(
        sql`insert into settlement_org_backoff (org_id, failure_count, retry_at) select unnest(${orgs(11)}::text[]), 1, now() + interval '1 minute'`,
      );
    },
    alerts: ["BillingOrgsWait"],
  },
  {
    what: "an alert that a job raised",
    plant: () => run(sql`insert into billing_alerts (alert_key, kind, message) values ('k', 'ledger_gap', 'a gap')`),
    alerts: ["BillingAlertRaised"],
  },
  {
    what: "webhook events that a receiver does not take",
    plant: () => plantWebhook("pending", "11 minutes"),
    alerts: ["BillingWebhooksLate"],
  },
  { what: "a webhook event that was given up", plant: () => plantWebhook("dead", "1 hour"), alerts: ["BillingWebhooksLost"] },
  { what: "a webhook event that was given up the day before yesterday", plant: () => plantWebhook("dead", "2 days"), alerts: [] },
  {
    what: "a pack that may have been paid",
    plant: async () => {
      await run(sql`insert into org_gates (org_id, state) values ('org_a', 'active')`);
      await run(sql`insert into top_up_policies (org_id, plan_id, pack_credits) values ('org_a', 'pack', 1000)`);
      await run(sql`insert into top_ups (top_up_id, org_id, month, pack_number, idempotency_key, plan_id, credits, state, next_attempt_at, started_at)
        values (gen_random_uuid(), 'org_a', '2026-11', 1, 'k', 'pack', 1000, 'needs_review', now(), now())`);
    },
    alerts: ["BillingTopUpsInReview"],
  },
  {
    what: "a shadow sink that answered otherwise",
    plant: async () => {
      await bill([{}]);
      await run(sql`insert into sink_shadow_results (batch_id, sink, idempotency_key, primary_outcome, primary_credits, shadow_outcome, recorded_at)
        select batch_id, 'stripe', idempotency_key, 'delivered', credits, 'dead', now() from settlement_batches`);
    },
    alerts: ["BillingShadowDiffers"],
  },
];

async function plantDrift(credits: string, severity: string): Promise<void> {
  await run(sql`insert into balance_reconciliations (org_id, trigger, remote_credits, unposted_credits, uncertain_credits, after_credits, grant_credits, drift_credits, severity, cause, reconciled_at)
    values ('org_a', 'scheduled', 0, 0, 0, 0, 0, ${credits}::numeric, ${severity}, 'sink_took_more', now())`);
}

async function plantWebhook(state: string, due: string): Promise<void> {
  await run(sql`insert into webhook_events (event_key, type, org_id, payload, state, created_at, next_attempt_at)
    values ('k', 'balance.low', 'org_a', '{}', ${state}, now() - interval '4 days', now() - ${due}::interval)`);
}

test.each(SITUATIONS)("$what: $alerts", async ({ plant, alerts }) => {
  await plant();

  expect([...firing(await scrape())].toSorted()).toEqual([...alerts].toSorted());
});

test("a batch that the balance did not cover is told of for an hour, and then no more", async () => {
  const before = await scrape();
  await bill([{}], () => ({ kind: "shortfall", status: 200, deductedCredits: "0.1" }));
  const after = await scrape();

  expect(firing(dated(before, HOUR_MS), dated(after, 0))).toEqual(["BillingBatchesShortfall"]);
  expect(firing(dated(before, 2 * HOUR_MS), dated(after, HOUR_MS), dated(after, 0))).toEqual([]);
});

test("webhook events pile up untold where nobody is to be told, and that is no fault", async () => {
  await plantWebhook("pending", "2 days");
  const { "billing-webhooks": _, ...jobs } = JOBS;
  const page = await createWorkerMetrics({ db: database.db, jobs }).text();

  expect(firing({ takenAtMs: Date.now(), series: parseMetricsPage(page) })).toEqual([]);
});

test("a database that cannot be read is paged for, by each source, and nothing else is concluded from it", async () => {
  const unreachable = openDatabase({ connectionString: "postgresql://app@127.0.0.1:1/app" });
  const page = await scrape(unreachable).finally(() => unreachable.destroy());

  expect(firing(page)).toEqual(["BillingMetricsSourceDown"]);
  expect(firing({ takenAtMs: Date.now(), series: [] })).toEqual(["BillingMetricsMissing"]);
});

test("sums that are two hours old are told of", async () => {
  const page = await scrape();
  const aged = page.series.map((series) =>
    series.metric === "llm_gateway_metrics_source_age_seconds" && series.labels["source"] === "billing_checks"
      ? { ...series, value: 8_000 }
      : series,
  );

  expect(firing({ ...page, series: aged })).toEqual(["BillingMetricsOld"]);
});

test("every rule fired above", () => {
  expect(rules.map(({ name }) => name).filter((name) => !fired.has(name))).toEqual([]);
});
