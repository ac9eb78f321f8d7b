/** Remembers the orgs whose team is known to exist; past `capacity` the one unused for longest is forgotten. */
export class KnownTeams {
  readonly #orgIds = new Set<string>();
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  has(orgId: string): boolean {
    const known = this.#orgIds.delete(orgId);
    if (known) this.#orgIds.add(orgId);
    return known;
  }

  add(orgId: string): void {
    this.#orgIds.delete(orgId);
    this.#orgIds.add(orgId);
    const oldest = this.#orgIds.values().next();
    if (this.#orgIds.size > this.#capacity && !oldest.done) this.#orgIds.delete(oldest.value);
  }

  delete(orgId: string): void {
    this.#orgIds.delete(orgId);
  }
}
