import type { DatabaseClient } from "@proliferate/db";
import { claimDueBatches, type ClaimedBatch } from "./claim-batches-db.ts";
import { withDeadline } from "../outgoing/index.ts";
import { readUsageByModel } from "../ledger/index.ts";
import { closeCircuit, openCircuit } from "./settlement-circuit-db.ts";
import {
  type AttemptRecord,
  beginAttempt,
  finishAttempt,
  hadBalance,
  readWaitingOrgs,
  recordOutcome,
  releaseClaims,
} from "./settlement-db.ts";
import type { SettlementOptions } from "./settlement-options.ts";
import { recordOf } from "./transitions.ts";
import type { Delivery, DeliveryOutcome, SettlementSink } from "../sinks/index.ts";

export interface DeliveryResult {
  readonly delivered: number;
  /** Attempts that did not deliver. */
  readonly undelivered: number;
}

const CLAIM_CHUNK_BATCHES = 64;
const CLAIM_BATCHES_PER_ORG = 8;
const DEFAULT_CONCURRENCY = 8;
/** Models that a delivery names; the others are one. */
const MODELS_NAMED = 20;
const DEFAULT_SLOW_AFTER_MS = 2_000;
const DEFAULT_MAX_SLOW = 56;
const DEFAULT_LEASE_MS = 60_000;
/** Of the lease: an attempt is given up, and that is on record, before another worker may begin one. */
const ATTEMPT_SHARE = 5 / 6;
const DEFAULT_CIRCUIT_ORGS = 5;
export const DEFAULT_KEY_MEMORY_MS = 22 * 60 * 60 * 1_000;

/**
 * Delivers what is due, many orgs side by side, the batches of one org one after the other. An org whose attempt fails is
 * left for a later pass, its claims given back; one that is slow gives its place to another; a sink that fails for everybody
 * opens its circuit. With `isProbe` one batch decides whether the circuit closes. Throws only when the database fails.
 */
export async function deliverBatches(
  db: DatabaseClient,
  options: SettlementOptions & { readonly isOver: () => boolean; readonly isProbe: boolean },
): Promise<DeliveryResult> {
  const pass = new DeliveryPass(db, options);
  await pass.run();
  return { delivered: pass.delivered, undelivered: pass.undelivered };
}

/** Orders attempts and answers of this process, whichever pass they are of. */
let moment = 0;
const nextMoment = (): number => (moment += 1);
/** Up to which org batches for each sink were claimed: the next claim goes on from there, so that all get their turn. */
const claimedThrough = new WeakMap<SettlementSink, string>();
/** When each sink last worked for anybody. */
const workedAt = new WeakMap<SettlementSink, number>();

interface Lane {
  /** Settles, never rejecting, when the lane has ended. */
  done: Promise<void>;
  /** Its attempt is slow: another lane goes on in its place, and it ends with the attempt. */
  isSlow: boolean;
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
  readonly #lanes = new Set<Lane>();
  /** Called when a lane has ended or became slow. */
  #onChange: () => void = () => undefined;
  /** The first error of the database. */
  #failure: { readonly reason: unknown } | undefined;
  /** Orgs that failed since the sink last worked for anybody. */
  #failuresInARow = 0;
  #isProbing: boolean;
  #isCut = false;
  #isDetached = false;

  constructor(db: DatabaseClient, options: Parameters<typeof deliverBatches>[1]) {
    this.#db = db;
    this.#options = options;
    this.#isProbing = options.isProbe;
  }

  async run(): Promise<void> {
    if (this.#isProbing) await this.#lane({ done: Promise.resolve(), isSlow: false });
    if (this.#isCut) return;
    for (let lane = 0; lane < (this.#options.concurrency ?? DEFAULT_CONCURRENCY); lane += 1) this.#startLane();
    await this.#untilQuickOnesAreDone();
    if (this.#options.detach) this.#leaveSlowOnes(this.#options.detach);
    else await Promise.all([...this.#lanes].map((lane) => lane.done));
    if (this.#failure) throw this.#failure.reason;
    await releaseClaims(this.#db, this.#waiting.splice(0).flat());
  }

  #startLane(): void {
    const lane: Lane = { done: Promise.resolve(), isSlow: false };
    this.#lanes.add(lane);
    lane.done = this.#lane(lane)
      .catch((reason: unknown) => {
        this.#failure ??= { reason };
        if (this.#isDetached)
          this.#options.onProblem?.({
            batchId: null,
            orgId: "",
            outcome: "unrecorded",
            code: "database_failed",
            message: "An answer could not be put on record; the batch is sent again under its key.",
          });
      })
      .then(() => {
        this.#lanes.delete(lane);
        this.#onChange();
      });
  }

  async #untilQuickOnesAreDone(): Promise<void> {
    while ([...this.#lanes].some((lane) => !lane.isSlow)) await new Promise<void>((resolve) => (this.#onChange = resolve));
  }

  #leaveSlowOnes(detach: (attempt: Promise<void>) => void): void {
    this.#isDetached = true;
    for (const lane of this.#lanes) detach(lane.done);
  }

  get #isOver(): boolean {
    return this.#isCut || this.#options.isOver();
  }

  async #lane(lane: Lane): Promise<void> {
    for (let claims = await this.#nextOrg(); claims !== undefined; claims = await this.#nextOrg()) {
      const [claim, ...others] = claims;
      if (claim !== undefined) await this.#deliver(claim, others, lane);
      if (lane.isSlow || (this.#options.isProbe && this.#isProbing)) return;
    }
  }

  async #nextOrg(): Promise<ClaimedBatch[] | undefined> {
    const claim = this.#claiming.then(async () => {
      if (this.#waiting.length === 0 && !this.#isOver) this.#waiting.push(...(await this.#claim()));
    });
    // A lane whose claim failed ends. The other lanes still wait for batches, and go on.
    this.#claiming = claim.catch(() => undefined);
    await claim;
    if (this.#isOver) return undefined;
    const claims = this.#waiting.shift();
    if (claims?.[0]) this.#busyOrgs.add(claims[0].orgId);
    return claims;
  }

  async #claim(): Promise<ClaimedBatch[][]> {
    const claims = this.#isProbing ? await this.#claimProbe() : await this.#claimUpTo(CLAIM_CHUNK_BATCHES, CLAIM_BATCHES_PER_ORG);
    this.#options.onStep?.("claimed");
    return [...Map.groupBy(claims, (claim) => claim.orgId).values()];
  }

  /** An org that did not fail before, where there is one: its answer tells of the sink. */
  async #claimProbe(): Promise<readonly ClaimedBatch[]> {
    const failing = await readWaitingOrgs(this.#db);
    const fresh = failing.length === 0 ? [] : await this.#claimUpTo(1, 1, failing);
    return fresh.length > 0 ? fresh : this.#claimUpTo(1, 1);
  }

  async #claimUpTo(limit: number, limitPerOrg: number, exceptOrgIds: readonly string[] = []): Promise<readonly ClaimedBatch[]> {
    const afterOrgId = claimedThrough.get(this.#options.sink) ?? "";
    const claims = await claimDueBatches(this.#db, {
      limit,
      limitPerOrg,
      afterOrgId,
      leaseMs: leaseOf(this.#options),
      keyMemoryMs: this.#options.keyMemoryMs ?? DEFAULT_KEY_MEMORY_MS,
      exceptOrgIds: [...this.#triedOrgs, ...this.#busyOrgs, ...exceptOrgIds],
      orgIds: this.#options.orgIds,
    });
    const orgIds = claims.map((claim) => claim.orgId).toSorted();
    // The orgs are visited in a circle. With the start at org_c the order is org_c, org_d, org_a, org_b.
    const last = orgIds.findLast((orgId) => orgId <= afterOrgId) ?? orgIds.at(-1);
    if (last !== undefined) claimedThrough.set(this.#options.sink, last);
    return claims;
  }

  /** One batch; the org's others then wait behind the other orgs', or are given back when they would fail, too. */
  async #deliver(claim: ClaimedBatch, others: ClaimedBatch[], lane: Lane): Promise<void> {
    const startedAt = nextMoment();
    const { slowAfterMs = DEFAULT_SLOW_AFTER_MS } = this.#options;
    const slow =
      slowAfterMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => this.#giveWay(lane, others.splice(0)), slowAfterMs);
    let answer: Answered | undefined;
    try {
      answer = await deliverOne(this.#db, claim, this.#options);
    } finally {
      clearTimeout(slow);
    }
    if (answer?.record.state === "delivered") this.delivered += 1;
    else if (answer) this.undelivered += 1;
    if (answer) await this.#judgeSink(claim, answer, startedAt);
    if (answer?.record.holdsOrg) await releaseClaims(this.#db, others);
    else if (others.length > 0) this.#waiting.push(others);
    this.#busyOrgs.delete(claim.orgId);
  }

  /** A place for another org while this one takes its time; its other batches are claimed again when it is done. */
  #giveWay(lane: Lane, others: ClaimedBatch[]): void {
    const slow = [...this.#lanes].filter((one) => one.isSlow).length;
    if (!this.#lanes.has(lane) || slow >= (this.#options.maxSlow ?? DEFAULT_MAX_SLOW)) return void this.#giveBack(others);
    lane.isSlow = true;
    this.#giveBack(others);
    this.#startLane();
    this.#onChange();
  }

  #giveBack(claims: readonly ClaimedBatch[]): void {
    releaseClaims(this.#db, claims).catch((reason: unknown) => (this.#failure ??= { reason }));
  }

  async #judgeSink(claim: ClaimedBatch, { record, retryAfterMs }: Answered, startedAt: number): Promise<void> {
    const { sink } = this.#options;
    if (record.holdsOrg || STILL_DUE.has(record.state)) this.#triedOrgs.add(claim.orgId);
    if (!isOutage(record)) {
      this.#failuresInARow = 0;
      workedAt.set(sink, nextMoment());
      if (this.#isProbing) await closeCircuit(this.#db, sink.name);
      this.#isProbing = false;
      return;
    }
    // An org that failed before says nothing new of the sink. Neither does an attempt that began before the sink last worked for somebody.
    const tellsOfSink = !claim.isOrgFailing && startedAt > (workedAt.get(sink) ?? 0);
    if (tellsOfSink) this.#failuresInARow += 1;
    if (this.#failuresInARow < (this.#options.circuitOrgs ?? DEFAULT_CIRCUIT_ORGS) && !this.#isProbing) return;
    if (!this.#isCut) await openCircuit(this.#db, sink.name, { code: record.errorCode, retryAfterMs });
    this.#isCut = true;
  }
}

const STILL_DUE: ReadonlySet<string> = new Set(["sealed", "unknown", "parked"]);

/** What would have failed for anybody: no connection, no answer, 5xx, 429. */
const isOutage = (record: AttemptRecord): boolean => record.holdsOrg && (record.outcome === "unavailable" || record.outcome === "unknown");

const leaseOf = (options: SettlementOptions): number => options.leaseMs ?? DEFAULT_LEASE_MS;

/** Always below the lease. */
function attemptTimeoutOf(options: SettlementOptions): number {
  const longestMs = leaseOf(options) * ATTEMPT_SHARE;
  return options.attemptTimeoutMs === Number.POSITIVE_INFINITY
    ? Number.POSITIVE_INFINITY
    : Math.min(options.attemptTimeoutMs ?? longestMs, longestMs);
}

interface Answered {
  readonly record: AttemptRecord;
  readonly retryAfterMs: number;
}

/** One attempt, on record before and after. Undefined when the claim was lost before: nothing was sent. */
async function deliverOne(db: DatabaseClient, claim: ClaimedBatch, options: SettlementOptions): Promise<Answered | undefined> {
  const { keyMemoryMs = DEFAULT_KEY_MEMORY_MS } = options;
  // This is waited for before the attempt begins. The attempt looks at the key's age, and no wait may come between that look and the call.
  const delivery = await described(db, claim, options.sink);
  const attempt = await beginAttempt(db, claim, { idempotencyKey: claim.idempotencyKey, leaseMs: leaseOf(options), keyMemoryMs });
  if (attempt === undefined) return undefined;
  options.onStep?.("begun");
  const outcome = await ifUsedUp(db, claim, await askSink(delivery, options));
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

/** With its usage by model, where the sink wants it: read before each attempt, always the same, as a batch's events never change. */
async function described(db: DatabaseClient, claim: ClaimedBatch, sink: SettlementSink): Promise<Delivery> {
  return sink.wantsUsageByModel ? { ...claim, usageByModel: await readUsageByModel(db, claim.batchId, MODELS_NAMED) } : claim;
}

/** What the sink answers, or that it did not within the lease. Never throws; the message of a foreign error may quote what was sent, so only its name is kept. */
async function askSink(delivery: Delivery, options: SettlementOptions): Promise<DeliveryOutcome> {
  try {
    return await withDeadline(attemptTimeoutOf(options), () => options.sink.deliver(delivery));
  } catch (error) {
    const { name } = error as Error;
    if (name === "TimeoutError") return { kind: "unknown", code: "timeout", message: "The sink did not answer in time." };
    return { kind: "unknown", code: "sink_failed", message: `The sink threw ${name}.` };
  }
}

/** Nothing to take from: where the org had something before, that ended, and the sink says what this means. */
async function ifUsedUp(db: DatabaseClient, claim: ClaimedBatch, outcome: DeliveryOutcome): Promise<DeliveryOutcome> {
  if (outcome.kind !== "unapplied" || outcome.ifUsedUp === undefined || claim.mayBeApplied || !(await hadBalance(db, claim.orgId)))
    return outcome;
  const { ifUsedUp: kind, ...facts } = outcome;
  return { ...facts, kind, code: "used_up", message: "The org's balance at the sink is used up, and it is not to go below." };
}
