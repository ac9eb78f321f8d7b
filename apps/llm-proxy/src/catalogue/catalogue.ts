import { CatalogueSnapshot } from "./snapshot.ts";
import type { CatalogueSource } from "./source.ts";

/** What can be called now. Sources change it only as a whole, so no request ever sees half of a change. */
export class Catalogue {
  #current: CatalogueSnapshot;
  #version = 1;
  readonly #translates: boolean;

  /**
   * `translates`: models are served in dialects that their provider does not speak; default true. Throws what {@link CatalogueSnapshot} throws: a start
   * with a catalogue that contradicts itself is refused.
   */
  constructor(sources: readonly CatalogueSource[], { translates = true }: { readonly translates?: boolean } = {}) {
    this.#translates = translates;
    this.#current = new CatalogueSnapshot(sources, translates);
  }

  /** A request takes it once and keeps it. */
  get current(): CatalogueSnapshot {
    return this.#current;
  }

  /** Of this process: 1 at its start, one more with each swap. */
  get version(): number {
    return this.#version;
  }

  /** Puts another snapshot in the place of the current one. Throws what the constructor throws, and the current one stays. */
  swap(sources: readonly CatalogueSource[]): void {
    this.#current = new CatalogueSnapshot(sources, this.#translates);
    this.#version += 1;
  }
}
