import type { DatabaseClient } from "@proliferate/db";
import { DEFAULT_KEY_MEMORY_MS, deliverBatches, type DeliveryResult } from "./deliver-batches.ts";
import { NONE_REVIVED, reviveOrgs } from "./revive-orgs.ts";
import { enterCircuit } from "./settlement-circuit-db.ts";
import {
  ensureDeployment,
  flagForgottenKeys,
  lockAccountsToSeal,
  type OrgSelection,
  sealBatches,
  type SealedBatches,
} from "./settlement-db.ts";

import type { SettlementOptions } from "./settlement-options.ts";

export interface SettlementResult extends DeliveryResult {
  readonly sealed: number;
  /** Orgs of which nothing could be sealed, because their events are not what their account says: an audit names what is wrong. */
  readonly refused: number;
  /** Batches that became too old to be sent again under their key. */
  readonly flagged: number;
  /** Batches that the sink had nothing to take from, and now has: due again. */
  readonly revived: number;
}

const SEAL_CHUNK_ORGS = 500;
const PASS_TIMEOUT_MS = 50_000;
const UNSEALED =
  "The organization's open events are not what its account says, so nothing of it is sealed; run billing audit to find and heal what is missing.";

/**
 * Seals the open events of every org (or of those given) into batches, each org's atomically. Safe at any time and from
 * anywhere, also while events are written: workers wait for each other, and a second call seals only what is new.
 */
export async function sealOpenEvents(db: DatabaseClient, selection: OrgSelection = {}): Promise<SealedBatches> {
  await ensureDeployment(db);
  const batches: SealedBatches["batches"][number][] = [];
  const refusedOrgIds: string[] = [];
  let afterOrgId = "";
  for (;;) {
    const after = afterOrgId;
    const chunk = await db.transaction().execute(async (tx) => {
      const orgIds = await lockAccountsToSeal(tx, { ...selection, afterOrgId: after, limit: SEAL_CHUNK_ORGS });
      return { orgIds, sealed: orgIds.length === 0 ? { batches: [], refusedOrgIds: [] } : await sealBatches(tx, orgIds) };
    });
    batches.push(...chunk.sealed.batches);
    refusedOrgIds.push(...chunk.sealed.refusedOrgIds);
    if (chunk.orgIds.length < SEAL_CHUNK_ORGS) return { batches, refusedOrgIds };
    afterOrgId = chunk.orgIds.at(-1) ?? "";
  }
}

/**
 * One pass of the outbox: seals, then delivers what is due, unless the sink's circuit is open. Each batch is tried at most
 * once a pass, and an org is left alone after its first failure. May be called by several workers at once. Throws only when
 * the database fails; what the sink does becomes the batch's state.
 */
export async function settle(db: DatabaseClient, options: SettlementOptions): Promise<SettlementResult> {
  const deadline = performance.now() + (options.passTimeoutMs ?? PASS_TIMEOUT_MS);
  const isOver = (): boolean => performance.now() >= deadline || (options.signal?.aborted ?? false);
  const { batches, refusedOrgIds } = await sealOpenEvents(db, { orgIds: options.orgIds });
  for (const orgId of refusedOrgIds)
    options.onProblem?.({ batchId: null, orgId, outcome: "unsealed", code: "ledger_gap", message: UNSEALED });
  options.onStep?.("sealed");
  const flagged = await flagForgottenKeys(db, options.keyMemoryMs ?? DEFAULT_KEY_MEMORY_MS);
  options.onStep?.("flagged");
  const circuit = isOver() ? "open" : await enterCircuit(db, options.sink.name);
  const sent = circuit === "open" ? NOTHING_SENT : await sendDue(db, { ...options, isOver, isProbe: circuit === "probe" });
  return { sealed: batches.length, refused: refusedOrgIds.length, ...sent, flagged };
}

const NOTHING_SENT = { delivered: 0, undelivered: 0, revived: 0 };

/** Both results, or the first error: in either case nothing of the two is still running. */
async function allDone<One, Other>(one: Promise<One>, other: Promise<Other>): Promise<readonly [One, Other]> {
  await Promise.allSettled([one, other]);
  return [await one, await other];
}

/** Orgs are asked about while others are served, so that nobody waits for such an answer; those that it concerns are served afterwards. */
async function sendDue(db: DatabaseClient, options: Parameters<typeof deliverBatches>[1]): Promise<typeof NOTHING_SENT> {
  const [first, revived] = await allDone(
    deliverBatches(db, options),
    options.isProbe ? Promise.resolve(NONE_REVIVED) : reviveOrgs(db, options),
  );
  if (revived.batches === 0 || options.isOver()) return { ...first, revived: revived.batches };
  const then = await deliverBatches(db, { ...options, orgIds: revived.orgIds });
  return { delivered: first.delivered + then.delivered, undelivered: first.undelivered + then.undelivered, revived: revived.batches };
}
