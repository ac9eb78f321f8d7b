import { keepAmount, stateAmount } from "@proliferate/testing/autumn-emulator/decimal";
import { addDecimals, subtractDecimals } from "@proliferate/shared/money";
import type { CustomerState, Fault } from "./schedule.ts";

/** How long Autumn remembers a key. */
const KEY_LIFETIME_MS = 24 * 60 * 60 * 1_000;

/** What each customer was granted; more than any schedule uses. */
export const GRANTED_CREDITS = "1000000000";

/** One `track`, as it came. */
export interface Track {
  readonly batchId: string;
  readonly orgId: string;
  readonly idempotencyKey: string;
  readonly credits: string;
}

/** How Autumn answers a `track`. */
export type TrackReply =
  | { readonly kind: "took"; readonly statedCredits: string }
  | { readonly kind: "took_nothing" | "queued" | "refused" | "lost" | "timeout" }
  | { readonly kind: "error"; readonly status: number; readonly code: string; readonly retryAfterSeconds?: number };

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
  /** A caller was told, or is being told, that it was taken. */
  isStated: boolean;
  /** It was taken under a key that Autumn then did not know: what later attempts were told need not be true. */
  isForgotten: boolean;
}

/** An event: a deduction, a correction, or a track that took nothing. */
interface ModelEvent {
  readonly batchId: string;
  readonly orgId: string;
  readonly value: string;
  readonly tookNothing: boolean;
  /** False once the list has lost it. */
  isListed: boolean;
  /** False once the balance has lost it. */
  isKept: boolean;
  /** A person changed the balance: no list tells of it. */
  readonly isByHand?: boolean;
}

/**
 * Autumn's promises and weaknesses without a network: keys claimed before the work for 24 h in one scope, released by a
 * refusal, 409 for a repeat, amounts of 14 digits, a list of events and balances that can each lose what the other has, and
 * each fault of {@link Fault}. It keeps its own books, with which the ledger is compared.
 */
export class AutumnModel {
  readonly batches = new Map<string, BatchAtAutumn>();
  readonly customers = new Map<string, CustomerState>();
  /** What no injected fault explains: charges, or amounts that Autumn cannot state; each is a defect of the caller. */
  readonly violations: string[] = [];
  /** Every event, oldest first. */
  readonly #events: ModelEvent[] = [];
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
  /** What is left, as Autumn keeps it: rounded at each deduction. */
  readonly #left = new Map<string, string>();
  /** What was used of balances that are gone: the sum of usage begins anew without it. */
  readonly #usedUp = new Map<string, string>();
  /** How often the balance went and another came. */
  readonly #renewals = new Map<string, number>();
  /** Orgs of which the list or the balance lost something, or a balance is gone: its two records need not agree. */
  readonly #confusing = new Set<string>();
  #queue: Track[] = [];

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

  setCustomer(orgId: string, state: CustomerState): void {
    if (state === "no_balance" && this.stateOf(orgId) !== "no_balance") {
      this.#usedUp.set(orgId, this.kept(orgId));
      this.#renewals.set(orgId, this.renewals(orgId) + 1);
      this.#confusing.add(orgId);
    }
    this.customers.set(orgId, state);
  }

  stateOf(orgId: string): CustomerState {
    return this.customers.get(orgId) ?? "ready";
  }

  /** The call arrives. What it returns is on its way to the caller, who may not live to read it. */
  receive(track: Track): TrackReply {
    if (stateAmount(track.credits) !== track.credits)
      this.violations.push(`batch ${track.batchId} asks for ${track.credits}, which Autumn states as ${stateAmount(track.credits)}`);
    const fault = this.isDown ? "refused" : this.#faults.shift();
    if (fault === "refused") return { kind: "refused" };
    if (fault === "reset_before_claim") return { kind: "lost" };
    const key = track.idempotencyKey;
    const isRepeat = this.#isClaimed(key);
    if (isRepeat && fault !== "key_store_down") {
      // Whoever lost the answer "nothing was taken" is now told something else.
      if (this.#takenNothing.delete(key)) this.#booksOf(track).lost += 1;
      return { kind: "error", status: 409, code: "duplicate_idempotency_key" };
    }
    if (isRepeat) this.#booksOf(track).isForgotten = true;
    if (fault === "too_many_requests") return { kind: "error", status: 429, code: "rate_limit_exceeded", retryAfterSeconds: 30 };
    if (fault === "server_error") return { kind: "error", status: 500, code: "internal_error" };
    const customer = this.stateOf(track.orgId);
    if (customer === "missing") return { kind: "error", status: 404, code: "customer_not_found" };
    if (fault !== "key_store_down") this.#keys.set(key, this.#now() + this.skewMs);
    if (customer === "no_balance") {
      this.#takenNothing.add(key);
      this.#events.push({
        batchId: track.batchId,
        orgId: track.orgId,
        value: track.credits,
        tookNothing: true,
        isListed: true,
        isKept: true,
      });
      return { kind: "took_nothing" };
    }
    return this.#work(track, { fault, isRepeat });
  }

  #work(track: Track, { fault, isRepeat }: { readonly fault: Fault | undefined; readonly isRepeat: boolean }): TrackReply {
    const books = this.#booksOf(track);
    switch (fault) {
      case "reset_before_apply":
        books.lost += 1;
        return { kind: "lost" };
      case "hang":
      case "accepted":
        this.#queue.push(track);
        books.queued += 1;
        this.#everQueued.add(track.orgId);
        return { kind: fault === "hang" ? "timeout" : "queued" };
      case "duplicate_apply":
        this.#apply(track, "first");
        this.#apply(track, "injected");
        break;
      default:
        // A repeat that was not recognized: what the first call did, or is still to do, is done twice.
        if (isRepeat) this.#forgive(track);
        this.#apply(track, "first");
    }
    if (fault === "reset_after_apply") return { kind: "lost" };
    if (fault === "key_store_down" && !isRepeat) this.#forgive(track);
    if (fault === "error_after_apply") {
      this.#keys.delete(track.idempotencyKey);
      this.#forgive(track);
      return { kind: "error", status: 500, code: "internal_error" };
    }
    books.isStated = true;
    return { kind: "took", statedCredits: stateAmount(track.credits) };
  }

  /** The batch was taken, and its key is free: one repeat of it is Autumn's doing. */
  #forgive(track: Track): void {
    this.#booksOf(track).isForgotten = true;
    this.#forgiven.set(track.batchId, (this.#forgiven.get(track.batchId) ?? 0) + 1);
  }

  #isClaimed(key: string): boolean {
    const claimedAt = this.#keys.get(key);
    return claimedAt !== undefined && this.#now() + this.skewMs - claimedAt < KEY_LIFETIME_MS;
  }

  #apply(track: Track, kind: "first" | "injected"): void {
    const books = this.#booksOf(track);
    const forgiven = this.#forgiven.get(track.batchId) ?? 0;
    books.applied += 1;
    this.#take(track);
    if (books.applied === 1) return;
    if (kind === "injected") {
      books.injected += 1;
    } else if (forgiven > 0) {
      this.#forgiven.set(track.batchId, forgiven - 1);
      books.injected += 1;
    } else {
      this.violations.push(`batch ${track.batchId} of ${track.orgId} was charged twice (key ${track.idempotencyKey})`);
    }
  }

  #take({ batchId, orgId, credits }: Track): void {
    this.#events.push({ batchId, orgId, value: credits, tookNothing: false, isListed: true, isKept: true });
    this.#left.set(orgId, keepAmount(subtractDecimals(this.remaining(orgId), credits)));
  }

  /** Works off, or loses, what was accepted without being applied. */
  finishQueue(isApplied: boolean): void {
    for (const track of this.#queue.splice(0)) {
      const books = this.#booksOf(track);
      books.queued -= 1;
      if (isApplied) this.#apply(track, "first");
      else books.lost += 1;
    }
  }

  #booksOf(track: Track): BatchAtAutumn {
    const known = this.batches.get(track.batchId);
    if (known) return known;
    const books = {
      orgId: track.orgId,
      credits: track.credits,
      applied: 0,
      injected: 0,
      queued: 0,
      lost: 0,
      isStated: false,
      isForgotten: false,
    };
    this.batches.set(track.batchId, books);
    return books;
  }

  /** A correction arrives, as any deduction does: under a key of its own. Faults spare it. */
  correct(track: Track): TrackReply {
    if (this.isDown) return { kind: "refused" };
    if (this.#isClaimed(track.idempotencyKey)) return { kind: "error", status: 409, code: "duplicate_idempotency_key" };
    this.#keys.set(track.idempotencyKey, this.#now() + this.skewMs);
    this.#take(track);
    return { kind: "took", statedCredits: stateAmount(track.credits) };
  }

  /**
   * Autumn dies or loses its cache: the list, or the balance, forgets the newest deduction of an org that the other still has.
   * Only of a batch that Autumn took once and said so.
   */
  forget(orgId: string, what: "list" | "balance"): void {
    const event = this.#events.findLast(
      (one) => one.orgId === orgId && !one.tookNothing && one.isListed && one.isKept && this.#isPlain(one),
    );
    if (!event) return;
    this.#confusing.add(orgId);
    if (what === "list") {
      event.isListed = false;
      return;
    }
    event.isKept = false;
    this.#left.set(orgId, keepAmount(addDecimals(this.remaining(orgId), event.value)));
  }

  #isPlain({ batchId }: ModelEvent): boolean {
    const books = this.batches.get(batchId);
    return (
      books !== undefined &&
      books.applied === 1 &&
      books.injected === 0 &&
      books.lost === 0 &&
      books.queued === 0 &&
      books.isStated &&
      !books.isForgotten &&
      this.#events.filter((one) => one.batchId === batchId && !one.tookNothing).length === 1
    );
  }

  /** What a person who looks at the balance sees of a batch. */
  keptOf(batchId: string): string {
    return addDecimals(
      ...this.#events.filter((event) => event.batchId === batchId && event.isKept && !event.tookNothing).map((event) => event.value),
    );
  }

  /** A person brings the balance to what our books say of a batch. */
  makeGood(batchId: string, orgId: string, credits: string): void {
    const missing = subtractDecimals(credits, this.keptOf(batchId));
    if (missing === "0") return;
    this.#events.push({ batchId, orgId, value: missing, tookNothing: false, isListed: false, isKept: true, isByHand: true });
    this.#left.set(orgId, keepAmount(subtractDecimals(this.remaining(orgId), missing)));
  }

  /** Newest first. */
  listEvents(orgId: string): readonly ModelEvent[] {
    return this.#events.filter((event) => event.orgId === orgId && event.isListed).toReversed();
  }

  /** What an org has left: granted less taken, as Autumn keeps it. */
  remaining(orgId: string): string {
    return this.#left.get(orgId) ?? GRANTED_CREDITS;
  }

  renewals(orgId: string): number {
    return this.#renewals.get(orgId) ?? 0;
  }

  /** The sum of usage of the balances that are there. */
  usage(orgId: string): string {
    return stateAmount(subtractDecimals(subtractDecimals(GRANTED_CREDITS, this.remaining(orgId)), this.#usedUp.get(orgId) ?? "0"));
  }

  /** True where a person may have to look: the list and the balance need not agree. */
  isConfusing(orgId: string): boolean {
    return this.#confusing.has(orgId);
  }

  /** True as long as all that Autumn took of an org is what callers were told: nothing twice, late, lost or forgotten. */
  isHonest(orgId: string): boolean {
    if (this.#everQueued.has(orgId) || this.forgotten(orgId) !== "0") return false;
    return [...this.batches.values()].every(
      (books) => books.orgId !== orgId || (books.injected === 0 && books.lost === 0 && !books.isForgotten),
    );
  }

  /** Everything that balances of an org still show as taken, exactly; less what was given back. */
  kept(orgId: string): string {
    return addDecimals(
      ...this.#events.filter((event) => event.orgId === orgId && event.isKept && !event.tookNothing).map((event) => event.value),
    );
  }

  /** How often its balance changed, and was rounded. */
  changes(orgId: string): number {
    return (
      this.#events.filter((event) => event.orgId === orgId).length +
      this.#events.filter((event) => event.orgId === orgId && !event.isKept).length
    );
  }

  /** What its balances forgot although it was taken: nobody is charged for it again. */
  forgotten(orgId: string): string {
    return addDecimals(...this.#events.filter((event) => event.orgId === orgId && !event.isKept).map((event) => event.value));
  }

  /** Whether a batch of which a record was lost later had another fault, too: then no one knows what is right. */
  isBeyondTelling(orgId: string): boolean {
    return this.#events.some(
      (event) => event.orgId === orgId && event.isByHand !== true && (!event.isListed || !event.isKept) && !this.#isTaken(event.batchId),
    );
  }

  #isTaken(batchId: string): boolean {
    const books = this.batches.get(batchId);
    return books !== undefined && books.applied === 1 && books.lost === 0 && !books.isForgotten;
  }
}
