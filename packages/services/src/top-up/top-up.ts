import type { DatabaseClient } from "@proliferate/db";
import { addDecimals, compareDecimals } from "@proliferate/shared/money";
import { writeReconcileWanted } from "../balance/index.ts";
import { ensureDeployment } from "../settlement/index.ts";
import { insertWebhookEvent } from "../webhook-events/index.ts";
import {
  claimTopUp,
  closeDueBreaker,
  flagForgottenTopUps,
  insertTopUp,
  isTopUpAllowed,
  listOrgsToTopUp,
  lockPolicy,
  openBreaker,
  readGranted,
  recordTopUp,
  type TopUpRecord,
  type TopUpRow,
} from "./db.ts";
import type { TopUpOutcome, TopUpProvider } from "./top-up-provider.ts";

/** How packs are bought. */
export interface TopUpOptions {
  /** Charges the card. */
  readonly provider: TopUpProvider;
  /** Reconciles the org's balance now; what the sink grants afterwards confirms a pack, and brings its credits in. */
  readonly reconcile: (orgId: string) => Promise<unknown>;
  /** How long a declined card stops further tries. Default 24 h. */
  readonly breakerMs?: number;
  /** For one attempt, well above the provider's time-out. Default 120 s. */
  readonly leaseMs?: number;
  /** Default 23 h: Autumn remembers keys for 24 h. */
  readonly keyMemoryMs?: number;
  /** Default 30 s. */
  readonly retryMs?: number;
  /** The places between two durable steps; a test throws there to be a crash. */
  readonly onStep?: (step: "planned" | "claimed" | "answered" | "recorded") => void;
  /** Told of each pack that was not bought for certain. */
  readonly onProblem?: (problem: { readonly orgId: string; readonly code: string; readonly message: string }) => void;
}

/** How many packs were bought, declined, or are in doubt. */
interface TopUpResult {
  readonly paid: number;
  readonly declined: number;
  readonly unsettled: number;
}

/**
 * Buys a pack for each org that needs one and may have one, and goes on with packs that are under way. Each pack is on
 * record before it is asked for and keeps its key, and no transaction is open during a call, so this may be repeated, run
 * twice at once, and die anywhere (README.md).
 */
export async function topUpDueOrgs(db: DatabaseClient, options: TopUpOptions): Promise<TopUpResult> {
  await ensureDeployment(db);
  await flagForgottenTopUps(db, options.keyMemoryMs ?? 23 * 60 * 60 * 1_000);
  const result = { paid: 0, declined: 0, unsettled: 0 };
  for (const orgId of await listOrgsToTopUp(db)) {
    const state = await topUpOrg(db, orgId, options);
    if (state === "paid") result.paid += 1;
    else if (state === "declined") result.declined += 1;
    else if (state !== undefined) result.unsettled += 1;
  }
  return result;
}

/** Undefined when nothing was to be bought, or the claim was lost. */
async function topUpOrg(db: DatabaseClient, orgId: string, options: TopUpOptions): Promise<TopUpRow["state"] | undefined> {
  await closeDueBreaker(db, orgId);
  if (await isTopUpAllowed(db, orgId)) {
    // The sink is asked again before anything is bought. The credits may have come in by now. What it says of grants is noted: a pack that is
    // paid adds to it, and is confirmed by that.
    await options.reconcile(orgId);
    await db.transaction().execute(async (tx) => {
      await lockPolicy(tx, orgId);
      await insertTopUp(tx, orgId);
    });
  }
  options.onStep?.("planned");
  const topUp = await claimTopUp(db, orgId, options.leaseMs ?? 120_000);
  if (!topUp) return undefined;
  options.onStep?.("claimed");
  const outcome = await options.provider
    .charge({ orgId, planId: topUp.plan_id, credits: topUp.credits, idempotencyKey: topUp.idempotency_key })
    .catch((error: unknown): TopUpOutcome => ({
      kind: "unknown",
      code: "provider_failed",
      message: `The provider threw ${(error as Error).name}.`,
    }));
  options.onStep?.("answered");
  const record = await judge(db, topUp, outcome, options);
  if (!(await recordAnswer(db, topUp, record, options))) return undefined;
  options.onStep?.("recorded");
  if (record.state === "paid") await options.reconcile(orgId);
  else options.onProblem?.({ orgId, code: record.errorCode ?? record.state, message: record.errorMessage ?? "The pack is not paid." });
  return record.state;
}

async function judge(db: DatabaseClient, topUp: TopUpRow, outcome: TopUpOutcome, options: TopUpOptions): Promise<TopUpRecord> {
  const base = {
    errorCode: outcome.code ?? null,
    errorMessage: outcome.message ?? null,
    retryInMs: options.retryMs ?? 30_000,
    certainlyUnpaid: false,
  };
  // An earlier attempt got no answer and may have been paid. This answer speaks of this attempt alone.
  const isFirst = topUp.state === "charging";
  switch (outcome.kind) {
    case "paid":
      return { ...base, state: "paid" };
    case "declined":
      return isFirst || !(await isGranted(db, topUp, options)) ? { ...base, state: "declined" } : { ...base, state: "paid" };
    case "unavailable":
      return isFirst ? { ...base, state: "charging", certainlyUnpaid: true } : { ...base, state: "unknown" };
    case "unknown":
      return (await isGranted(db, topUp, options)) ? { ...base, state: "paid" } : { ...base, state: "unknown" };
  }
}

/** Whether the sink grants as much more as the pack holds since before the first attempt. Without both figures nothing is proven. */
async function isGranted(db: DatabaseClient, topUp: TopUpRow, options: TopUpOptions): Promise<boolean> {
  if (topUp.granted_before === null) return false;
  await options.reconcile(topUp.org_id);
  const granted = await readGranted(db, topUp.org_id);
  return granted !== null && compareDecimals(granted, addDecimals(topUp.granted_before, topUp.credits)) >= 0;
}

async function recordAnswer(db: DatabaseClient, topUp: TopUpRow, record: TopUpRecord, options: TopUpOptions): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    if (!(await recordTopUp(tx, topUp, record))) return false;
    const payload = { top_up_id: topUp.top_up_id, credits: addDecimals(topUp.credits), code: record.errorCode };
    // If the reading that follows fails, the worker's next tick does it.
    if (record.state === "paid") await writeReconcileWanted(tx, topUp.org_id);
    if (record.state === "paid")
      await insertWebhookEvent(tx, { type: "top_up.paid", orgId: topUp.org_id, key: `top_up.paid:${topUp.top_up_id}`, payload });
    if (record.state !== "declined") return true;
    await openBreaker(tx, topUp.org_id, { forMs: options.breakerMs ?? 24 * 60 * 60 * 1_000, reason: record.errorMessage ?? "declined" });
    await insertWebhookEvent(tx, { type: "top_up.declined", orgId: topUp.org_id, key: `top_up.declined:${topUp.top_up_id}`, payload });
    return true;
  });
}
