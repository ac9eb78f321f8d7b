import type { DatabaseClient } from "@proliferate/db";
import { parkedDelayMs, retryDelayMs } from "./backoff.ts";
import { closeCircuit, openCircuit } from "./settlement-circuit-db.ts";
import { type AttemptRecord, beginAttempt, claimDueBatches, type ClaimedBatch, finishAttempt, recordOutcome, releaseClaims } from "./settlement-db.ts";
import type { DeliveryOutcome, SettlementSink } from "./sink.ts";

/** The places between two durable steps; a test throws there to be a crash. */
export type SettlementStep = "sealed" | "flagged" | "claimed" | "begun" | "answered" | "attempt_finished" | "recorded";

export interface SettlementOptions {
  readonly sink: SettlementSink;
  /** Only these orgs; default all. */
  readonly orgIds?: readonly string[];
  /** Attempts in flight at once, each of another org. Default 8. */
  readonly concurrency?: number;
  /** How long a claim holds; must be well above the sink's time-out. Default 60 s. */
  readonly leaseMs?: number;
  /** No attempt begins later than this after the pass began; what is due then waits for the next. Default 50 s. */
  readonly passTimeoutMs?: number;
  /** How long after a first uncertain attempt the key may still be used. Default 22 h: Autumn remembers keys for 24 h, and clocks differ. */
  readonly keyMemoryMs?: number;
  /** So many orgs in a row, with nobody in between for whom the sink works, open its circuit. Default 5. */
  readonly circuitOrgs?: number;
  /** No attempt begins after it is aborted. */
  readonly signal?: AbortSignal;
  readonly retryDelayMs?: typeof retryDelayMs;
  readonly parkedDelayMs?: typeof parkedDelayMs;
  readonly onStep?: (step: SettlementStep) => void;
  /** Told of every attempt that did not deliver, of claims that were lost, and of orgs that could not be sealed. */
  readonly onProblem?: (problem: SettlementProblem) => void;
}

export interface SettlementProblem {
  /** Null: the org has no new batch. */
  readonly batchId: string | null;
  readonly orgId: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly message: string | null;
}

export interface DeliveryResult {
  readonly delivered: number;
  /** Attempts that did not deliver. */
  readonly undelivered: number;
}

const CLAIM_CHUNK_BATCHES = 64;
const CLAIM_BATCHES_PER_ORG = 8;
const DEFAULT_CONCURRENCY = 8;
const DEFAULT_LEASE_MS = 60_000;
const DEFAULT_CIRCUIT_ORGS = 5;
export const DEFAULT_KEY_MEMORY_MS = 22 * 60 * 60 * 1_000;

/**
 * Delivers what is due, many orgs side by side, the batches of one org one after the other. An org whose attempt fails is
 * left for a later pass, its claims given back; a sink that fails for everybody opens its circuit. With `isProbe` one batch
 * decides whether the circuit closes. Throws only when the database fails.
 */
export async function deliverBatches(db: DatabaseClient, options: SettlementOptions & { readonly isOver: () => boolean; readonly isProbe: boolean }): Promise<DeliveryResult> {
  const pass = new DeliveryPass(db, options);
  await pass.run();
  return pass;
}

class DeliveryPass implements DeliveryResult {
  delivered = 0;
  undelivered = 0;
  readonly #db: DatabaseClient;
  readonly #options: Parameters<typeof deliverBatches>[1];
  /** Claimed and not begun, a list for each org. */
  readonly #waiting: ClaimedBatch[][] = [];
  /** One claim at a time; the next lane finds its result. */
  #claiming: Promise<void> = Promise.resolve();
  /** Orgs with a batch that was tried and is still to be sent: not again in this pass. */
  readonly #triedOrgs = new Set<string>();
  readonly #busyOrgs = new Set<string>();
  /** Orgs that failed since the sink last worked for anybody. */
  #failuresInARow = 0;
  #isProbing: boolean;
  #isCut = false;

  constructor(db: DatabaseClient, options: Parameters<typeof deliverBatches>[1]) {
    this.#db = db;
    this.#options = options;
    this.#isProbing = options.isProbe;
  }

  async run(): Promise<void> {
    if (this.#isProbing) await this.#lane();
    if (this.#isCut) return;
    const lanes = await Promise.allSettled(Array.from({ length: this.#options.concurrency ?? DEFAULT_CONCURRENCY }, async () => this.#lane()));
    const failure = lanes.find((lane) => lane.status === "rejected");
    if (failure) throw failure.reason;
    await releaseClaims(this.#db, this.#waiting.flat());
  }

  get #isOver(): boolean {
    return this.#isCut || this.#options.isOver();
  }

  async #lane(): Promise<void> {
    for (let claims = await this.#nextOrg(); claims !== undefined; claims = await this.#nextOrg()) {
      const [claim, ...others] = claims;
      if (claim !== undefined) await this.#deliver(claim, others);
      if (this.#options.isProbe && this.#isProbing) return;
    }
  }

  async #nextOrg(): Promise<ClaimedBatch[] | undefined> {
    const claim = this.#claiming.then(async () => {
      if (this.#waiting.length === 0 && !this.#isOver) this.#waiting.push(...(await this.#claim()));
    });
    // A claim that failed ends the lane that asked, not the others' waiting.
    this.#claiming = claim.catch(() => undefined);
    await claim;
    if (this.#isOver) return undefined;
    const claims = this.#waiting.shift();
    if (claims?.[0]) this.#busyOrgs.add(claims[0].orgId);
    return claims;
  }

  async #claim(): Promise<ClaimedBatch[][]> {
    const claims = await claimDueBatches(this.#db, {
      limit: this.#isProbing ? 1 : CLAIM_CHUNK_BATCHES,
      limitPerOrg: this.#isProbing ? 1 : CLAIM_BATCHES_PER_ORG,
      leaseMs: this.#options.leaseMs ?? DEFAULT_LEASE_MS,
      keyMemoryMs: this.#options.keyMemoryMs ?? DEFAULT_KEY_MEMORY_MS,
      exceptOrgIds: [...this.#triedOrgs, ...this.#busyOrgs],
      orgIds: this.#options.orgIds,
    });
    this.#options.onStep?.("claimed");
    return [...Map.groupBy(claims, (claim) => claim.orgId).values()];
  }

  /** One batch; the org's others then wait behind the other orgs', or are given back when they would fail, too. */
  async #deliver(claim: ClaimedBatch, others: ClaimedBatch[]): Promise<void> {
    const answer = await deliverOne(this.#db, claim, this.#options);
    if (answer?.record.state === "delivered") this.delivered += 1;
    else if (answer) this.undelivered += 1;
    if (answer) await this.#judgeSink(claim.orgId, answer);
    if (answer?.record.holdsOrg) await releaseClaims(this.#db, others);
    else if (others.length > 0) this.#waiting.push(others);
    this.#busyOrgs.delete(claim.orgId);
  }

  async #judgeSink(orgId: string, { record, retryAfterMs }: Answered): Promise<void> {
    const { sink } = this.#options;
    if (record.holdsOrg || STILL_DUE.has(record.state)) this.#triedOrgs.add(orgId);
    if (!isOutage(record)) {
      this.#failuresInARow = 0;
      if (this.#isProbing) await closeCircuit(this.#db, sink.name);
      this.#isProbing = false;
      return;
    }
    this.#failuresInARow += 1;
    if (this.#failuresInARow < (this.#options.circuitOrgs ?? DEFAULT_CIRCUIT_ORGS) && !this.#isProbing) return;
    if (!this.#isCut) await openCircuit(this.#db, sink.name, { code: record.errorCode, retryAfterMs });
    this.#isCut = true;
  }
}

const STILL_DUE: ReadonlySet<string> = new Set(["sealed", "unknown", "parked"]);

/** What would have failed for anybody: no connection, no answer, 5xx, 429. */
const isOutage = (record: AttemptRecord): boolean => record.holdsOrg && (record.outcome === "unavailable" || record.outcome === "unknown");

interface Answered {
  readonly record: AttemptRecord;
  readonly retryAfterMs: number;
}

/** One attempt, on record before and after. Undefined when the claim was lost before: nothing was sent. */
async function deliverOne(db: DatabaseClient, claim: ClaimedBatch, options: SettlementOptions): Promise<Answered | undefined> {
  const { leaseMs = DEFAULT_LEASE_MS, keyMemoryMs = DEFAULT_KEY_MEMORY_MS } = options;
  const attempt = await beginAttempt(db, claim, { idempotencyKey: claim.idempotencyKey, leaseMs, keyMemoryMs });
  if (attempt === undefined) return undefined;
  options.onStep?.("begun");
  // The message of a foreign error may quote what was sent, so only its name is kept.
  const outcome = await options.sink.deliver(claim).catch(
    (error: unknown): DeliveryOutcome => ({ kind: "unknown", code: "sink_failed", message: `The sink threw ${(error as Error).name}.` }),
  );
  options.onStep?.("answered");
  const retryAfterMs = "retryAfterMs" in outcome ? (outcome.retryAfterMs ?? 0) : 0;
  const record = recordOf(outcome, { claim, attempt, retryAfterMs, options });
  await finishAttempt(db, claim.batchId, record);
  options.onStep?.("attempt_finished");
  const recorded = await recordOutcome(db, claim, record);
  options.onStep?.("recorded");
  const problem = { batchId: claim.batchId, orgId: claim.orgId, outcome: record.outcome };
  if (!recorded) options.onProblem?.({ ...problem, code: "claim_lost", message: "Another worker holds the batch by now." });
  else if (record.state !== "delivered") options.onProblem?.({ ...problem, code: record.errorCode, message: record.errorMessage });
  return { record, retryAfterMs };
}

/** The table of transitions: what the sink answered decides where the batch goes (README.md). */
function recordOf(
  outcome: DeliveryOutcome,
  { claim, attempt, retryAfterMs, options }: { readonly claim: ClaimedBatch; readonly attempt: number; readonly retryAfterMs: number; readonly options: SettlementOptions },
): AttemptRecord {
  const base = {
    attempt,
    outcome: outcome.kind,
    status: outcome.status ?? null,
    errorCode: outcome.code ?? null,
    errorMessage: outcome.message ?? null,
    deductedCredits: "deductedCredits" in outcome ? outcome.deductedCredits : null,
    balanceAfter: ("balanceAfter" in outcome ? outcome.balanceAfter : undefined) ?? null,
    retryInMs: (options.retryDelayMs ?? retryDelayMs)({ attempt, retryAfterMs }),
    holdsOrg: false,
    needsReconcile: false,
  };
  const parkedInMs = (options.parkedDelayMs ?? parkedDelayMs)({});
  switch (outcome.kind) {
    case "delivered":
    case "shortfall":
      return { ...base, state: outcome.kind, mayBeApplied: true };
    case "unapplied":
      // True of this attempt. Of an earlier one only the sink's record can tell, and a redrive would be a second key.
      if (claim.mayBeApplied) return { ...base, state: "unknown", mayBeApplied: true, needsReconcile: true, deductedCredits: null, holdsOrg: outcome.code === "no_balance" };
      // Without a balance the org's next batch would lose its key in the same way.
      return { ...base, state: "unapplied", mayBeApplied: true, retryInMs: parkedInMs, holdsOrg: outcome.code === "no_balance" };
    case "accepted":
      return { ...base, state: "unknown", mayBeApplied: true };
    case "unknown":
      return { ...base, state: "unknown", mayBeApplied: true, holdsOrg: true };
    case "duplicate":
      if (claim.mayBeApplied) return { ...base, state: "delivered", mayBeApplied: true };
      return { ...base, state: "dead", mayBeApplied: false, errorCode: "key_collision", errorMessage: "The sink knows this key, but no attempt of ours can have reached it: somebody else uses our keys." };
    case "unavailable":
      return { ...base, state: claim.mayBeApplied ? "unknown" : "sealed", mayBeApplied: false, holdsOrg: true };
    case "parked":
      return { ...base, state: "parked", mayBeApplied: false, retryInMs: parkedInMs, holdsOrg: true };
    case "dead":
      return { ...base, state: "dead", mayBeApplied: false };
  }
}
