import { addDecimals, subtractDecimals } from "@proliferate/shared/money";
import type { Correction, Delivery, DeliveryOutcome, RecordedDeduction } from "../../src/billing/sink.ts";
import type { CustomerState, Fault } from "./schedule.ts";

/** How long Autumn remembers a key. */
const KEY_LIFETIME_MS = 24 * 60 * 60 * 1_000;

/** What each customer was granted; more than any schedule uses. */
export const GRANTED_CREDITS = "1000000000";

/** What Autumn did for one batch, under whichever keys it came. */
export interface BatchAtAutumn {
  readonly orgId: string;
  readonly credits: string;
  /** How often its credits were taken. */
  applied: number;
  /** How many of these are Autumn's own doing: a fault that no caller can prevent, only find afterwards. */
  injected: number;
  /** Accepted, and neither applied nor lost yet. */
  queued: number;
  /** A key of it was claimed, and its deduction lost: Autumn's own doing as well. */
  lost: number;
  /** It was taken under a key that Autumn then did not know: what later attempts were told need not be true. */
  isForgotten: boolean;
}

/**
 * Autumn's promises and weaknesses without a network: keys claimed before the work for 24 h in one scope, released by a
 * refusal, 409 for a repeat, and each fault of {@link Fault}. It keeps its own books, with which the ledger is compared.
 */
export class AutumnModel {
  readonly batches = new Map<string, BatchAtAutumn>();
  readonly customers = new Map<string, CustomerState>();
  /** Charges that no injected fault explains; each is a defect of the caller. */
  readonly violations: string[] = [];
  /** Every deduction, as Autumn lists them. */
  readonly #records: (RecordedDeduction & { readonly orgId: string })[] = [];
  isDown = false;
  skewMs = 0;
  readonly #now: () => number;
  readonly #keys = new Map<string, number>();
  readonly #faults: Fault[] = [];
  /** Keys that were answered with success and without a deduction. */
  readonly #takenNothing = new Set<string>();
  readonly #forgiven = new Map<string, number>();
  /** Orgs of which something was ever accepted without being applied at once. */
  readonly #everQueued = new Set<string>();
  #queue: Delivery[] = [];

  /** `now` is the database's clock; `skewMs` is added to it. */
  constructor(now: () => number) {
    this.#now = now;
  }

  spoil(faults: readonly Fault[]): void {
    this.#faults.push(...faults);
  }

  heal(): void {
    this.#faults.length = 0;
    this.isDown = false;
  }

  /** The call arrives. What it returns is on its way to the caller, who may not live to read it. */
  receive(delivery: Delivery): DeliveryOutcome {
    const fault = this.isDown ? "refused" : this.#faults.shift();
    if (fault === "refused") return { kind: "unavailable", code: "econnrefused" };
    if (fault === "reset_before_claim") return { kind: "unknown", code: "connection_lost" };
    const key = delivery.idempotencyKey;
    const isRepeat = this.#isClaimed(key);
    if (isRepeat && fault !== "key_store_down") {
      // Whoever lost the answer "nothing was taken" is now told something else.
      if (this.#takenNothing.delete(key)) this.#booksOf(delivery).lost += 1;
      return { kind: "duplicate", status: 409, code: "duplicate_idempotency_key" };
    }
    if (isRepeat) this.#booksOf(delivery).isForgotten = true;
    if (fault === "too_many_requests") return { kind: "unavailable", status: 429, code: "rate_limit_exceeded", retryAfterMs: 30_000 };
    if (fault === "server_error") return { kind: "unknown", status: 500, code: "internal_error" };
    const customer = this.customers.get(delivery.orgId) ?? "ready";
    if (customer === "missing") return { kind: "parked", status: 404, code: "customer_not_found" };
    if (fault !== "key_store_down") this.#keys.set(key, this.#now() + this.skewMs);
    if (customer === "no_balance") {
      this.#takenNothing.add(key);
      return { kind: "unapplied", status: 200, code: "no_balance", deductedCredits: "0" };
    }
    return this.#work(delivery, { fault, isRepeat });
  }

  #work(delivery: Delivery, { fault, isRepeat }: { readonly fault: Fault | undefined; readonly isRepeat: boolean }): DeliveryOutcome {
    const books = this.#booksOf(delivery);
    switch (fault) {
      case "reset_before_apply":
        books.lost += 1;
        return { kind: "unknown", code: "connection_lost" };
      case "hang":
      case "accepted":
        this.#queue.push(delivery);
        books.queued += 1;
        this.#everQueued.add(delivery.orgId);
        return fault === "hang" ? { kind: "unknown", code: "timeout" } : { kind: "accepted", status: 202, code: "accepted_not_applied" };
      case "duplicate_apply":
        this.#apply(delivery, "first");
        this.#apply(delivery, "injected");
        break;
      default:
        // A repeat that was not recognized: what the first call did, or is still to do, is done twice.
        if (isRepeat) this.#forgive(delivery);
        this.#apply(delivery, "first");
    }
    if (fault === "reset_after_apply") return { kind: "unknown", code: "connection_lost" };
    if (fault === "key_store_down" && !isRepeat) this.#forgive(delivery);
    if (fault === "error_after_apply") {
      this.#keys.delete(delivery.idempotencyKey);
      this.#forgive(delivery);
      return { kind: "unknown", status: 500, code: "internal_error" };
    }
    return { kind: "delivered", status: 200, deductedCredits: delivery.credits, balanceAfter: "0" };
  }

  /** The batch was taken, and its key is free: one repeat of it is Autumn's doing. */
  #forgive(delivery: Delivery): void {
    this.#booksOf(delivery).isForgotten = true;
    this.#forgiven.set(delivery.batchId, (this.#forgiven.get(delivery.batchId) ?? 0) + 1);
  }

  #isClaimed(key: string): boolean {
    const claimedAt = this.#keys.get(key);
    return claimedAt !== undefined && this.#now() + this.skewMs - claimedAt < KEY_LIFETIME_MS;
  }

  #apply(delivery: Delivery, kind: "first" | "injected"): void {
    const books = this.#booksOf(delivery);
    const forgiven = this.#forgiven.get(delivery.batchId) ?? 0;
    books.applied += 1;
    this.#records.push({ batchId: delivery.batchId, orgId: delivery.orgId, credits: delivery.credits });
    if (books.applied === 1) return;
    if (kind === "injected") {
      books.injected += 1;
    } else if (forgiven > 0) {
      this.#forgiven.set(delivery.batchId, forgiven - 1);
      books.injected += 1;
    } else {
      this.violations.push(`batch ${delivery.batchId} of ${delivery.orgId} was charged twice (key ${delivery.idempotencyKey})`);
    }
  }

  /** Works off, or loses, what was accepted without being applied. */
  finishQueue(isApplied: boolean): void {
    for (const delivery of this.#queue.splice(0)) {
      const books = this.#booksOf(delivery);
      books.queued -= 1;
      if (isApplied) this.#apply(delivery, "first");
      else books.lost += 1;
    }
  }

  #booksOf(delivery: Delivery): BatchAtAutumn {
    const known = this.batches.get(delivery.batchId);
    if (known) return known;
    const books = { orgId: delivery.orgId, credits: delivery.credits, applied: 0, injected: 0, queued: 0, lost: 0, isForgotten: false };
    this.batches.set(delivery.batchId, books);
    return books;
  }

  /** A correction arrives, as any deduction does: under a key of its own. Faults spare it. */
  correct(correction: Correction): DeliveryOutcome {
    const { batchId, orgId, credits, idempotencyKey } = correction;
    if (this.isDown) return { kind: "unavailable", code: "econnrefused" };
    if (this.#isClaimed(idempotencyKey)) return { kind: "duplicate", status: 409, code: "duplicate_idempotency_key" };
    this.#keys.set(idempotencyKey, this.#now() + this.skewMs);
    this.#records.push({ batchId, orgId, credits });
    return { kind: "delivered", status: 200, deductedCredits: credits };
  }

  listDeductions(orgId: string): readonly RecordedDeduction[] {
    return this.#records.filter((record) => record.orgId === orgId);
  }

  /** What an org has left: granted less taken. */
  remaining(orgId: string): string {
    return subtractDecimals(GRANTED_CREDITS, this.deducted(orgId));
  }

  /** True as long as all that Autumn took of an org is what callers were told: nothing twice, late or lost. */
  isHonest(orgId: string): boolean {
    return !this.#everQueued.has(orgId) && [...this.batches.values()].every((books) => books.orgId !== orgId || (books.injected === 0 && books.lost === 0 && !books.isForgotten));
  }

  /** Everything taken from an org, exactly; less what was given back. */
  deducted(orgId: string): string {
    return addDecimals(...this.listDeductions(orgId).map((record) => record.credits));
  }
}
