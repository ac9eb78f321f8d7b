import { setTimeout } from "node:timers/promises";
import type { CallerRow } from "@proliferate/access/keys";
import type { AdmittedAttempt } from "@proliferate/access/requests";
import { type AppError, isAppError } from "@proliferate/shared/errors";

/** How long and how many requests wait for what others have reserved. */
export interface AdmissionWaitLimits {
  /** 0: nobody waits. */
  readonly mostMs: number;
  readonly mostPerKey: number;
  readonly most: number;
  /** Of the bodies of all that wait. */
  readonly mostBytes: number;
}

/** The limits where the environment sets none. */
export const ADMISSION_WAIT_LIMITS: AdmissionWaitLimits = { mostMs: 30_000, mostPerKey: 64, most: 1_024, mostBytes: 16 * 1024 * 1024 };

interface WaitingRequest {
  readonly caller: Pick<CallerRow, "keyHash" | "teamId" | "userId">;
  /** What is held while it waits. */
  readonly bytes: number;
  /** Aborts when the caller leaves or the process stops; its reason is what `admit` then throws. */
  readonly gone: AbortSignal;
}

/** Whose limit stands in the way: the key's own, its user's, or one of all in the room (of the team or the payer). */
type Scope = "key" | "user" | "room";

interface Waiter extends WaitingRequest {
  /** Tries to be admitted. Resolves with what stands in the way if that is a reservation, undefined when it is decided. */
  readonly attempt: () => Promise<AppError | undefined>;
  readonly refuse: (error: unknown) => void;
  readonly deadline: number;
  blockedBy: Scope;
  reason: AppError;
  /** Meanwhile nobody ends it: an attempt that succeeds is on record, and its request has to go on to be settled. */
  isTrying: boolean;
  isDone: boolean;
}

/** While nothing is heard, reservations of other processes are looked at so often: at first, and at most so seldom. */
const POLL_MS = { first: 100, most: 1_000 } as const;

/**
 * Where requests wait when only reservations stand in their way. Order: within this process, and for each budget, who came
 * first is tried first, and nobody who came later is tried before: neither a smaller request, nor one that arrives while others
 * wait. A request that waits for a limit of its key or its user holds up that one's alone. Between processes no order holds; each tries
 * the first of its own.
 *
 * They are tried again when a request of the same team (or key) is settled here, and, for what other processes settle, by a
 * look at intervals that grow to a second: one try for each budget that is waited for, however many wait.
 */
export class AdmissionQueue {
  readonly #limits: AdmissionWaitLimits;
  readonly #rooms = new Map<string, Room>();
  readonly #perKey = new Map<string, number>();
  #waiting = 0;
  #bytes = 0;

  constructor(limits: AdmissionWaitLimits) {
    this.#limits = limits;
  }

  /** How many wait now. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * What `attempt` resolves with: at once where it fits and nobody waits before it, else once it fits. Throws what `attempt`
   * throws; its `budget_reserved` or `limit_reserved` only when the request has waited as long as it may, or there is no more room to wait.
   */
  async admit<Admitted>(request: WaitingRequest, attempt: () => Promise<Admitted>): Promise<Admitted> {
    const room = this.#rooms.get(roomOf(request.caller));
    const before = room?.before(request.caller);
    if (before) return this.#wait(request, attempt, before.reason, before.blockedBy);
    try {
      return await attempt();
    } catch (error) {
      if (!isReserved(error)) throw error;
      return await this.#wait(request, attempt, error, scopeOf(error));
    }
  }

  /** Something was settled: whoever waits for its budgets is tried again. */
  settled({ key_hash: keyHash, team_id: teamId, user_id: userId }: Pick<AdmittedAttempt, "key_hash" | "team_id" | "user_id">): void {
    this.#rooms.get(roomOf({ keyHash, teamId }))?.wake({ keyHash, userId });
  }

  async #wait<Admitted>(request: WaitingRequest, attempt: () => Promise<Admitted>, reason: AppError, blockedBy: Scope): Promise<Admitted> {
    const { keyHash } = request.caller;
    const ofKey = this.#perKey.get(keyHash) ?? 0;
    const { mostMs, most, mostPerKey, mostBytes } = this.#limits;
    request.gone.throwIfAborted();
    if (mostMs === 0 || this.#waiting >= most || ofKey >= mostPerKey || this.#bytes + request.bytes > mostBytes) throw reason;
    this.#count(request, 1);
    try {
      return await new Promise<Admitted>((resolve, reject) => {
        const tryOnce = async (): Promise<AppError | undefined> => {
          try {
            resolve(await attempt());
          } catch (error) {
            if (isReserved(error)) return error;
            reject(error);
          }
          return undefined;
        };
        this.#roomFor(request.caller).add({
          ...request,
          attempt: tryOnce,
          refuse: reject,
          deadline: Date.now() + mostMs,
          blockedBy,
          reason,
          isTrying: false,
          isDone: false,
        });
      });
    } finally {
      this.#count(request, -1);
    }
  }

  #count({ caller: { keyHash }, bytes }: WaitingRequest, one: 1 | -1): void {
    const ofKey = (this.#perKey.get(keyHash) ?? 0) + one;
    if (ofKey === 0) this.#perKey.delete(keyHash);
    else this.#perKey.set(keyHash, ofKey);
    this.#waiting += one;
    this.#bytes += one * bytes;
  }

  #roomFor(caller: WaitingRequest["caller"]): Room {
    const id = roomOf(caller);
    const known = this.#rooms.get(id);
    if (known) return known;
    const room = new Room(() => this.#rooms.delete(id));
    this.#rooms.set(id, room);
    return room;
  }
}

/**
 * Those who share a team wait in one room, because its budget is one; who has none, alone with its key. What holds for a user or a payer may
 * be opened from another room, too, by a key of another team: the look at intervals finds out.
 */
class Room {
  readonly #onEmpty: () => void;
  #waiters: Waiter[] = [];
  #wake = new AbortController();
  /** Of whom something was settled since the last round. */
  #settled = new Owners();
  #isRunning = false;

  constructor(onEmpty: () => void) {
    this.#onEmpty = onEmpty;
  }

  /** Who would be overtaken by a request of this caller; undefined if nobody. */
  before(caller: Owner): Waiter | undefined {
    return this.#waiters.find((waiter) => !waiter.isDone && (waiter.blockedBy === "room" || holdsUp(waiter, caller)));
  }

  add(waiter: Waiter): void {
    this.#waiters.push(waiter);
    waiter.gone.addEventListener("abort", () => waiter.isTrying || this.#end(waiter, waiter.gone.reason), { once: true });
    if (!this.#isRunning) void this.#run();
  }

  wake(owner: Owner): void {
    this.#settled.add(owner);
    this.#wake.abort();
  }

  /** Until nobody waits. Never rejects: what goes wrong is told to the waiter that it happened to. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    let pauseMs: number = POLL_MS.first;
    for (let lookAt = Date.now() + pauseMs; this.#waiters.length > 0;) {
      const isWoken = await this.#pause(lookAt);
      // However often others settle, everybody is looked at in time: their budgets may have been opened elsewhere.
      const isLook = !isWoken || Date.now() >= lookAt;
      const settled = this.#settled;
      this.#settled = new Owners();
      const admitted = await this.#round(isLook ? undefined : settled);
      if (!isLook && admitted === 0) continue;
      pauseMs = admitted > 0 ? POLL_MS.first : Math.min(pauseMs * 2, POLL_MS.most);
      lookAt = isLook ? Date.now() + pauseMs : Math.min(lookAt, Date.now() + pauseMs);
    }
    this.#isRunning = false;
    this.#onEmpty();
  }

  /** Until the next look, somebody's settlement, or the first deadline. True if it was a settlement. */
  async #pause(lookAt: number): Promise<boolean> {
    const until = Math.min(lookAt, ...this.#waiters.map(({ deadline }) => deadline));
    const isWoken = await setTimeout(Math.max(0, until - Date.now()), false, { signal: this.#wake.signal }).catch(() => true);
    this.#wake = new AbortController();
    return isWoken;
  }

  /**
   * Tries each in order, as far as nobody before waits for the same budget; after a settlement only those whose budgets it
   * can have opened. How many were admitted or refused.
   */
  async #round(settled: Owners | undefined): Promise<number> {
    const waiting = new Owners();
    let decided = 0;
    for (const waiter of [...this.#waiters]) {
      if (waiter.isDone || waiting.holdUp(waiter.caller)) continue;
      if (settled && waiter.blockedBy !== "room" && !settled.has(waiter.blockedBy, waiter.caller)) {
        waiting.add(waiter.caller, waiter.blockedBy);
        continue;
      }
      waiter.isTrying = true;
      const reserved = await waiter.attempt();
      waiter.isTrying = false;
      if (!reserved) {
        this.#leave(waiter);
        decided += 1;
        continue;
      }
      waiter.reason = reserved;
      waiter.blockedBy = scopeOf(reserved);
      if (waiter.gone.aborted) {
        this.#end(waiter, waiter.gone.reason);
        continue;
      }
      if (waiter.blockedBy === "room") break;
      waiting.add(waiter.caller, waiter.blockedBy);
    }
    for (const waiter of [...this.#waiters]) if (Date.now() >= waiter.deadline) this.#end(waiter, waiter.reason);
    return decided;
  }

  #end(waiter: Waiter, error: unknown): void {
    if (waiter.isDone) return;
    this.#leave(waiter);
    waiter.refuse(error);
    if (this.#waiters.length === 0) this.#wake.abort();
  }

  #leave(waiter: Waiter): void {
    waiter.isDone = true;
    this.#waiters = this.#waiters.filter((other) => other !== waiter);
  }
}

type Owner = Pick<CallerRow, "keyHash" | "userId">;

/** Whether a later request of `caller` would overtake: it is of the same key, or of the user whose limit is waited for. */
function holdsUp({ blockedBy, caller: { keyHash, userId } }: Waiter, caller: Owner): boolean {
  return keyHash === caller.keyHash || (blockedBy === "user" && userId !== null && userId === caller.userId);
}

/** Keys, and the users of some of them. */
class Owners {
  readonly #keys = new Set<string>();
  readonly #users = new Set<string>();

  /** The user is only counted where the matter is not one of the key alone. */
  add({ keyHash, userId }: Owner, scope: Scope = "user"): void {
    this.#keys.add(keyHash);
    if (scope === "user" && userId !== null) this.#users.add(userId);
  }

  has(scope: "key" | "user", { keyHash, userId }: Owner): boolean {
    return scope === "key" ? this.#keys.has(keyHash) : userId !== null && this.#users.has(userId);
  }

  holdUp(owner: Owner): boolean {
    return this.has("key", owner) || this.has("user", owner);
  }
}

function roomOf({ keyHash, teamId }: Pick<CallerRow, "keyHash" | "teamId">): string {
  return teamId === null ? `key:${keyHash}` : `team:${teamId}`;
}

function isReserved(error: unknown): error is AppError {
  return isAppError(error) && (error.code === "budget_reserved" || error.code === "limit_reserved");
}

function scopeOf(error: AppError): Scope {
  const scope = error.details?.["scope"];
  return scope === "key" || scope === "user" ? scope : "room";
}
