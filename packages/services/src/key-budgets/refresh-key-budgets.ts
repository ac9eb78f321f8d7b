import type { DatabaseClient } from "@proliferate/db";
import { isAppError } from "@proliferate/shared/errors";
import { writeAllRates } from "../balance/index.ts";
import type { RateCard } from "../rates/index.ts";
import { lockGate, moveOrg } from "../billing-gate/index.ts";
import { hasSpendLogs } from "@proliferate/access/spend-logs";
import {
  type ClaimedKey,
  claimUntoldKey,
  decideBudgets,
  listOrgsToRefresh,
  lockReservations,
  reapReservations,
  releaseHeld,
  releaseReservations,
  releaseTelling,
  updateSpentOfNewKeys,
  writeSeen,
  writeTold,
} from "./db.ts";
import type { KeyControl } from "./key-control.ts";

/** How budgets of live keys are brought to the balance. */
export interface RefreshOptions {
  /** What spend costs where no rate card says so. */
  readonly rate: RateCard;
  /** Tells the proxy a key's budget, and whether it is blocked. */
  readonly keys: KeyControl;
  /** How long a mint may take before its reservation counts as abandoned. Default 5 min. */
  readonly mintTimeoutMs?: number;
  /** How long an ended session may hold what is under way. Default 5 min. */
  readonly holdMs?: number;
  /** Told of each key that could not be changed; the next tick tries again. */
  readonly onProblem?: (problem: {
    readonly orgId: string;
    readonly sessionId: string;
    readonly code: string;
    readonly message: string;
  }) => void;
  /** For how long a worker has a key to itself while it tells the proxy; more than twice what its calls may take. Default 2 min. */
  readonly tellLeaseMs?: number;
  /** Between deciding and telling the proxy; a test throws here to be a crash, or waits to be a process that stands still. */
  readonly onStep?: (step: "decided" | "claimed" | "told") => void | Promise<void>;
}

/** How many keys were changed, and how many could not be. */
interface RefreshResult {
  /** Keys of which the proxy was told something. */
  readonly changed: number;
  readonly failed: number;
}

/** By then a key that was minted is noted, and its first events are on the ledger. */
const NEW_KEY_MS = 600_000;
/** A client's two calls take 30 s at most; a claim that is half over may be somebody else's before they end. */
const TELL_LEASE_MS = 120_000;

/**
 * Brings the budgets of live keys to what their orgs can afford now, where anything moved since the last time, blocks keys of orgs that may not go on and unblocks
 * those that may again. Decides in the database first, tells the proxy afterwards (README.md), so it may be repeated, run
 * twice at once, stand still and die anywhere. No transaction is held while the proxy is called.
 */
export async function refreshKeyBudgets(db: DatabaseClient, options: RefreshOptions): Promise<RefreshResult> {
  await writeAllRates(db, options.rate);
  await reapReservations(db, { mintTimeoutMs: options.mintTimeoutMs ?? 300_000, holdMs: options.holdMs ?? 300_000 });
  await updateSpentOfNewKeys(db, NEW_KEY_MS);
  let changed = 0;
  let failed = 0;
  for (const org of await listOrgsToRefresh(db)) {
    const { org_id: orgId } = org;
    // This is a transaction of its own. Moving a gate locks the org's account, and ingest must not wait for that lock while keys are decided.
    await db.transaction().execute((tx) => moveOrg(tx, orgId));
    await db.transaction().execute(async (tx) => {
      await lockGate(tx, orgId);
      await lockReservations(tx, orgId);
      await decideBudgets(tx, orgId);
    });
    await options.onStep?.("decided");
    const told = await tellOrgsKeys(db, orgId, options);
    changed += told.changed;
    failed += told.failed;
    await writeSeen(db, org);
  }
  await releaseHeld(db, { hasSpendLogs: await hasSpendLogs(db) });
  return { changed, failed };
}

async function tellOrgsKeys(db: DatabaseClient, orgId: string, options: RefreshOptions): Promise<RefreshResult> {
  const leaseMs = options.tellLeaseMs ?? TELL_LEASE_MS;
  const tried: string[] = [];
  let failed = 0;
  for (;;) {
    const claimedAt = performance.now();
    const key = await claimUntoldKey(db, orgId, { leaseMs, exceptKeyHashes: tried });
    if (key === undefined) return { changed: tried.length - failed, failed };
    tried.push(key.key_hash);
    await options.onStep?.("claimed");
    // This process stood still for longer than its lease. Another worker may have the key by now, and what this one knows of it is old.
    const problem = performance.now() - claimedAt > leaseMs / 2 ? LATE : await tellProxy(db, key, options);
    if (problem === undefined) continue;
    failed += 1;
    await releaseTelling(db, key);
    options.onProblem?.({ orgId, sessionId: key.session_id, ...problem });
  }
}

const LATE = { code: "too_late", message: "This worker stood still before it could tell the LLM proxy; the key is told again." } as const;

/** Undefined when the proxy knows now; what went wrong otherwise. */
async function tellProxy(
  db: DatabaseClient,
  key: ClaimedKey,
  options: RefreshOptions,
): Promise<{ readonly code: string; readonly message: string } | undefined> {
  try {
    const answers = [
      key.blocked_differs ? await options.keys.setBlocked(key.key_hash, key.blocked) : "done",
      key.budget_differs ? await options.keys.setBudget(key.key_hash, key.budget_usd) : "done",
    ];
    await options.onStep?.("told");
    // The proxy does not know the key any more: somebody revoked it, or it expired. The session's older keys are gone with it.
    if (answers.includes("gone"))
      await releaseReservations(db, key.session_id, { belowGeneration: key.key_generation + 1, hasSpendLogs: await hasSpendLogs(db) });
    else await writeTold(db, key);
    return undefined;
  } catch (error) {
    if (isAppError(error)) return { code: error.code, message: error.message };
    throw error;
  }
}
