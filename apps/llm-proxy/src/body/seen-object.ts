import type { CompiledPlace } from "./place.ts";

/** What kind a value is; 0 stands for a field that was not given. */
export const Kind = { absent: 0, string: 1, number: 2, true: 3, false: 4, null: 5, object: 6, list: 7 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** A value where it stands in the bytes: `start` to `end`, a string without its quotes. */
export interface SeenValue {
  readonly kind: Kind;
  readonly start: number;
  readonly end: number;
}

/** Longer texts are nobody's name, type or id; they are not made into strings. */
const LONGEST_TEXT_BYTES = 2_048;

/** As many values as a place can keep. */
export const MOST_SLOTS = 32;

/** An element of a list that is neither object nor list. */
export interface SeenElement {
  readonly path: string;
  /** Undefined unless it is a string that is not empty. */
  readonly text: string | undefined;
}

/** An object (or list) that is being read: what was kept of it. Reused for the next one at its depth: nothing may hold on to it. */
export class SeenObject {
  readonly #bytes: Buffer;
  readonly #parent: SeenObject | undefined;
  /** Of each slot the kind, with the turn in which it was kept: what is of an earlier object is absent, without clearing. */
  readonly #kinds = new Uint8Array(MOST_SLOTS);
  readonly #turns = new Uint32Array(MOST_SLOTS);
  readonly #starts = new Uint32Array(MOST_SLOTS);
  readonly #ends = new Uint32Array(MOST_SLOTS);
  readonly #escapes = new Uint32Array(MOST_SLOTS);
  #turn = 0;
  place: CompiledPlace;
  isObject = true;
  /** Fields or elements so far. */
  count = 0;
  /** Whether its judge has anything to judge. */
  isAwake = false;
  /** The field that is being read: where its name stands, and its slot. */
  nameStart = 0;
  nameEnd = 0;
  slot = -1;

  constructor(bytes: Buffer, place: CompiledPlace, parent: SeenObject | undefined) {
    this.#bytes = bytes;
    this.#parent = parent;
    this.place = place;
  }

  begin(place: CompiledPlace, isObject: boolean): void {
    this.place = place;
    this.isObject = isObject;
    this.count = 0;
    this.isAwake = false;
    this.slot = -1;
    this.#turn += 1;
  }

  keep(slot: number, kind: Kind, start: number, end: number, escapes: number): void {
    this.#kinds[slot] = kind;
    this.#turns[slot] = this.#turn;
    this.#starts[slot] = start;
    this.#ends[slot] = end;
    this.#escapes[slot] = escapes;
  }

  /** Says where a nested value ended. */
  keepEnd(slot: number, end: number): void {
    this.#ends[slot] = end;
  }

  hasSlot(slot: number): boolean {
    return this.#turns[slot] === this.#turn;
  }

  /** Kind and position of a field; of kind `absent` when it was not given. */
  value(name: string): SeenValue {
    const slot = this.place.slotOf.get(name) ?? -1;
    if (slot < 0 || !this.hasSlot(slot)) return { kind: Kind.absent, start: 0, end: 0 };
    return { kind: (this.#kinds[slot] ?? Kind.absent) as Kind, start: this.#starts[slot] ?? 0, end: this.#ends[slot] ?? 0 };
  }

  /** Whether a field was given and is not null. */
  has(name: string): boolean {
    const { kind } = this.value(name);
    return kind !== Kind.absent && kind !== Kind.null;
  }

  /** A field that is a string, not empty, and no longer than a name can be. */
  text(name: string): string | undefined {
    const { kind, start, end } = this.value(name);
    if (kind !== Kind.string || end === start || end - start > LONGEST_TEXT_BYTES) return undefined;
    const slot = this.place.slotOf.get(name) ?? -1;
    return textAt(this.#bytes, start, end, (this.#escapes[slot] ?? 0) > 0);
  }

  /** A field that is a number above zero, rounded up; no limit that a provider knows is larger than 10^9. */
  limit(name: string): number | undefined {
    const { kind, start, end } = this.value(name);
    if (kind !== Kind.number) return undefined;
    const value = Number(this.#bytes.toString("latin1", start, end));
    return value > 0 ? Math.ceil(Math.min(value, 1e9)) : undefined;
  }

  /** Bytes of a string: as they were sent, and as they are read. 0 when it is no string. */
  sizeOf(name: string): { readonly sent: number; readonly read: number } {
    const { kind, start, end } = this.value(name);
    if (kind !== Kind.string) return { sent: 0, read: 0 };
    return { sent: end - start, read: end - start - (this.#escapes[this.place.slotOf.get(name) ?? -1] ?? 0) };
  }

  /** Whether a string begins with an ASCII text, which may be written with escapes. */
  startsWith(name: string, prefix: string): boolean {
    const { kind, start, end } = this.value(name);
    if (kind !== Kind.string) return false;
    // Cut where no escape can be halved in a way that matters: six bytes are the longest writing of a character.
    const head = this.#bytes.toString("latin1", start, Math.min(end, start + 6 * prefix.length));
    return unescapedAscii(head).startsWith(prefix);
  }

  /**
   * Where it stands: `messages[0].content[2].source`, names as the caller wrote them. The body itself is ''. Of what lies deeper than
   * {@link MOST_STEPS} the innermost steps, behind an ellipsis: however deep a body is, a path is short and soon made.
   */
  path(): string {
    const steps: string[] = [];
    let parent = this.#parent;
    for (; parent !== undefined && steps.length < MOST_STEPS; parent = parent.#parent) {
      const step = parent.step();
      steps.push(step.startsWith("[") || parent.#parent === undefined ? step : `.${step}`);
    }
    if (parent !== undefined) steps.push("…");
    return steps.toReversed().join("");
  }

  /** The step that leads to what is being read in it. */
  step(): string {
    if (!this.isObject) return `[${this.count}]`;
    return this.#bytes.toString("utf8", this.nameStart, Math.min(this.nameEnd, this.nameStart + LONGEST_STEP_BYTES));
  }

  pathOf(name: string): string {
    const above = this.path();
    return above === "" ? name : `${above}.${name}`;
  }
}

/** A path is shown to people; a field's name in it is cut. */
const LONGEST_STEP_BYTES = 64;
/** Twice as many as the deepest place has where a documented body can spend. */
const MOST_STEPS = 16;

/** The text of a string that was found to be right. */
export function textAt(bytes: Buffer, start: number, end: number, hasEscapes: boolean): string {
  const text = bytes.toString("utf8", start, end);
  return hasEscapes ? (JSON.parse(`"${text}"`) as string) : text;
}

function unescapedAscii(text: string): string {
  return text.replaceAll(/\\u([0-9a-fA-F]{4})|\\(.)/g, (_, code: string | undefined, letter: string | undefined) =>
    code === undefined ? (/["\\/]/.test(letter ?? "") ? (letter ?? "") : "\u0000") : String.fromCharCode(Number.parseInt(code, 16)),
  );
}
