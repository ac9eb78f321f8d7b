import { objectOf } from "./sse-data.ts";

/** No model reads or writes so many tokens in one answer; a larger count is a fault of the provider, and counts as not reported. */
const MOST_TOKENS = 1_000_000_000;

/** A token count that can be true: whole, not negative, not beyond belief. Anything else counts as not reported. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= MOST_TOKENS;
}

/** In `unknown` where cumulative counts became smaller: the larger are billed. */
export const FALLEN = "usage=counts that fall";
/** The same where text came and the count of it is 0: no count is believed, what was seen is estimated. */
export const NO_OUTPUT = "output_tokens=none, though text came";

/** What is shorter may be a word that a count of 0 leaves out. */
const MOST_UNCOUNTED_BYTES = 64;

/** Whether so much text came that a count of 0 tokens is none. */
export function isUncounted(outputTokens: unknown, textBytes: number): boolean {
  return outputTokens === 0 && textBytes > MOST_UNCOUNTED_BYTES;
}

const MOST_NAMES = 32;
const MOST_NAME_LENGTH = 128;

/** Collects what a reader of usage did not know. Bounded, each name once. */
export class UnknownUsage {
  readonly #names = new Set<string>();

  add(name: string): void {
    if (this.#names.size < MOST_NAMES) this.#names.add(name.slice(0, MOST_NAME_LENGTH));
  }

  names(): readonly string[] {
    return [...this.#names].toSorted();
  }
}

/**
 * One object of a provider's usage, read field by field. What was not asked for by name when `end` is called, and says
 * anything (more than null, 0, false or empty), is unknown, as is a count that is none.
 */
export class UsageFields {
  readonly #wire: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #unknown: UnknownUsage;
  readonly #left: Set<string>;

  constructor(wire: Readonly<Record<string, unknown>>, path: string, unknown: UnknownUsage) {
    this.#wire = wire;
    this.#path = path;
    this.#unknown = unknown;
    this.#left = new Set(Object.keys(wire));
  }

  /** Undefined where there is none, or none that can be true. */
  count(name: string): number | undefined {
    const value = this.#take(name);
    if (value === undefined || value === null) return undefined;
    if (isCount(value)) return value;
    this.#unknown.add(`${this.#path}${name}=out of range`);
    return undefined;
  }

  /** A word other than the standard ones; undefined for those, and where there is none. */
  word(name: string, standard: readonly string[]): string | undefined {
    const value = this.#take(name);
    if (value === undefined || value === null || value === "") return undefined;
    if (typeof value !== "string") return void this.#unknown.add(`${this.#path}${name}`);
    return standard.includes(value) ? undefined : value.slice(0, MOST_NAME_LENGTH);
  }

  object(name: string): UsageFields | undefined {
    const value = this.#take(name);
    const wire = objectOf(value);
    if (!wire && saysSomething(value)) this.#unknown.add(`${this.#path}${name}`);
    return wire && new UsageFields(wire, `${this.#path}${name}.`, this.#unknown);
  }

  /** The value as it came, for what only its reader can judge. */
  value(name: string): unknown {
    return this.#take(name);
  }

  /** Fields that repeat what others say, or cost nothing. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#left.delete(name);
  }

  end(): void {
    for (const name of this.#left) if (saysSomething(this.#wire[name])) this.#unknown.add(`${this.#path}${name}`);
  }

  #take(name: string): unknown {
    this.#left.delete(name);
    return Object.hasOwn(this.#wire, name) ? this.#wire[name] : undefined;
  }
}

/** Whether a value reports anything at all; an object that nests deep does. */
export function saysSomething(value: unknown, mostDepth = 4): boolean {
  if (value === undefined || value === null || value === 0 || value === false || value === "") return false;
  if (typeof value !== "object") return true;
  return mostDepth === 0 || Object.values(value).some((item) => saysSomething(item, mostDepth - 1));
}

const MOST_RAW_BYTES = 16 * 1024;

/** What is kept of a provider's own words: all of it, or nothing where it is larger than a row should hold. */
export function keptRaw(raw: Readonly<Record<string, unknown>>, unknown: UnknownUsage): Readonly<Record<string, unknown>> | undefined {
  // JSON.stringify goes as deep as its value; so deep is nothing that a usage object says.
  if (depthOf(raw, 12) === 0) return void unknown.add("usage=nested too deep to keep");
  if (JSON.stringify(raw).length <= MOST_RAW_BYTES) return raw;
  return void unknown.add("usage=too large to keep");
}

/** How much of the depth is left at the deepest value; 0 where it is used up. */
function depthOf(value: unknown, left: number): number {
  if (left === 0 || typeof value !== "object" || value === null) return left;
  let least = left;
  for (const item of Object.values(value)) least = Math.min(least, depthOf(item, left - 1));
  return least;
}
