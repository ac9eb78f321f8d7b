import type { AccountMode, DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText, isAmount, normalizeDecimal } from "@proliferate/shared/money";
import { type Operator, recordAction } from "../operator/index.ts";
import {
  countUnsettledOf,
  ensureOrg,
  lockAccount,
  lockGate,
  lockPurchases,
  type OrgGateRow,
  type OrgSettings,
  readGate,
  type UnsettledCounts,
  writeMode,
  writeSettings,
  writeState,
} from "./db.ts";
import { moveOrg } from "./gate.ts";
import { requireOwnPayer } from "./payer.ts";

/** $10,000: what one wrong digit beyond it would do is lock an organization out for good. */
const MAX_MIN_CREDITS = "1000000";

/** Grace is for work that runs to end, not a loan. */
const MAX_GRACE_MS = 60 * 60 * 1_000;

/**
 * Changes what is given of an org's settings, and its state where they call for another. With `operator` the change is put on
 * record, if it is one. Idempotent. Throws `invalid_request` naming the setting, `payer_refused` for a team that another org pays for, and
 * `account_mode_refused` where an account that is to be kept has something to settle; nothing is changed then.
 */
export async function changeOrgSettings(
  db: DatabaseClient,
  orgId: string,
  settings: OrgSettings,
  operator?: Operator,
): Promise<OrgGateRow> {
  if (settings.graceMs !== undefined) checkWhole("grace_ms", settings.graceMs, MAX_GRACE_MS);
  if (settings.maxSessions !== undefined && settings.maxSessions !== null) checkWhole("max_sessions", settings.maxSessions, 1_000_000);
  checkAmount("overdraft_credits", settings.overdraftCredits);
  checkAmount("min_credits", settings.minCredits);
  checkMost("min_credits", settings.minCredits, MAX_MIN_CREDITS);
  checkAmount("low_balance_credits", settings.lowBalanceCredits);
  return db.transaction().execute(async (tx) => {
    await ensureOrg(tx, orgId);
    if (settings.mode !== undefined) await lockPurchases(tx, orgId);
    await lockGate(tx, orgId);
    await requireOwnPayer(tx, orgId);
    const known = (await readGate(tx, orgId)) as OrgGateRow;
    const before = settingsOf(known);
    checkPlanIsOurs(known, settings.plan);
    if (settings.mode !== undefined && settings.mode !== known.mode) await changeMode(tx, orgId, settings.mode);
    await writeSettings(tx, orgId, settings);
    const gate = await moveOrg(tx, orgId);
    const after = settingsOf(gate);
    const changed = Object.keys(after).filter((name) => after[name] !== before[name]);
    const facts = Object.fromEntries(changed.map((name) => [name, { before: before[name], after: after[name] }]));
    if (operator && changed.length > 0) await recordAction(tx, { action: "org.settings_changed", subject: orgId, orgId, operator, facts });
    return gate;
  });
}

/**
 * Settled to kept: only where all that was used so far is settled, as nothing of a kept account is ever sent. Kept to settled: what was
 * kept stays so for good, and sealing begins behind the newest event, as the ends of the open range already say.
 */
async function changeMode(tx: DatabaseExecutor, orgId: string, mode: AccountMode): Promise<void> {
  await lockAccount(tx, orgId);
  if (mode === "kept") {
    const reasons = whatIsUnsettled(await countUnsettledOf(tx, orgId));
    if (reasons.length > 0)
      throw new AppError("account_mode_refused", `${orgId} cannot be kept while it has something to settle: ${reasons.join(", ")}.`, {
        param: "mode",
      });
  }
  await writeMode(tx, orgId, mode);
}

function whatIsUnsettled(counts: UnsettledCounts): readonly string[] {
  const named: readonly (readonly [number, string])[] = [
    [counts.open_events, "open events"],
    [counts.batches, "batches that are not delivered"],
    [counts.unconfirmed_batches, "deliveries that the sink's record has not confirmed"],
    [counts.differences, "differences from the sink's record"],
    [counts.packs, "packs that are being bought"],
  ];
  return named.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
}

/**
 * Refuses everything to the org from now on; the worker blocks its keys. Usage so far is billed all the same. `reason` is told to
 * whoever is refused. Idempotent. Throws `payer_refused` for a team that another org pays for: its gate is not asked.
 */
export async function suspendOrg(db: DatabaseClient, orgId: string, reason: string, operator?: Operator): Promise<OrgGateRow> {
  return db.transaction().execute(async (tx) => {
    await ensureOrg(tx, orgId);
    await lockGate(tx, orgId);
    await requireOwnPayer(tx, orgId);
    const before = (await readGate(tx, orgId)) as OrgGateRow;
    if (before.state === "suspended" && before.suspended_reason === reason) return before;
    await writeState(tx, { orgId, state: "suspended", exhaustedBy: null, suspendedReason: reason });
    if (operator)
      await recordAction(tx, {
        action: "org.suspended",
        subject: orgId,
        orgId,
        operator: { ...operator, reason },
        facts: { previous_state: before.state },
      });
    return (await readGate(tx, orgId)) as OrgGateRow;
  });
}

/** Ends a suspension: the balance decides what follows, without a new grace. Idempotent; does nothing to others. */
export async function resumeOrg(db: DatabaseClient, orgId: string, operator?: Operator): Promise<OrgGateRow> {
  return db.transaction().execute(async (tx) => {
    await ensureOrg(tx, orgId);
    await lockGate(tx, orgId);
    const before = await readGate(tx, orgId);
    if (before?.state === "suspended") await writeState(tx, { orgId, state: "unconfigured", exhaustedBy: null });
    const gate = await moveOrg(tx, orgId);
    if (operator && before?.state === "suspended")
      await recordAction(tx, {
        action: "org.resumed",
        subject: orgId,
        orgId,
        operator,
        facts: { state: gate.state, suspended_reason: before.suspended_reason },
      });
    return gate;
  });
}

/** The settings as they are told and compared. */
function settingsOf(gate: OrgGateRow): Readonly<Record<string, string | number | null>> {
  return {
    mode: gate.mode,
    plan: gate.plan,
    grace_ms: gate.grace_ms,
    overdraft_credits: normalizeDecimal(gate.overdraft_credits),
    min_credits: normalizeDecimal(gate.min_credits),
    max_sessions: gate.max_sessions,
    low_balance_credits: normalizeDecimal(gate.low_balance_credits),
  };
}

/** What a subscription says would be written over at the next reading of the balance: it is refused instead. */
function checkPlanIsOurs({ org_id: orgId, plan, remote_plan_id: planId }: OrgGateRow, wanted: OrgSettings["plan"]): void {
  if (wanted === undefined || wanted === plan || planId === null) return;
  throw new AppError("invalid_request", `The plan of ${orgId} comes from its subscription to "${planId}" at the sink; change it there.`, {
    param: "plan",
  });
}

function checkWhole(param: string, value: number, maximum: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= maximum) return;
  throw new AppError("invalid_request", `${param} must be a whole number from 0 to ${maximum}.`, { param });
}

function checkAmount(param: string, amount: DecimalText | undefined): void {
  if (amount === undefined || isAmount(amount)) return;
  throw new AppError("invalid_request", `${param} must be a decimal number of at least 0, such as 500 or 0.5.`, { param });
}

function checkMost(param: string, amount: DecimalText | undefined, most: DecimalText): void {
  if (amount === undefined || compareDecimals(amount, most) <= 0) return;
  throw new AppError("invalid_request", `${param} may be ${most} at most.`, { param });
}
