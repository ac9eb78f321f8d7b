import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText } from "@proliferate/shared/money";
import { ensureOrg, lockGate, type OrgGateRow, type OrgSettings, readGate, writeSettings, writeState } from "./db.ts";
import { moveOrg } from "./gate.ts";

/** Grace is for work that runs to end, not a loan. */
const MAX_GRACE_MS = 60 * 60 * 1_000;

/** Changes what is given of an org's settings, and its state where they call for another. Throws `invalid_request` naming the setting. */
export async function changeOrgSettings(db: DatabaseClient, orgId: string, settings: OrgSettings): Promise<OrgGateRow> {
  if (settings.graceMs !== undefined) checkWhole("grace_ms", settings.graceMs, MAX_GRACE_MS);
  if (settings.maxSessions !== undefined && settings.maxSessions !== null) checkWhole("max_sessions", settings.maxSessions, 1_000_000);
  checkAmount("overdraft_credits", settings.overdraftCredits);
  checkAmount("min_credits", settings.minCredits);
  checkAmount("low_balance_credits", settings.lowBalanceCredits);
  await ensureOrg(db, orgId);
  return db.transaction().execute(async (tx) => {
    await lockGate(tx, orgId);
    await writeSettings(tx, orgId, settings);
    return moveOrg(tx, orgId);
  });
}

/** Refuses everything to the org from now on; the worker blocks its keys. Usage so far is billed all the same. Idempotent. */
export async function suspendOrg(db: DatabaseClient, orgId: string, reason: string): Promise<OrgGateRow> {
  await ensureOrg(db, orgId);
  return db.transaction().execute(async (tx) => {
    await lockGate(tx, orgId);
    await writeState(tx, { orgId, state: "suspended", exhaustedBy: null, suspendedReason: reason });
    return (await readGate(tx, orgId)) as OrgGateRow;
  });
}

/** Ends a suspension: the balance decides what follows, without a new grace. Idempotent; does nothing to others. */
export async function resumeOrg(db: DatabaseClient, orgId: string): Promise<OrgGateRow> {
  return db.transaction().execute(async (tx) => {
    await lockGate(tx, orgId);
    const gate = await readGate(tx, orgId);
    if (gate?.state === "suspended") await writeState(tx, { orgId, state: "unconfigured", exhaustedBy: null });
    return moveOrg(tx, orgId);
  });
}

function checkWhole(param: string, value: number, maximum: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= maximum) return;
  throw new AppError("invalid_request", `${param} must be a whole number from 0 to ${maximum}.`, { param });
}

function checkAmount(param: string, amount: DecimalText | undefined): void {
  if (amount === undefined) return;
  try {
    if (compareDecimals(amount, "0") >= 0) return;
  } catch {
    // Not a number: the same answer.
  }
  throw new AppError("invalid_request", `${param} must be a decimal number of at least 0.`, { param });
}
