import { setTimeout } from "node:timers/promises";
import type { CallerRow } from "@proliferate/access/keys";
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
  readonly caller: Pick<CallerRow, "keyHash" | "teamId">;
  /** What is held while it waits. */
  readonly bytes: number;
  /** Aborts when the caller leaves or the process stops; its reason is what `admit` then throws. */
  readonly gone: AbortSignal;
}

/** Whose limit stands in the way: the key's own, or one that others share (of its user, team or payer). */
type Scope = "key" | "shared";

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
 * wait. A request that waits for its key's budget holds up that key's alone. Between processes no order holds; each tries
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
    const before = room?.before(request.caller.keyHash);
    if (before) return this.#wait(request, attempt, before.reason, before.blockedBy);
    try {
      return await attempt();
    } catch (error) {
      if (!isReserved(error)) throw error;
      return await this.#wait(request, attempt, error, scopeOf(error));
    }
  }

  /** Something was settled: whoever waits for its budgets is tried again. */
  settled({ key_hash: keyHash, team_id: teamId }: { readonly key_hash: string; readonly team_id: string | null }): void {
    this.#rooms.get(roomOf({ keyHash, teamId }))?.wake(keyHash);
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
 * Those who share a team wait in one room, because its budget is one; who has none, alone with its key. Limits of a user or a payer, which keys
 * of several teams may share, are settled in other rooms, too: there the look at intervals finds out.
 */
class Room {
  readonly #onEmpty: () => void;
  #waiters: Waiter[] = [];
  #wake = new AbortController();
  /** Keys of which something was settled since the last round. */
  #settledKeys = new Set<string>();
  #isRunning = false;

  constructor(onEmpty: () => void) {
    this.#onEmpty = onEmpty;
  }

  /** Who would be overtaken by a request of this key; undefined if nobody. */
  before(keyHash: string): Waiter | undefined {
    return this.#waiters.find((waiter) => !waiter.isDone && (waiter.blockedBy === "shared" || waiter.caller.keyHash === keyHash));
  }

  add(waiter: Waiter): void {
    this.#waiters.push(waiter);
    waiter.gone.addEventListener("abort", () => waiter.isTrying || this.#end(waiter, waiter.gone.reason), { once: true });
    if (!this.#isRunning) void this.#run();
  }

  wake(keyHash: string): void {
    this.#settledKeys.add(keyHash);
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
      const settledKeys = this.#settledKeys;
      this.#settledKeys = new Set();
      const admitted = await this.#round(isLook ? undefined : settledKeys);
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
  async #round(settledKeys: ReadonlySet<string> | undefined): Promise<number> {
    const heldUp = new Set<string>();
    let decided = 0;
    for (const waiter of [...this.#waiters]) {
      const { keyHash } = waiter.caller;
      if (waiter.isDone || heldUp.has(keyHash)) continue;
      if (settledKeys && waiter.blockedBy === "key" && !settledKeys.has(keyHash)) {
        heldUp.add(keyHash);
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
      if (waiter.blockedBy === "shared") break;
      heldUp.add(keyHash);
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

function roomOf({ keyHash, teamId }: WaitingRequest["caller"]): string {
  return teamId === null ? `key:${keyHash}` : `team:${teamId}`;
}

function isReserved(error: unknown): error is AppError {
  return isAppError(error) && (error.code === "budget_reserved" || error.code === "limit_reserved");
}

function scopeOf(error: AppError): Scope {
  return error.details?.["scope"] === "key" ? "key" : "shared";
}
