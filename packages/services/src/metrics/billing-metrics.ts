import type { DatabaseExecutor, OrgState } from "@proliferate/db";
import { addDecimals } from "@proliferate/shared/money";
import { readPasses } from "../passes/index.ts";
import { findChunkEnd } from "../billing/index.ts";
import {
  type AttentionRow,
  checkCompleteness,
  type Completeness,
  getBillingStatus,
  readAttention,
  readBalances,
  readDelivery,
  readOpenFindings,
  readRecentlyBroken,
  readSourceLag,
} from "../reports/index.ts";

/** What a metrics page takes: a gauge with its values. Amounts are decimal text. */
export interface BillingMetric {
  readonly name: string;
  readonly help: string;
  readonly samples: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number | string }[];
}

/** Rows older than this were compared when they were young, and are looked at by the hourly audit; `billing status` compares all. */
const CHECK_WINDOW_MS = 60 * 60 * 1_000;
/** What was sealed since the last collection, and a while more. */
const BALANCE_WINDOW_MS = 10 * 60 * 1_000;
/** Spend rows, or time, of one statement: none of them takes long however much is used, and an idle hour takes one. */
const SLICE_ROWS = 2_000;
const BATCHES_SLICE_MS = 60 * 1_000;

const ORG_STATES = ["unconfigured", "trial", "active", "grace", "exhausted", "suspended"] as const satisfies readonly OrgState[];

const gauge = (name: string, help: string, value: number | string | null): BillingMetric => ({
  name: `llm_gateway_billing_${name}`,
  help,
  samples: value === null ? [] : [{ value }],
});
const gauges = (name: string, help: string, label: string, values: readonly (readonly [string, number | string])[]): BillingMetric => ({
  name: `llm_gateway_billing_${name}`,
  help,
  samples: values.map(([of, value]) => ({ labels: { [label]: of }, value })),
});

/** Lags and states: cheap enough for every scrape. No label names an organization. Every age is 0 when nothing waits. */
export async function collectBillingLags(db: DatabaseExecutor): Promise<readonly BillingMetric[]> {
  const [status, delivery, lag, passes, attention] = await Promise.all([
    getBillingStatus(db),
    readDelivery(db),
    readSourceLag(db),
    readPasses(db),
    readAttention(db),
  ]);
  const states = Object.entries(status.batches);
  return [
    gauge("open_events", "Events in no batch yet.", status.openEvents),
    gauge("open_credits", "Credits of those events.", status.openCredits),
    gauge("carry_credits", "Credits below the precision of a settlement, carried into the next batch.", status.carryCredits),
    gauge("unposted_credits", "Credits on the ledger that the sink has not confirmed.", delivery.unposted_credits),
    gauges(
      "batches",
      "Batches by state.",
      "state",
      states.map(([state, { batches }]) => [state, batches]),
    ),
    gauges(
      "batch_credits",
      "Credits of batches by state.",
      "state",
      states.map(([state, { credits }]) => [state, credits]),
    ),
    gauge("needs_reconcile_batches", "Batches that may have been applied and whose key the sink has forgotten.", status.needsReconcile),
    gauge(
      "overdue_batches",
      "Batches that could have been sent for 5 minutes and were not claimed, 10,000 at most.",
      delivery.overdue_batches,
    ),
    gauges("reviews", "Spend rows that cannot be billed as they are, by reason.", "reason", Object.entries(status.reviews)),
    gauge("oldest_unsettled_seconds", "Age of the oldest event that is not delivered.", status.oldestUnsettledSeconds ?? 0),
    gauge(
      "oldest_moving_seconds",
      "Time since the oldest batch was sealed that goes to the sink by itself.",
      delivery.oldest_moving_seconds ?? 0,
    ),
    ...attentionMetrics(attention),
    gauge("newest_spend_row_seconds", "Age of the newest spend row; absent before the first.", lag.newest_row_seconds),
    gauge("future_spend_rows", "Spend rows dated more than 5 minutes ahead: a clock is wrong.", lag.future_rows),
    gauge("requests_in_flight", "Requests that may have reached a provider and have no spend row yet.", lag.attempts_in_flight),
    gauge("oldest_request_in_flight_seconds", "Age of the oldest of them.", lag.oldest_attempt_seconds ?? 0),
    gauges(
      "pass_age_seconds",
      "Time since the last success of each job of the worker.",
      "job",
      passes.map((pass) => [pass.job, Math.round(pass.age_ms / 1_000)]),
    ),
  ];
}

function attentionMetrics(attention: AttentionRow): readonly BillingMetric[] {
  return [
    gauge("waiting_orgs", "Organizations that wait after a failed attempt.", attention.waiting_orgs),
    gauge("open_circuits", "Sinks that fail for everybody.", attention.open_circuits),
    gauge(
      "unconfirmed_batches",
      "Delivered by proof of a refused duplicate, without an amount from the sink.",
      attention.unconfirmed_batches,
    ),
    gauge("webhooks_pending", "Webhook events that wait, or that nobody is to be told.", attention.webhooks_pending),
    gauge("webhooks_overdue", "Webhook events that have been due for 10 minutes.", attention.webhooks_overdue),
    gauge("webhooks_lost", "Webhook events that were given up in the last 24 hours.", attention.webhooks_lost),
    gauge("top_ups_in_review", "Top-ups that may have been paid without an answer.", attention.top_ups_in_review),
    gauge("shadow_differences", "Batches that got another answer from the shadow sink in the last 24 hours.", attention.shadow_differences),
    gauge("alerts", "Alerts that the jobs raised and nobody cleared.", attention.alerts.length),
  ];
}

type LatestRows = Pick<Completeness, "unbilledUsd" | "overdueRows" | "overdueUsd" | "overbilledUsd">;

async function checkLatestRows(db: DatabaseExecutor, now: number): Promise<LatestRows> {
  let sum: LatestRows = { unbilledUsd: "0", overdueRows: 0, overdueUsd: "0", overbilledUsd: "0" };
  for (let from: Date | undefined = new Date(now - CHECK_WINDOW_MS); from !== undefined;) {
    // The last slice is open: what is dated ahead belongs to it.
    const to: Date | undefined = await findSliceEnd(db, from);
    const found = await checkCompleteness(db, { from, ...(to && { to }) });
    from = to;
    sum = {
      unbilledUsd: addDecimals(sum.unbilledUsd, found.unbilledUsd),
      overdueRows: sum.overdueRows + found.overdueRows,
      overdueUsd: addDecimals(sum.overdueUsd, found.overdueUsd),
      overbilledUsd: addDecimals(sum.overbilledUsd, found.overbilledUsd),
    };
  }
  return sum;
}

/** Where a slice ends that begins at `from`, in whole milliseconds, as the source has them; undefined: it takes all that is left. */
async function findSliceEnd(db: DatabaseExecutor, from: Date): Promise<Date | undefined> {
  const last = await findChunkEnd(db, { from: from.toISOString().replace("Z", ""), to: "infinity" }, SLICE_ROWS);
  return last === "infinity" ? undefined : new Date(Date.parse(`${last.replace(" ", "T")}Z`) + 1);
}

async function findUnbalanced(db: DatabaseExecutor, now: number): Promise<ReadonlySet<string>> {
  const orgIds = new Set<string>();
  for (let from = now - BALANCE_WINDOW_MS; from < now; from += BATCHES_SLICE_MS) {
    const to = from + BATCHES_SLICE_MS < now ? new Date(from + BATCHES_SLICE_MS) : undefined;
    for (const { org_id: orgId } of await readRecentlyBroken(db, new Date(from), to)) orgIds.add(orgId);
  }
  return orgIds;
}

/** The checks that add up; collect them every few minutes. Source against ledger of the last hour, sums of orgs of the last minutes. */
export async function collectBillingChecks(
  db: DatabaseExecutor,
  options: { readonly now?: () => number } = {},
): Promise<readonly BillingMetric[]> {
  const now = (options.now ?? Date.now)();
  const [completeness, unbalanced, balances, findings] = await Promise.all([
    checkLatestRows(db, now),
    findUnbalanced(db, now),
    readBalances(db),
    readOpenFindings(db),
  ]);
  return [
    gauge(
      "unbilled_usd",
      "Spend without an event, requests of the last hour; older ones are named by the hourly audit (alerts).",
      completeness.unbilledUsd,
    ),
    gauge("overdue_rows", "Spend rows without an event 10 minutes after their request ended.", completeness.overdueRows),
    gauge("overdue_usd", "Spend of those rows.", completeness.overdueUsd),
    gauge("overbilled_usd", "What the ledger has beyond the spend rows.", completeness.overbilledUsd),
    gauge(
      "unbalanced_orgs",
      "Organizations whose spend is not exactly what is delivered, on its way, at rest and carried.",
      unbalanced.size,
    ),
    gauge(
      "sink_differences",
      "Batches of which the sink's record differs from our books, open.",
      findings.reduce((sum, row) => sum + Number(row.findings), 0),
    ),
    gauges(
      "orgs",
      "Organizations by state.",
      "state",
      ORG_STATES.map((state) => [state, balances.states[state] ?? 0]),
    ),
    gauge("unreconciled_orgs", "Organizations whose balance was not compared with the sink for 36 hours.", balances.late_orgs),
    gauge("drifts", "Balances that had to be corrected in the last 24 hours, from severity warn on.", balances.drifts),
    gauge("drift_credits", "Sum of the sizes of those corrections.", balances.drift_credits),
  ];
}
