import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText, isAmount, normalizeDecimal } from "@proliferate/shared/money";
import { isKept } from "../balance/index.ts";
import { ensureOrg } from "../billing-gate/index.ts";
import { type Operator, recordAction } from "../operator/index.ts";
import {
  closeBreaker,
  deletePolicy,
  lockPolicy,
  type PackFilter,
  readPacks,
  readPolicy,
  type TopUpPolicy,
  type TopUpPolicyRow,
  type TopUpRow,
  writePolicy,
} from "./db.ts";

/** Of a column that holds whole numbers. */
const MAX_WHOLE = 2_147_483_647;

/** When and how an org buys packs. */
export interface PolicyView {
  readonly orgId: string;
  readonly enabled: boolean;
  readonly planId: string;
  readonly packCredits: DecimalText;
  readonly thresholdCredits: DecimalText;
  readonly maxPacksPerMonth: number;
  readonly minIntervalMs: number;
  /** After a declined card nothing is bought until then, or until the breaker is reset. */
  readonly breakerUntil: Date | null;
  readonly breakerReason: string | null;
}

/** One pack that was bought, or asked for. */
export interface PackView {
  readonly topUpId: string;
  readonly orgId: string;
  readonly month: string;
  readonly packNumber: number;
  readonly state: TopUpRow["state"];
  readonly planId: string;
  readonly credits: DecimalText;
  /** Its key at the sink: what the purchase is looked up by there. */
  readonly idempotencyKey: string;
  readonly attemptCount: number;
  readonly startedAt: Date;
  readonly finishedAt: Date | null;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
}

/**
 * Sets when and how an org buys packs by itself, as a whole; its breaker and its packs stay as they are. Repeating it changes
 * nothing. With `operator` a change is put on record. Throws `invalid_request` naming the setting, and `account_mode_refused` for a kept account; nothing is changed then.
 */
export async function setTopUpPolicy(db: DatabaseClient, orgId: string, policy: TopUpPolicy, operator?: Operator): Promise<PolicyView> {
  checkPolicy(policy);
  return db.transaction().execute(async (tx) => {
    await ensureOrg(tx, orgId);
    await lockPolicy(tx, orgId);
    if (await isKept(tx, orgId))
      throw new AppError("account_mode_refused", `${orgId} is kept: it has no balance that packs could be bought for.`, {
        param: "org_id",
      });
    const before = await readPolicy(tx, orgId);
    await writePolicy(tx, orgId, policy);
    const after = describePolicy((await readPolicy(tx, orgId)) as TopUpPolicyRow);
    const facts = { before: before === undefined ? null : factsOf(describePolicy(before)), after: factsOf(after) };
    if (operator && JSON.stringify(facts.before) !== JSON.stringify(facts.after))
      await recordAction(tx, { action: "top_up.policy_set", subject: orgId, orgId, operator, facts });
    return after;
  });
}

/**
 * Takes an org's policy away: nothing is bought for it any more. Its packs stay on record and count again when it gets another
 * policy. Returns false where it had none. Throws `decision_refused` while a pack is under way or waits for a person.
 */
export async function removeTopUpPolicy(db: DatabaseClient, orgId: string, operator: Operator): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    await lockPolicy(tx, orgId);
    const before = await readPolicy(tx, orgId);
    if (before === undefined) return false;
    const [open] = await readPacks(tx, { orgId, states: ["charging", "unknown", "needs_review"], limit: 1 });
    if (open)
      throw new AppError(
        "decision_refused",
        `The policy of ${orgId} cannot be removed: its pack ${open.top_up_id} is ${open.state}. ` +
          `${open.state === "needs_review" ? "Settle the pack first: billing top-up settle." : "Wait until it has ended; --disabled buys no more meanwhile."}`,
      );
    await deletePolicy(tx, orgId);
    await recordAction(tx, {
      action: "top_up.policy_removed",
      subject: orgId,
      orgId,
      operator,
      facts: { before: factsOf(describePolicy(before)) },
    });
    return true;
  });
}

/** Lets an org buy again, after its card was replaced. Returns whether the breaker was open. Idempotent. */
export async function resetTopUpBreaker(db: DatabaseClient, orgId: string, operator?: Operator): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    await lockPolicy(tx, orgId);
    const before = await readPolicy(tx, orgId);
    if (before === undefined || before.breaker_until === null) return false;
    await closeBreaker(tx, orgId);
    if (operator)
      await recordAction(tx, {
        action: "top_up.breaker_reset",
        subject: orgId,
        orgId,
        operator,
        facts: { breaker_until: before.breaker_until, breaker_reason: before.breaker_reason },
      });
    return true;
  });
}

/** When and how an org buys packs; undefined where it has no policy, and none is bought. */
export async function readTopUpPolicy(db: DatabaseExecutor, orgId: string): Promise<PolicyView | undefined> {
  const row = await readPolicy(db, orgId);
  return row === undefined ? undefined : describePolicy(row);
}

/** Packs as reports show them, newest first, at most `limit`; of one organization or of some states where these are given. */
export async function listPacks(db: DatabaseExecutor, filter: PackFilter): Promise<readonly PackView[]> {
  return (await readPacks(db, filter)).map(describePack);
}

/** Amounts plain, times as they are. */
function describePolicy(row: TopUpPolicyRow): PolicyView {
  return {
    orgId: row.org_id,
    enabled: row.enabled,
    planId: row.plan_id,
    packCredits: normalizeDecimal(row.pack_credits),
    thresholdCredits: normalizeDecimal(row.threshold_credits),
    maxPacksPerMonth: row.max_packs_per_month,
    minIntervalMs: row.min_interval_ms,
    breakerUntil: row.breaker_until,
    breakerReason: row.breaker_reason,
  };
}

/** A pack as reports show it: instants as they are, amounts as exact decimal text. */
export function describePack(row: TopUpRow): PackView {
  return {
    topUpId: row.top_up_id,
    orgId: row.org_id,
    month: row.month,
    packNumber: row.pack_number,
    state: row.state,
    planId: row.plan_id,
    credits: normalizeDecimal(row.credits),
    idempotencyKey: row.idempotency_key,
    attemptCount: row.attempt_count,
    startedAt: row.started_at,
    finishedAt: row.finished_at,
    errorCode: row.error_code,
    errorMessage: row.error_message,
  };
}

/** What a person sets, without what happened since. */
function factsOf({
  enabled,
  planId,
  packCredits,
  thresholdCredits,
  maxPacksPerMonth,
  minIntervalMs,
}: PolicyView): Readonly<Record<string, unknown>> {
  return {
    enabled,
    plan_id: planId,
    pack_credits: packCredits,
    threshold_credits: thresholdCredits,
    max_packs_per_month: maxPacksPerMonth,
    min_interval_ms: minIntervalMs,
  };
}

function refuse(param: string, rule: string): never {
  throw new AppError("invalid_request", `${param} must be ${rule}.`, { param });
}

function checkPolicy(policy: TopUpPolicy): void {
  if (!/^\S{1,200}$/.test(policy.planId)) refuse("plan_id", "the id of the plan that sells the pack, 1 to 200 characters without blanks");
  if (!isAmount(policy.packCredits) || compareDecimals(policy.packCredits, "0") === 0) refuse("pack_credits", "a decimal number above 0");
  if (policy.thresholdCredits !== undefined && !isAmount(policy.thresholdCredits.replace(/^-/, "")))
    refuse("threshold_credits", "a decimal number");
  if (policy.maxPacksPerMonth !== undefined && !isWhole(policy.maxPacksPerMonth))
    refuse("max_packs_per_month", `a whole number from 0 to ${MAX_WHOLE}`);
  if (policy.minIntervalMs !== undefined && !isWhole(policy.minIntervalMs))
    refuse("min_interval_ms", `a whole number of milliseconds from 0 to ${MAX_WHOLE}`);
}

const isWhole = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= MAX_WHOLE;
