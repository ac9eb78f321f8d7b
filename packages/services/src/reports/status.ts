import type { DatabaseExecutor } from "@proliferate/db";
import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { readPasses } from "../passes/index.ts";
import {
  type AttentionRow,
  type BalancesRow,
  compareSourceWithLedger,
  readAttention,
  readBalances,
  readBrokenInvariants,
  countDueBatches,
  readDelivery,
  readOpenFindings,
  readRecentlyBroken,
  readResting,
  readSourceLag,
  type RestingRow,
} from "./status-db.ts";
import { type BillingStatus, getBillingStatus } from "./usage.ts";

/** Rows of LiteLLM arrive up to minutes after their request; younger ones are waiting, older ones are overdue. */
const UNBILLED_GRACE_MS = 10 * 60 * 1_000;

const RECENT_MS = 48 * 60 * 60 * 1_000;
const RESTING_LIMIT = 100;
const NAMED_ORGS = 3;

/** Source against ledger, as far as the sums were compared. Amounts in USD, exact. */
export interface Completeness {
  /** Requests that began then or later were compared; null = all of them. */
  readonly from: Date | null;
  readonly sourceRows: number;
  readonly sourceUsd: DecimalText;
  readonly billedUsd: DecimalText;
  readonly reviewRows: number;
  readonly reviewUsd: DecimalText;
  readonly unbilledRows: number;
  readonly unbilledUsd: DecimalText;
  /** The part of the unbilled whose requests ended more than 10 minutes ago: the sync does not reach it. */
  readonly overdueRows: number;
  readonly overdueUsd: DecimalText;
  readonly overbilledUsd: DecimalText;
  readonly oldestUnbilledSeconds: number | null;
  /** source + overbilled - billed - in review - unbilled: zero, or the comparison itself erred. */
  readonly differenceUsd: DecimalText;
}

export interface OperatorStatus extends BillingStatus {
  readonly checkedAt: Date;
  readonly completeness: Completeness;
  /** Credits on the ledger that no sink has confirmed. */
  readonly unpostedCredits: DecimalText;
  readonly oldestUndeliveredSeconds: number | null;
  readonly dueBatches: number;
  readonly lastDeliveredAt: Date | null;
  readonly newestSourceRowSeconds: number | null;
  /** Requests that may have reached a provider and have no spend row yet (our engine only). */
  readonly attemptsInFlight: number;
  readonly oldestAttemptSeconds: number | null;
  /** Spend rows that began before it are billed or in review, so the source may delete them; null before the first sweep has come round. */
  readonly lowWaterMark: Date | null;
  readonly passes: readonly { readonly job: string; readonly ageMs: number }[];
  /** Whose credits rest, and why; the largest first, at most 100 groups of org and state. */
  readonly resting: readonly RestingOrg[];
  /** Orgs whose spend is not exactly what is delivered, on its way, at rest and carried; with the difference in credits. */
  readonly unbalancedOrgs: readonly { readonly orgId: string; readonly differenceCredits: DecimalText }[];
  readonly balances: BalanceStatus;
  /** Open differences between our books and the sink's, by kind: `double_charge` and the like. */
  readonly findings: Readonly<Record<string, number>>;
  readonly attention: Attention;
  /** What a person must look at, most serious first; empty = all is well. */
  readonly problems: readonly StatusProblem[];
}

/** An org's batches that rest in one state. `unknown`: they may have been taken, and wait for a comparison with the sink. */
interface RestingOrg {
  readonly orgId: string;
  readonly state: RestingRow["state"];
  readonly batches: number;
  /** What the sink has not taken of them. Of a shortfall: used beyond a capped balance, on record, never collected. */
  readonly credits: DecimalText;
  readonly errorCode: string | null;
}

/** Local balances against the sink's, as reconciling found them. */
interface BalanceStatus {
  readonly orgs: number;
  /** Orgs by their state. */
  readonly states: Readonly<Record<string, number>>;
  /** Not reconciled for 36 hours; it is due daily. */
  readonly lateOrgs: number;
  /** Corrections of the last 24 hours from severity `warn` on, and the sum of their sizes. */
  readonly drifts: number;
  readonly driftCredits: DecimalText;
  readonly worst: { readonly orgId: string; readonly cause: string; readonly credits: DecimalText; readonly severity: string } | null;
}

/** What waits beside the batches. */
interface Attention {
  /** Orgs that wait after a failed attempt. */
  readonly waitingOrgs: number;
  readonly openCircuits: number;
  /** The sink that has failed for everybody for longest. */
  readonly circuit: { readonly sink: string; readonly errorCode: string | null; readonly openSeconds: number } | null;
  /** Delivered by proof of a refused duplicate; the sink stated no amount. Reconciling confirms them. */
  readonly unconfirmedBatches: number;
  readonly webhooksPending: number;
  readonly webhooksDead: number;
  readonly topUpsInReview: number;
  readonly shadowDifferences: number;
  /** Raised by the jobs, until the cause is gone. */
  readonly alerts: readonly { readonly key: string; readonly kind: string; readonly message: string }[];
}

interface StatusProblem {
  readonly code:
    | "ledger_unbalanced"
    | "sink_differs"
    | "drift"
    | "overbilled"
    | "unbilled"
    | "dead"
    | "needs_reconcile"
    | "unapplied"
    | "parked"
    | "needs_review"
    | "alert"
    | "sink_away"
    | "top_up_review"
    | "webhook_dead"
    | "shadow_differs"
    | "late";
  readonly message: string;
}

interface StatusOptions {
  /** Compares only requests that began then or later, and what was sealed since, with what is open. Default: all; reads the whole spend table and ledger. */
  readonly from?: Date;
  /** Batches and open events older than this are late. Default 15 minutes. */
  readonly lateAfterMs?: number;
}

/** Compares source and ledger, sum by sum. What `unbilled` says is checked, not remembered. Read only. */
export async function checkCompleteness(
  db: DatabaseExecutor,
  options: { readonly from?: Date; readonly to?: Date } = {},
): Promise<Completeness> {
  const row = await compareSourceWithLedger(db, { from: options.from, to: options.to, graceMs: UNBILLED_GRACE_MS });
  return {
    from: options.from ?? null,
    sourceRows: Number(row.source_rows),
    sourceUsd: row.source_usd,
    billedUsd: row.billed_usd,
    reviewRows: Number(row.review_rows),
    reviewUsd: row.review_usd,
    unbilledRows: Number(row.unbilled_rows),
    unbilledUsd: row.unbilled_usd,
    overdueRows: Number(row.overdue_rows),
    overdueUsd: row.overdue_usd,
    overbilledUsd: row.overbilled_usd,
    oldestUnbilledSeconds: row.oldest_unbilled_seconds === null ? null : Number(row.oldest_unbilled_seconds),
    differenceUsd: subtractDecimals(
      addDecimals(row.source_usd, row.overbilled_usd),
      addDecimals(row.billed_usd, row.review_usd, row.unbilled_usd),
    ),
  };
}

/** Where the comparison of source and ledger begins unless somebody wants all of it: it reads two days, not years. */
export function recentRequestsFrom(): Date {
  return new Date(Date.now() - RECENT_MS);
}

/** Everything an operator asks first, in one answer. Read only; each part is one statement, so parts may be moments apart. */
export async function getOperatorStatus(db: DatabaseExecutor, options: StatusOptions = {}): Promise<OperatorStatus> {
  const [billing, completeness, delivery, lag, passes, unbalanced, balances, findings, attention, resting, dueBatches] = await Promise.all([
    getBillingStatus(db),
    checkCompleteness(db, options.from === undefined ? {} : { from: options.from }),
    readDelivery(db),
    readSourceLag(db),
    readPasses(db),
    options.from === undefined ? readBrokenInvariants(db) : readRecentlyBroken(db, options.from),
    readBalances(db),
    readOpenFindings(db),
    readAttention(db),
    readResting(db, RESTING_LIMIT),
    countDueBatches(db),
  ]);
  const facts = {
    ...billing,
    checkedAt: new Date(),
    completeness,
    unpostedCredits: delivery.unposted_credits,
    oldestUndeliveredSeconds: secondsOf(delivery.oldest_undelivered_seconds),
    dueBatches,
    lastDeliveredAt: delivery.last_delivered_at,
    newestSourceRowSeconds: secondsOf(lag.newest_row_seconds),
    attemptsInFlight: Number(lag.attempts_in_flight),
    oldestAttemptSeconds: secondsOf(lag.oldest_attempt_seconds),
    lowWaterMark: lag.low_water_mark,
    passes: passes.map((pass) => ({ job: pass.job, ageMs: pass.age_ms })),
    resting: resting.map((row) => ({
      orgId: row.org_id,
      state: row.state,
      batches: Number(row.batches),
      credits: row.credits,
      errorCode: row.error_code,
    })),
    unbalancedOrgs: unbalanced.map((row) => ({ orgId: row.org_id, differenceCredits: row.difference })),
    balances: balanceStatusOf(balances),
    attention: attentionOf(attention),
    findings: Object.fromEntries(findings.map((row) => [row.kind, Number(row.findings)])),
  };
  return { ...facts, problems: problemsOf(facts, (options.lateAfterMs ?? 15 * 60 * 1_000) / 1_000) };
}

function balanceStatusOf(row: BalancesRow): BalanceStatus {
  const { worst_org: orgId, worst_cause: cause, worst_credits: credits, worst_severity: severity } = row;
  const worst = orgId === null || cause === null || credits === null || severity === null ? null : { orgId, cause, credits, severity };
  return {
    orgs: Number(row.orgs),
    states: row.states,
    lateOrgs: Number(row.late_orgs),
    drifts: Number(row.drifts),
    driftCredits: row.drift_credits,
    worst,
  };
}

function attentionOf(row: AttentionRow): Attention {
  return {
    waitingOrgs: Number(row.waiting_orgs),
    openCircuits: Number(row.open_circuits),
    circuit:
      row.circuit_sink === null
        ? null
        : { sink: row.circuit_sink, errorCode: row.circuit_error, openSeconds: Number(row.circuit_seconds ?? 0) },
    unconfirmedBatches: Number(row.unconfirmed_batches),
    webhooksPending: Number(row.webhooks_pending),
    webhooksDead: Number(row.webhooks_dead),
    topUpsInReview: Number(row.top_ups_in_review),
    shadowDifferences: Number(row.shadow_differences),
    alerts: row.alerts,
  };
}

const secondsOf = (text: string | null): number | null => (text === null ? null : Number(text));

type Facts = Omit<OperatorStatus, "problems">;

/** Collects problems: each is named by its code, and counts only where there is something to say of it. */
function collect(say: (add: (code: StatusProblem["code"], message: string | false) => void) => void): readonly StatusProblem[] {
  const problems: StatusProblem[] = [];
  say((code, message) => void (message !== false && problems.push({ code, message })));
  return problems;
}

const problemsOf = (status: Facts, lateAfterSeconds: number): readonly StatusProblem[] => [
  ...problemsOfBooks(status),
  ...problemsOfRest(status),
  ...problemsOfRunning(status, lateAfterSeconds),
];

/** Where source, ledger, sink and balances differ. */
function problemsOfBooks(status: Facts): readonly StatusProblem[] {
  const { completeness, unbalancedOrgs, balances } = status;
  return collect((add) => {
    add(
      "ledger_unbalanced",
      unbalancedOrgs.length > 0 &&
        `Spend and ledger of ${unbalancedOrgs
          .slice(0, 5)
          .map(({ orgId, differenceCredits }) => `${orgId} (${differenceCredits} credits)`)
          .join(", ")}${unbalancedOrgs.length > 5 ? ` and ${unbalancedOrgs.length - 5} more` : ""} do not add up.`,
    );
    add(
      "overbilled",
      compareDecimals(completeness.overbilledUsd, "0") > 0 &&
        `The ledger has $${completeness.overbilledUsd} more than the spend rows; the source was corrected downward.`,
    );
    add(
      "unbilled",
      completeness.overdueRows > 0 &&
        `${completeness.overdueRows} spend rows, $${completeness.overdueUsd}, have no event after 10 minutes: run billing audit.`,
    );
    const findings = Object.entries(status.findings).map(([kind, count]) => `${count} ${kind}`);
    add(
      "sink_differs",
      findings.length > 0 && `The sink's record differs from our books: ${findings.join(", ")}. Run billing reconcile --dry-run.`,
    );
    const { worst } = balances;
    add(
      "drift",
      worst !== null &&
        `${balances.drifts} balances had to be corrected in the last 24 hours, the worst of ${worst.orgId} by ${worst.credits} credits: ${worst.cause} (${worst.severity}).`,
    );
  });
}

/** What rests until somebody does something about it. */
function problemsOfRest(status: Facts): readonly StatusProblem[] {
  const { batches } = status;
  const inState = (state: "dead" | "unapplied" | "parked"): string =>
    `${batches[state].batches} batches, ${batches[state].credits} credits`;
  const named = (state: "dead" | "unapplied" | "parked"): string => nameResting(status.resting, state);
  return collect((add) => {
    add(
      "dead",
      batches.dead.batches > 0 && `${inState("dead")} are dead: ${named("dead")}. billing explain says why, then billing redrive.`,
    );
    add(
      "needs_reconcile",
      status.needsReconcile > 0 &&
        `${status.needsReconcile} batches may have been applied, but the sink has forgotten their keys (${nameResting(status.resting, "unknown")}): run billing reconcile; what its record does not decide, billing decide does.`,
    );
    add(
      "unapplied",
      batches.unapplied.batches > 0 && `${inState("unapplied")} were accepted without being deducted in full: ${named("unapplied")}.`,
    );
    add("parked", batches.parked.batches > 0 && `${inState("parked")} wait until what the sink names is corrected: ${named("parked")}.`);
    const reviews = Object.entries(status.reviews).filter(([, rows]) => rows > 0);
    add(
      "needs_review",
      reviews.length > 0 &&
        `Spend rows need review: ${reviews.map(([reason, rows]) => `${rows} ${reason}`).join(", ")}: billing review list.`,
    );
  });
}

/** What is away, given up, or late. */
function problemsOfRunning(status: Facts, lateAfterSeconds: number): readonly StatusProblem[] {
  return collect((add) => {
    const { attention } = status;
    for (const { key, message } of attention.alerts) add("alert", `${message} Settled: billing clear-alert ${key}`);
    add(
      "sink_away",
      attention.circuit !== null &&
        `Sink ${attention.circuit.sink} has failed for everybody for ${attention.circuit.openSeconds} s (${attention.circuit.errorCode ?? "no code"}); it is probed by itself.`,
    );
    add(
      "top_up_review",
      attention.topUpsInReview > 0 &&
        `${attention.topUpsInReview} top-ups may have been paid without an answer: billing top-up list --state needs_review; look at them at the sink, then billing top-up settle.`,
    );
    add("webhook_dead", attention.webhooksDead > 0 && `${attention.webhooksDead} webhook events were given up.`);
    add(
      "shadow_differs",
      attention.shadowDifferences > 0 && `${attention.shadowDifferences} batches got another answer from the shadow sink.`,
    );
    const late = Math.max(status.oldestUnsettledSeconds ?? 0, status.oldestUndeliveredSeconds ?? 0);
    add("late", late > lateAfterSeconds && `The oldest event that is not delivered waits for ${late} s.`);
  });
}

/** `org_a 12 customer_not_found, org_b 3`: whose credits rest in a state, the largest first. */
export function nameResting(resting: readonly RestingOrg[], state: RestingOrg["state"]): string {
  const ofState = resting.filter((one) => one.state === state);
  const named = ofState
    .slice(0, NAMED_ORGS)
    .map(({ orgId, credits, errorCode }) => [orgId, credits, errorCode].filter((part) => part !== null).join(" "));
  return `${named.join(", ")}${ofState.length > NAMED_ORGS ? ` and ${ofState.length - NAMED_ORGS} more` : ""}`;
}
