export type KeyChange =
  | { readonly type: "claim"; readonly key: string; readonly atMs: number }
  | { readonly type: "release"; readonly key: string };

/** How long Autumn remembers a key. */
const KEY_LIFETIME_MS = 24 * 60 * 60 * 1_000;

/**
 * Claims, not answers: a repeat learns only that the key was used. One scope for the whole organization: neither customer,
 * route nor body matters. A repeat does not extend a claim.
 */
export class KeyStore {
  readonly #claimedAtMs = new Map<string, number>();
  readonly #record: (change: KeyChange) => void;
  readonly #now: () => number;

  constructor(now: () => number, record: (change: KeyChange) => void) {
    this.#now = now;
    this.#record = record;
  }

  /** False if the key is taken. */
  claim(key: string): boolean {
    const claimedAtMs = this.#claimedAtMs.get(key);
    if (claimedAtMs !== undefined && this.#now() - claimedAtMs < KEY_LIFETIME_MS) return false;
    const change = { type: "claim", key, atMs: this.#now() } as const;
    this.#record(change);
    this.replay(change);
    return true;
  }

  release(key: string): void {
    const change = { type: "release", key } as const;
    this.#record(change);
    this.replay(change);
  }

  replay(change: KeyChange): void {
    if (change.type === "claim") this.#claimedAtMs.set(change.key, change.atMs);
    else this.#claimedAtMs.delete(change.key);
  }
}
