import type { AccountMode, DatabaseExecutor, OrgState } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type DecimalText, normalizeDecimal } from "@proliferate/shared/money";
import { readReconciliations } from "../balance/index.ts";
import { customerIdForOrg, readSinkCustomers } from "../sinks/index.ts";
import { isKnownOrg, readGate } from "../billing-gate/index.ts";
import { listPacks, type PackView, type PolicyView, readTopUpPolicy } from "../top-up/index.ts";
import { type OrgKeysRow, type OrgRow, readOrgFindings, readOrgKeys, readOrgReviews, readOrgs } from "./org-report-db.ts";

/** Where an organization stands. Credits exact. */
interface OrgSummary {
  readonly orgId: string;
  readonly state: OrgState;
  readonly stateSince: Date | null;
  /** Why it is exhausted; null in other states. */
  readonly exhaustedBy: string | null;
  readonly graceUntil: Date | null;
  readonly suspendedReason: string | null;
  /** By our own books; null while the sink was never asked. */
  readonly balanceCredits: DecimalText | null;
  /** Used, and not certainly taken by the sink: the sum of the credits below. */
  readonly unpostedCredits: DecimalText;
  /** In no batch yet. */
  readonly openCredits: DecimalText;
  readonly carryCredits: DecimalText;
  /** Sealed, being sent, or without a clear answer. */
  readonly movingCredits: DecimalText;
  readonly parkedCredits: DecimalText;
  readonly deadCredits: DecimalText;
  readonly unappliedCredits: DecimalText;
  /** Used beyond a capped balance: on record, never collected. */
  readonly shortfallCredits: DecimalText;
  /** What becomes of what it uses: sent to the sink, or kept on the ledger. */
  readonly mode: AccountMode;
  /** Used while it was kept: on the ledger, never sent. */
  readonly keptCredits: DecimalText;
  /** Who pays for it; its own id where nobody else does. */
  readonly payerId: string;
  /** The last one that a reading of the sink found, positive where we had too much; null where there was none. */
  readonly drift: { readonly credits: DecimalText; readonly cause: string; readonly severity: string; readonly reconciledAt: Date } | null;
  readonly reconciledAt: Date | null;
  readonly reconcileProblem: string | null;
  readonly liveSessions: number;
}

/** One page of organizations. */
interface OrgPage {
  readonly orgs: readonly OrgSummary[];
  /** Give it to the next call; null on the last page. */
  readonly nextCursor: string | null;
}

/** Organizations that billing knows, by id. Default 100 a page, 500 at most. */
export async function listOrgs(
  db: DatabaseExecutor,
  options: { readonly state?: OrgState | undefined; readonly cursor?: string | undefined; readonly limit?: number | undefined } = {},
): Promise<OrgPage> {
  const limit = Math.min(Math.max(Math.trunc(options.limit ?? 100), 1), 500);
  const rows = await readOrgs(db, { state: options.state, afterOrgId: options.cursor, limit: limit + 1 });
  const orgs = rows.slice(0, limit).map(summaryOf);
  return { orgs, nextCursor: rows.length > limit ? (orgs.at(-1)?.orgId ?? null) : null };
}

/** Everything about one organization. */
export interface OrgReport extends OrgSummary {
  /** What Autumn calls it; other sinks: `customers`. */
  readonly autumnCustomerId: string;
  /** Null where the gate was never asked and nothing was set: the defaults apply. */
  readonly settings: {
    readonly plan: "paid" | "trial";
    /** The sink's plan that `plan` follows; null: it was set by hand. */
    readonly subscribedPlanId: string | null;
    readonly trialEndsAt: Date | null;
    readonly graceMs: number;
    readonly overdraftCredits: DecimalText;
    readonly minCredits: DecimalText;
    /** Null: no limit. */
    readonly maxSessions: number | null;
    readonly lowBalanceCredits: DecimalText;
  } | null;
  /** Markup x credits per USD, as of the last reading; null before it. */
  readonly creditsPerSpendUsd: DecimalText | null;
  /** What the sink granted at the last reading. */
  readonly remoteGrantedCredits: DecimalText | null;
  readonly keys: { readonly live: number; readonly blocked: number; readonly reservedUsd: DecimalText };
  /** Open differences between our books and the sink's. */
  readonly findings: readonly { readonly batchId: string; readonly kind: string; readonly message: string; readonly firstSeenAt: Date }[];
  /** Open reviews by reason. */
  readonly reviews: Readonly<Record<string, number>>;
  /** The last five readings that changed or doubted the balance, newest first. */
  readonly reconciliations: readonly {
    readonly reconciledAt: Date;
    readonly cause: string;
    readonly severity: string;
    readonly beforeCredits: DecimalText | null;
    readonly afterCredits: DecimalText;
    readonly driftCredits: DecimalText;
  }[];
  readonly customers: readonly { readonly sink: string; readonly customerId: string }[];
  readonly topUpPolicy: PolicyView | null;
  /** Packs that are under way or wait for a person. */
  readonly openTopUps: readonly PackView[];
}

/** Throws `org_not_found` for an organization that never spent, has no session and no settings. */
export async function describeOrg(db: DatabaseExecutor, orgId: string): Promise<OrgReport> {
  const [[row], gate, keys, findings, reviews, readings, customers, policy, packs] = await Promise.all([
    readOrgs(db, { orgId, limit: 1 }),
    readGate(db, orgId),
    readOrgKeys(db, orgId),
    readOrgFindings(db, orgId),
    readOrgReviews(db, orgId),
    readReconciliations(db, orgId, 5),
    readSinkCustomers(db, { orgId }),
    readTopUpPolicy(db, orgId),
    listPacks(db, { orgId, states: ["charging", "unknown", "needs_review"], limit: 10 }),
  ]);
  if (row === undefined) throw unknownOrg(orgId);
  return {
    ...summaryOf(row),
    autumnCustomerId: customerIdForOrg(orgId),
    settings: settingsOf(gate),
    creditsPerSpendUsd: plain(gate?.credits_per_spend_usd),
    remoteGrantedCredits: plain(gate?.remote_granted_credits),
    keys: keysOf(keys),
    findings: findings.map((finding) => ({
      batchId: finding.batch_id,
      kind: finding.kind,
      message: finding.message,
      firstSeenAt: finding.first_seen_at,
    })),
    reviews: Object.fromEntries(reviews.map(({ reason, rows }) => [reason, rows])),
    reconciliations: readings.map((reading) => ({
      reconciledAt: reading.reconciled_at,
      cause: reading.cause,
      severity: reading.severity,
      beforeCredits: plain(reading.before_credits),
      afterCredits: normalizeDecimal(reading.after_credits),
      driftCredits: normalizeDecimal(reading.drift_credits),
    })),
    customers: customers.map(({ sink, customerId }) => ({ sink, customerId })),
    topUpPolicy: policy ?? null,
    openTopUps: packs,
  };
}

/** Throws `org_not_found`: a typing error must not become an organization. */
export async function requireKnownOrg(db: DatabaseExecutor, orgId: string): Promise<void> {
  if (!(await isKnownOrg(db, orgId))) throw unknownOrg(orgId);
}

function unknownOrg(orgId: string): AppError {
  return new AppError("org_not_found", `Organization "${orgId}" never spent, has no session, and the gate was never asked about it.`);
}

const plain = (amount: string | null | undefined): DecimalText | null =>
  amount === null || amount === undefined ? null : normalizeDecimal(amount);

function summaryOf(row: OrgRow): OrgSummary {
  const { drift_credits: credits, drift_cause: cause, drift_severity: severity, drift_at: reconciledAt } = row;
  return {
    orgId: row.org_id,
    state: row.state,
    stateSince: row.state_since,
    exhaustedBy: row.exhausted_by,
    graceUntil: row.grace_until,
    suspendedReason: row.suspended_reason,
    balanceCredits: row.balance_credits,
    unpostedCredits: row.unposted_credits,
    openCredits: row.open_credits,
    carryCredits: row.carry_credits,
    movingCredits: row.moving_credits,
    parkedCredits: row.parked_credits,
    deadCredits: row.dead_credits,
    unappliedCredits: row.unapplied_credits,
    shortfallCredits: row.shortfall_credits,
    mode: row.mode,
    keptCredits: row.kept_credits,
    payerId: row.payer_id,
    drift:
      credits === null || cause === null || severity === null || reconciledAt === null ? null : { credits, cause, severity, reconciledAt },
    reconciledAt: row.reconciled_at,
    reconcileProblem: row.reconcile_problem,
    liveSessions: row.live_sessions,
  };
}

function settingsOf(gate: Awaited<ReturnType<typeof readGate>>): OrgReport["settings"] {
  if (gate === undefined) return null;
  return {
    plan: gate.plan,
    subscribedPlanId: gate.remote_plan_id,
    trialEndsAt: gate.remote_trial_ends_at,
    graceMs: gate.grace_ms,
    overdraftCredits: normalizeDecimal(gate.overdraft_credits),
    minCredits: normalizeDecimal(gate.min_credits),
    maxSessions: gate.max_sessions,
    lowBalanceCredits: normalizeDecimal(gate.low_balance_credits),
  };
}

const keysOf = (row: OrgKeysRow): OrgReport["keys"] => ({ live: row.live_keys, blocked: row.blocked_keys, reservedUsd: row.reserved_usd });
