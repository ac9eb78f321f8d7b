import type { DatabaseClient } from "@proliferate/db";
import { parkedDelayMs, retryDelayMs } from "./backoff.ts";
import {
  type AttemptRecord,
  beginAttempt,
  claimDueBatches,
  type ClaimedBatch,
  ensureDeployment,
  finishAttempt,
  flagForgottenKeys,
  lockAccountsToSeal,
  recordOutcome,
  releaseClaims,
  type SealedBatch,
  sealBatches,
} from "./settlement-db.ts";
import type { DeliveryOutcome, SettlementSink } from "./sink.ts";

/** The places between two durable steps; a test throws there to be a crash. */
export type SettlementStep = "sealed" | "flagged" | "claimed" | "begun" | "answered" | "attempt_finished" | "recorded";

export interface SettlementOptions {
  readonly sink: SettlementSink;
  /** Attempts in flight at once. Default 8. */
  readonly concurrency?: number;
  /** How long a claim holds; must be well above the sink's time-out. Default 60 s. */
  readonly leaseMs?: number;
  /** No attempt begins later than this after the pass began; what is due then waits for the next. Default 50 s. */
  readonly passTimeoutMs?: number;
  /** How long after a first uncertain attempt the key may still be used. Default 23 h: Autumn remembers keys for 24 h. */
  readonly keyMemoryMs?: number;
  /** No attempt begins after it is aborted. */
  readonly signal?: AbortSignal;
  readonly retryDelayMs?: typeof retryDelayMs;
  readonly parkedDelayMs?: typeof parkedDelayMs;
  readonly onStep?: (step: SettlementStep) => void;
  /** Told of every attempt that did not deliver, and of claims that were lost. */
  readonly onProblem?: (problem: SettlementProblem) => void;
}

export interface SettlementProblem {
  readonly batchId: string;
  readonly orgId: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly message: string | null;
}

export interface SettlementResult {
  readonly sealed: number;
  readonly delivered: number;
  /** Attempts that did not deliver. */
  readonly undelivered: number;
  /** Batches that became too old to be sent again under their key. */
  readonly flagged: number;
}

const SEAL_CHUNK_ORGS = 500;
const CLAIM_CHUNK_BATCHES = 64;

/**
 * Seals the open events of every org into batches, each org's atomically. Orgs that another worker is sealing right now
 * are left to it. Safe at any time and from anywhere; a second call seals only what is new.
 */
export async function sealOpenEvents(db: DatabaseClient): Promise<readonly SealedBatch[]> {
  await ensureDeployment(db);
  const sealed: SealedBatch[] = [];
  let afterOrgId = "";
  for (;;) {
    const after = afterOrgId;
    const chunk = await db.transaction().execute(async (tx) => {
      const orgIds = await lockAccountsToSeal(tx, { afterOrgId: after, limit: SEAL_CHUNK_ORGS });
      return { orgIds, batches: orgIds.length === 0 ? [] : await sealBatches(tx, orgIds) };
    });
    sealed.push(...chunk.batches);
    if (chunk.orgIds.length < SEAL_CHUNK_ORGS) return sealed;
    afterOrgId = chunk.orgIds.at(-1) ?? "";
  }
}

/**
 * One pass of the outbox: seals, then delivers what is due. Each batch is tried at most once a pass. May be called by
 * several workers at once. Throws only when the database fails; what the sink does becomes the batch's state.
 */
export async function settle(db: DatabaseClient, options: SettlementOptions): Promise<SettlementResult> {
  const deadline = performance.now() + (options.passTimeoutMs ?? 50_000);
  const isOver = (): boolean => performance.now() >= deadline || (options.signal?.aborted ?? false);
  const sealed = await sealOpenEvents(db);
  options.onStep?.("sealed");
  const flagged = await flagForgottenKeys(db, options.keyMemoryMs ?? 23 * 60 * 60 * 1_000);
  options.onStep?.("flagged");

  let delivered = 0;
  let undelivered = 0;
  const tried = new Set<string>();
  while (!isOver()) {
    const claims = await claimDueBatches(db, { limit: CLAIM_CHUNK_BATCHES, leaseMs: options.leaseMs ?? 60_000 });
    const fresh = claims.filter((claim) => !tried.has(claim.batchId));
    fresh.forEach((claim) => tried.add(claim.batchId));
    options.onStep?.("claimed");
    const kinds = await deliverAll(db, fresh, { ...options, isOver });
    delivered += kinds.filter((kind) => kind === "delivered").length;
    undelivered += kinds.filter((kind) => kind !== "delivered").length;
    await releaseClaims(db, claims.filter((claim) => !fresh.includes(claim)));
    if (fresh.length < CLAIM_CHUNK_BATCHES || isOutage(kinds)) break;
  }
  return { sealed: sealed.length, delivered, undelivered, flagged };
}

/** Nobody got through: the rest waits for the next pass instead of each waiting for its own time-out. */
function isOutage(kinds: readonly string[]): boolean {
  return kinds.length > 0 && kinds.every((kind) => kind === "unavailable" || kind === "unknown");
}

/** Delivers with bounded concurrency. When the pass is over, or when one delivery throws, the claims not begun are given back. */
async function deliverAll(db: DatabaseClient, claims: readonly ClaimedBatch[], options: SettlementOptions & { readonly isOver: () => boolean }): Promise<readonly string[]> {
  const waiting = [...claims];
  const kinds: string[] = [];
  const lane = async (): Promise<void> => {
    for (let claim = waiting.shift(); claim !== undefined; claim = waiting.shift()) {
      if (options.isOver()) {
        waiting.unshift(claim);
        return;
      }
      const kind = await deliverOne(db, claim, options);
      if (kind !== undefined) kinds.push(kind);
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(options.concurrency ?? 8, claims.length) }, lane));
  const failure = lanes.find((result) => result.status === "rejected");
  if (failure) throw failure.reason;
  await releaseClaims(db, waiting);
  return kinds;
}

/** One attempt, on record before and after. Returns what became of it, or undefined when the claim was lost before. */
async function deliverOne(db: DatabaseClient, claim: ClaimedBatch, options: SettlementOptions): Promise<string | undefined> {
  const attempt = await beginAttempt(db, claim, { idempotencyKey: claim.idempotencyKey, leaseMs: options.leaseMs ?? 60_000 });
  if (attempt === undefined) return undefined;
  options.onStep?.("begun");
  // The message of a foreign error may quote what was sent, so only its name is kept.
  const outcome = await options.sink.deliver(claim).catch(
    (error: unknown): DeliveryOutcome => ({ kind: "unknown", code: "sink_failed", message: `The sink threw ${(error as Error).name}.` }),
  );
  options.onStep?.("answered");
  const record = recordOf(outcome, { claim, attempt, options });
  await finishAttempt(db, claim.batchId, record);
  options.onStep?.("attempt_finished");
  const recorded = await recordOutcome(db, claim, record);
  options.onStep?.("recorded");
  if (!recorded) options.onProblem?.({ batchId: claim.batchId, orgId: claim.orgId, outcome: record.outcome, code: "claim_lost", message: "Another worker holds the batch by now." });
  else if (record.state !== "delivered") {
    options.onProblem?.({ batchId: claim.batchId, orgId: claim.orgId, outcome: record.outcome, code: record.errorCode, message: record.errorMessage });
  }
  return record.state === "delivered" ? "delivered" : record.outcome;
}

/** The table of transitions: what the sink answered decides where the batch goes (README.md). */
function recordOf(
  outcome: DeliveryOutcome,
  { claim, attempt, options }: { readonly claim: ClaimedBatch; readonly attempt: number; readonly options: SettlementOptions },
): AttemptRecord {
  const retryAfterMs = "retryAfterMs" in outcome ? (outcome.retryAfterMs ?? 0) : 0;
  const retryInMs = (options.retryDelayMs ?? retryDelayMs)({ attempt, retryAfterMs });
  const base = {
    attempt,
    outcome: outcome.kind,
    status: outcome.status ?? null,
    errorCode: outcome.code ?? null,
    errorMessage: outcome.message ?? null,
    deductedCredits: "deductedCredits" in outcome ? outcome.deductedCredits : null,
    balanceAfter: ("balanceAfter" in outcome ? outcome.balanceAfter : undefined) ?? null,
    retryInMs,
  };
  switch (outcome.kind) {
    case "delivered":
      return { ...base, state: "delivered", mayBeApplied: true };
    case "unapplied":
      return { ...base, state: "unapplied", mayBeApplied: true };
    case "accepted":
    case "unknown":
      return { ...base, state: "unknown", mayBeApplied: true };
    case "duplicate":
      if (claim.mayBeApplied) return { ...base, state: "delivered", mayBeApplied: true };
      return { ...base, state: "dead", mayBeApplied: false, errorCode: "key_collision", errorMessage: "The sink knows this key, but no attempt of ours can have reached it: somebody else uses our keys." };
    case "unavailable":
      return { ...base, state: claim.mayBeApplied ? "unknown" : "sealed", mayBeApplied: false };
    case "parked":
      return { ...base, state: "parked", mayBeApplied: false, retryInMs: (options.parkedDelayMs ?? parkedDelayMs)({}) };
    case "dead":
      return { ...base, state: "dead", mayBeApplied: false };
  }
}
