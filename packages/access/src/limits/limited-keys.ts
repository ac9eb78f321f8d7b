/** So many keys are remembered; the one that was noted longest ago is forgotten first. */
const MOST_KEYS = 10_000;

/**
 * Which keys had a limit beside their two budgets when they were last looked at. It says which of two admission statements is tried first,
 * and never what one decides: a memory that is wrong or empty costs a few statements more.
 */
export class LimitedKeys {
  readonly #hashes = new Set<string>();

  has(keyHash: string): boolean {
    return this.#hashes.has(keyHash);
  }

  note(keyHash: string, isLimited: boolean): void {
    this.#hashes.delete(keyHash);
    if (!isLimited) return;
    this.#hashes.add(keyHash);
    const [oldest] = this.#hashes;
    if (this.#hashes.size > MOST_KEYS && oldest !== undefined) this.#hashes.delete(oldest);
  }
}
