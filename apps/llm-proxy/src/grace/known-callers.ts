import type { DatabaseClient } from "@proliferate/db";
import { type Logger, startLoop, type Stoppable } from "@proliferate/runtime";
import { type CallerRow, type KeyState, listUsableKeys } from "@proliferate/access/keys";
import { type CountedLimit, readLimits } from "@proliferate/access/limits";
import { readClock } from "@proliferate/access/requests";

interface KnownCallersOptions {
  readonly db: DatabaseClient;
  readonly logger: Logger;
  /** A key that was not seen for so long is forgotten. */
  readonly knownMs: number;
  /** While this is true nothing is read and nothing is forgotten. */
  readonly isStoreAbsent: () => boolean;
}

/** What is known of one key and what it calls. */
interface KnownPath {
  readonly limits: readonly CountedLimit[];
}

interface Path {
  limits: readonly CountedLimit[] | undefined;
  readAtMs: number;
  /** Something of it was settled since. */
  isStale: boolean;
}

interface Known {
  readonly caller: CallerRow;
  readonly seenAtMs: number;
  readonly paths: Map<string, Path>;
}

const servedPathsOf = ({ paths }: Known): number => [...paths.values()].filter(({ limits }) => limits !== undefined).length;

const MOST_KEYS = 10_000;
const MOST_MODELS_PER_KEY = 16;
const ROUND_MS = 1_000;
/** So many paths are read in a round, the longest unread first: the store is asked so often a second at most, however many there are. */
const PATHS_A_ROUND = 40;
/** A path of which something was settled is read again after so long; one of which nothing was, after that. */
const STALE_MS = 5_000;
const FRESH_MS = 30_000;
/** Whose keys still may be used is asked in every so manieth round, this many in a statement. */
const ROUNDS_BETWEEN_KEYS = 5;
const KEYS_A_STATEMENT = 1_000;

/**
 * The keys that this process has served lately, with what their limits said: what can be known of them while the store is away. Kept up
 * to date in the background while the store is there: keys that were revoked or blocked are forgotten within some seconds, whoever did it,
 * and limits are read again after their requests end.
 */
export class KnownCallers implements Stoppable {
  readonly #options: KnownCallersOptions;
  /** By the hash of what was shown: a key that was regenerated may have two secrets for a while. */
  readonly #keys = new Map<string, Known>();
  /** What was shown of each key, by its id. */
  readonly #shown = new Map<string, Set<string>>();
  readonly #loop: Stoppable;
  #clock: { readonly storeMs: number; readonly atMs: number } | undefined;
  #rounds = 0;

  constructor(options: KnownCallersOptions) {
    this.#options = options;
    this.#loop = startLoop("known_callers", ROUND_MS, (signal) => this.refresh(signal), {
      first: "after a pause",
      onError: (error) => options.logger.warn({ error: String(error) }, "known_callers.not_read"),
    });
  }

  /** Keys that could be served if the store went away now. */
  get size(): number {
    return [...this.#keys.values()].filter((known) => servedPathsOf(known) > 0).length;
  }

  /** What they could call: pairs of a key and a model. */
  get pathCount(): number {
    return [...this.#keys.values()].reduce((count, known) => count + servedPathsOf(known), 0);
  }

  /** The store knows the key: so it stands there now. */
  seen(caller: CallerRow): void {
    const known = this.#keys.get(caller.shownHash);
    // A path's limits are those of its team and user: with others it is another path.
    const paths = known && stateOf(known.caller) === stateOf(caller) ? known.paths : new Map<string, Path>();
    // Whoever was seen last is forgotten last.
    this.forget(caller.shownHash);
    this.#keys.set(caller.shownHash, { caller, seenAtMs: performance.now(), paths });
    this.#shown.set(caller.keyHash, (this.#shown.get(caller.keyHash) ?? new Set()).add(caller.shownHash));
    const [oldest] = this.#keys.keys();
    if (this.#keys.size > MOST_KEYS && oldest !== undefined) this.forget(oldest);
  }

  /** The store does not know the key that was shown. */
  forget(shownHash: string): void {
    const keyHash = this.#keys.get(shownHash)?.caller.keyHash;
    this.#keys.delete(shownHash);
    const shown = keyHash === undefined ? undefined : this.#shown.get(keyHash);
    shown?.delete(shownHash);
    if (keyHash !== undefined && shown?.size === 0) this.#shown.delete(keyHash);
  }

  /** A request of the key with this id for this model was admitted or settled: its limits are worth reading again, by whatever secret they are reached. */
  touched(keyHash: string, model: string): void {
    for (const shownHash of this.#shown.get(keyHash) ?? []) {
      const paths = this.#keys.get(shownHash)?.paths;
      const path = paths?.get(model);
      if (path) path.isStale = true;
      else if (paths && paths.size < MOST_MODELS_PER_KEY) paths.set(model, { limits: undefined, readAtMs: -Infinity, isStale: true });
    }
  }

  /** The key as the store had it, by the hash of what is shown; undefined where it was not seen lately. */
  caller(shownHash: string): CallerRow | undefined {
    const known = this.#keys.get(shownHash);
    return known && performance.now() - known.seenAtMs <= this.#options.knownMs ? known.caller : undefined;
  }

  /** What the limits of the key said that are about all or about this model; undefined where that was never read. */
  path(shownHash: string, model: string): KnownPath | undefined {
    const limits = this.#keys.get(shownHash)?.paths.get(model)?.limits;
    return limits && { limits };
  }

  /** The time by the store's clock, as it went on since it was read; undefined where it never was. */
  now(): Date | undefined {
    return this.#clock && new Date(this.#clock.storeMs + performance.now() - this.#clock.atMs);
  }

  /** One round of looking at the store. Throws what its statements throw. */
  async refresh(signal?: AbortSignal): Promise<void> {
    if (this.#options.isStoreAbsent()) return;
    this.#forgetUnseen();
    if (this.#keys.size === 0) return;
    if (this.#rounds % ROUNDS_BETWEEN_KEYS === 0) await this.#refreshKeys();
    this.#rounds += 1;
    for (const { known, model, path } of this.#due()) {
      if (signal?.aborted || this.#options.isStoreAbsent()) return;
      path.isStale = false;
      const { limits, isChanged } = await readLimits(this.#options.db, known.caller, model);
      // It is known again with its next request, if it is still there.
      if (isChanged && this.#keys.get(known.caller.shownHash) === known) this.forget(known.caller.shownHash);
      path.limits = isChanged ? undefined : limits;
      path.readAtMs = performance.now();
    }
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
  }

  #forgetUnseen(): void {
    for (const [shownHash, { seenAtMs }] of this.#keys) if (performance.now() - seenAtMs > this.#options.knownMs) this.forget(shownHash);
  }

  async #refreshKeys(): Promise<void> {
    // Read before it is noted: what is told by it is never ahead of the store.
    const clock = { storeMs: (await readClock(this.#options.db)).getTime(), atMs: performance.now() };
    this.#clock = clock;
    const hashes = [...this.#keys.keys()];
    for (let from = 0; from < hashes.length; from += KEYS_A_STATEMENT) {
      const asked = hashes.slice(from, from + KEYS_A_STATEMENT);
      const usable = new Map((await listUsableKeys(this.#options.db, asked)).map((key) => [key.shownHash, stateOf(key)]));
      for (const shownHash of asked) {
        const known = this.#keys.get(shownHash);
        // One that was changed is known again with its next request.
        if (known && usable.get(shownHash) !== stateOf(known.caller)) this.forget(shownHash);
      }
    }
  }

  #due(): readonly { readonly known: Known; readonly model: string; readonly path: Path }[] {
    const now = performance.now();
    return [...this.#keys.values()]
      .flatMap((known) => [...known.paths].map(([model, path]) => ({ known, model, path })))
      .filter(({ path }) => now - path.readAtMs > (path.isStale ? STALE_MS : FRESH_MS))
      .toSorted((a, b) => a.path.readAtMs - b.path.readAtMs)
      .slice(0, PATHS_A_ROUND);
  }
}

function stateOf({ token, teamId, userId, models, teamModels, allowedRoutes, aliases }: Omit<KeyState, "shownHash">): string {
  return JSON.stringify([token, teamId, userId, models, teamModels, allowedRoutes, aliases]);
}
