import { readPayer } from "@proliferate/access/principals";
import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError, type ErrorCode } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText, normalizeDecimal } from "@proliferate/shared/money";
import { insertWebhookEvent } from "../webhook-events/index.ts";
import { customerIdForOrg } from "../sinks/index.ts";
import {
  countLiveSessions,
  ensureOrg,
  holdsPlace,
  listOrgsToMove,
  lockGate,
  type OrgGateRow,
  readGate,
  writeLowBalanceTold,
  writeState,
} from "./db.ts";
import { nextOrgState } from "./org-state.ts";

/** What an org is about to do. */
export type BillingOperation = "session_start" | "session_resume" | "cli_connect" | "automation_trigger";

/** New work; the others go on with work that was admitted before, and grace is for them. */
const NEW_WORK: ReadonlySet<BillingOperation> = new Set(["session_start", "automation_trigger"]);

/** What may take a place among an org's live sessions: a paused session has given its own back. */
const TAKES_PLACE: ReadonlySet<BillingOperation> = new Set([...NEW_WORK, "session_resume"]);

/** What the gate knows of an organization; `balanceCredits` is null while no balance is known, and of a kept account. */
interface GateView {
  /** Who pays. */
  readonly orgId: string;
  readonly state: OrgGateRow["state"];
  readonly balanceCredits: DecimalText | null;
}

/**
 * Lets an operation of the team pass by what its payer's gate says, or throws `grace_expired`, `billing_not_configured`, `billing_state_blocked`, `no_credits` or
 * `concurrent_session_limit` (README.md). Fails closed: an org that was never seen is not configured, and is put on record
 * so that the worker asks the sink about it. It promises nothing for later: a session is admitted by `admitSession`.
 */
export async function checkBillingGate(db: DatabaseClient, teamId: string, operation: BillingOperation): Promise<GateView> {
  const orgId = await readPayer(db, teamId);
  await ensureOrg(db, orgId);
  const { gate, refusal } = await db.transaction().execute(async (tx) => {
    const current = await moveOrg(tx, orgId);
    return { gate: current, refusal: await findRefusal(tx, current, operation, null) };
  });
  // The refusal is thrown after the transaction. Thrown inside, it would roll back the new state that the gate was moved to.
  if (refusal) throw refusal;
  return { orgId, state: gate.state, balanceCredits: gate.balance_credits };
}

/**
 * Moves an org to the state that its facts call for, and tells the webhook of what changed, all in this transaction, whose
 * lock on the org it takes. Returns the gate as it is now. Idempotent. Throws `billing_not_configured` for an unknown org.
 */
export async function moveOrg(tx: DatabaseExecutor, orgId: string): Promise<OrgGateRow> {
  if (!(await lockGate(tx, orgId))) throw new AppError("billing_not_configured", `Organization ${orgId} was never seen by billing.`);
  const before = (await readGate(tx, orgId)) as OrgGateRow;
  const next = nextOrgState(before.state, {
    mode: before.mode,
    balanceCredits: before.balance_credits,
    plan: before.plan,
    graceIsOver: before.grace_is_over,
    graceMs: before.grace_ms,
    overdraftCredits: before.overdraft_credits,
  });
  if (next.state !== before.state) {
    await writeState(tx, { orgId, state: next.state, exhaustedBy: next.exhaustedBy ?? null });
    await tellTransition(tx, before, next.state);
  }
  await tellLowBalance(tx, before);
  return (await readGate(tx, orgId)) as OrgGateRow;
}

/** Moves every org that time or usage has moved; what the worker's tick does. Returns how many it looked at. */
export async function moveDueOrgs(db: DatabaseClient): Promise<number> {
  const orgIds = await listOrgsToMove(db);
  for (const orgId of orgIds) await db.transaction().execute((tx) => moveOrg(tx, orgId));
  return orgIds.length;
}

const TOLD_STATES: Readonly<Partial<Record<OrgGateRow["state"], string>>> = {
  grace: "balance.grace_started",
  exhausted: "balance.exhausted",
};

async function tellTransition(tx: DatabaseExecutor, before: OrgGateRow, state: OrgGateRow["state"]): Promise<void> {
  const wasOut = before.state === "grace" || before.state === "exhausted";
  const type = TOLD_STATES[state] ?? (wasOut ? "balance.restored" : undefined);
  if (type === undefined) return;
  const payload = { state, previous_state: before.state, balance_credits: normalizeDecimal(before.balance_credits ?? "0") };
  await insertWebhookEvent(tx, { type, orgId: before.org_id, key: undefined, payload });
}

async function tellLowBalance(tx: DatabaseExecutor, gate: OrgGateRow): Promise<void> {
  if (gate.is_low === gate.low_balance_told || gate.balance_credits === null) return;
  await writeLowBalanceTold(tx, gate.org_id, gate.is_low);
  if (!gate.is_low) return;
  const payload = {
    balance_credits: normalizeDecimal(gate.balance_credits),
    threshold_credits: normalizeDecimal(gate.low_balance_credits),
  };
  await insertWebhookEvent(tx, { type: "balance.low", orgId: gate.org_id, key: undefined, payload });
}

/**
 * Why the operation is refused, or undefined. Call it under the org's lock where the answer must still hold afterwards.
 * `sessionId` is not counted against the limit: it is the one that asks, and where it is live already it keeps its place.
 */
export async function findRefusal(
  db: DatabaseExecutor,
  gate: OrgGateRow,
  operation: BillingOperation,
  sessionId: string | null,
): Promise<AppError | undefined> {
  const code = refusalByState(gate, operation);
  if (code !== undefined) return refusalOf(code, gate);
  if (!TAKES_PLACE.has(operation) || gate.max_sessions === null) return undefined;
  if (sessionId !== null && (await holdsPlace(db, gate.org_id, sessionId))) return undefined;
  const live = await countLiveSessions(db, gate.org_id, sessionId);
  if (live < gate.max_sessions) return undefined;
  return new AppError(
    "concurrent_session_limit",
    `Organization ${gate.org_id} has ${live} live sessions; its limit is ${gate.max_sessions}.`,
  );
}

function refusalByState(gate: OrgGateRow, operation: BillingOperation): ErrorCode | undefined {
  switch (gate.state) {
    case "exhausted":
      return gate.exhausted_by === "grace" ? "grace_expired" : "no_credits";
    case "unconfigured":
      return "billing_not_configured";
    case "suspended":
      return "billing_state_blocked";
    case "grace":
      return NEW_WORK.has(operation) ? "no_credits" : undefined;
    case "trial":
    case "active":
      if (gate.mode === "kept") return undefined;
      return compareDecimals(gate.balance_credits ?? "0", gate.min_credits) < 0 ? "no_credits" : undefined;
  }
}

function refusalOf(code: ErrorCode, gate: OrgGateRow): AppError {
  const who = `Organization ${gate.org_id}`;
  const balance = normalizeDecimal(gate.balance_credits ?? "0");
  if (code === "grace_expired") return new AppError(code, `${who} has ${balance} credits, and its grace period is over.`);
  if (code === "billing_state_blocked")
    return new AppError(code, `${who} is suspended${gate.suspended_reason === null ? "" : `: ${brief(gate.suspended_reason)}`}.`);
  if (code === "no_credits")
    return new AppError(code, `${who} has ${balance} credits; it needs at least ${normalizeDecimal(gate.min_credits)} to begin.`);
  const reason = gate.reconcile_problem === null ? "its balance is being asked for; try again in a few seconds" : gate.reconcile_problem;
  return new AppError("billing_not_configured", `${who} (customer ${customerIdForOrg(gate.org_id)}) has no credits on record: ${reason}.`);
}

/** What an operator wrote for the record, as far as it is for callers: its first words, on one line. */
function brief(reason: string): string {
  const line = reason.replaceAll(/\s+/g, " ").trim();
  return line.length <= SHOWN_REASON ? line : `${line.slice(0, SHOWN_REASON)}…`;
}

const SHOWN_REASON = 120;
