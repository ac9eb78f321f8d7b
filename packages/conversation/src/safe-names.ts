import { createHash } from "node:crypto";

/** Digits of a digest that stand for what does not fit. */
const DIGEST_LENGTH = 16;

/**
 * Names and ids in the form in which a provider takes them: one that does not fit is cut, and told apart by a digest of the whole, so the same text is
 * the same everywhere in a conversation, in this request and in the next. What was renamed is remembered for the way back.
 */
export class SafeNames {
  readonly #fits: RegExp;
  readonly #longest: number;
  readonly #renamed = new Map<string, string>();

  /** `fits`: what the provider takes, its length included. */
  constructor(fits: RegExp, longest: number) {
    this.#fits = fits;
    this.#longest = longest;
  }

  of(text: string): string {
    if (this.#fits.test(text)) return text;
    const digest = createHash("sha256").update(text).digest("hex").slice(0, DIGEST_LENGTH);
    const beginning = text.replaceAll(/[^a-zA-Z0-9_-]/g, "_").slice(0, this.#longest - DIGEST_LENGTH - 1);
    const plain = `${beginning}_${digest}`;
    // Some take no name that begins with a digit.
    const name = this.#fits.test(plain) ? plain : `_${beginning.slice(1)}_${digest}`;
    this.#renamed.set(name, text);
    return name;
  }

  /** By the name that the provider was given, what the caller calls it; only those that differ. */
  get renamed(): ReadonlyMap<string, string> {
    return this.#renamed;
  }
}
