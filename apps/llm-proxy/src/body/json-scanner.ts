import {
  CLOSE_LIST,
  CLOSE_OBJECT,
  COLON,
  COMMA,
  ENDS,
  ESCAPES,
  ESCAPE_LETTERS,
  IN_STRING,
  LETTER_U,
  MINUS,
  OPEN_LIST,
  OPEN_OBJECT,
  PLAIN,
  QUOTE,
  WORDS,
  endOfNumber,
  hexAt,
  isDigit,
  isSpace,
  notJson,
  tooMuch,
} from "./json-grammar.ts";
import { isUtf8 } from "node:buffer";
import { AppError } from "@proliferate/shared/errors";
import type { FactCollector } from "./fact-collector.ts";
import { type CompiledPlace, type FieldRule, leadsToJudge } from "./place.ts";
import { Kind, SeenObject, textAt } from "./seen-object.ts";

export interface ScanLimits {
  readonly depth: number;
  readonly values: number;
}

/** No request of an agent comes near: its largest has some 50,000 values, 20 deep. */
export const SCAN_LIMITS: ScanLimits = { depth: 512, values: 1_000_000 };
/** Fields of the body itself, and how long the name of one may be. */
const MOST_ROOT_FIELDS = 256;
const LONGEST_ROOT_NAME_BYTES = 256;

/** What may come next. */
const Expect = { value: 0, firstElement: 1, firstName: 2, name: 3, colon: 4, separator: 5, end: 6 } as const;
type Expect = (typeof Expect)[keyof typeof Expect];

const OBJECT = 1;
const LIST = 2;

/**
 * Reads a JSON object from its bytes in one pass, in time linear in them, without making a tree: what counts is told to a
 * {@link FactCollector} as its places say, everything else is checked and measured only. Memory follows the depth.
 *
 * It can be stopped and goes on where it was, so that a large body does not keep the process from anything else. Accepts
 * exactly what `JSON.parse` accepts of well-formed UTF-8, less what is deeper, has more values or longer numbers than the
 * limits say. Throws `invalid_json` and `invalid_request`.
 */
export class JsonScanner {
  readonly #bytes: Buffer;
  readonly #facts: FactCollector;
  readonly #limits: ScanLimits;
  readonly #rootPlace: CompiledPlace;
  readonly #rootNames = new Set<string>();
  /** The last of them. */
  #rootName = "";
  /** What is open, from the outside in: objects and lists. */
  readonly #open: Uint8Array;
  /** One for each depth that has a place; reused. */
  readonly #objects: SeenObject[] = [];
  #depth = 0;
  #current: SeenObject | undefined;
  #placed = 0;
  /** How many of the open ones have no place. */
  #unplaced = 0;
  #expect: Expect = Expect.value;
  #position = 0;
  #values = 0;
  #rule: FieldRule | undefined;
  /** First byte of the string that is being read; -1 between strings. */
  #stringStart = -1;
  /** By how many bytes the string is shorter when it is read. */
  #stringEscapes = 0;

  constructor(bytes: Buffer, rootPlace: CompiledPlace, facts: FactCollector, limits = SCAN_LIMITS) {
    if (!isUtf8(bytes)) throw new AppError("invalid_json", "The body is not UTF-8.");
    this.#bytes = bytes;
    this.#rootPlace = rootPlace;
    this.#facts = facts;
    this.#limits = limits;
    this.#open = new Uint8Array(limits.depth + 1);
  }

  /** Reads on over about so many bytes; true when the body was read to its end. */
  advance(bytes: number): boolean {
    const end = Math.min(this.#bytes.length, this.#position + bytes);
    while (this.#position < end) {
      if (this.#stringStart >= 0) this.#readString(end);
      else this.#readToken(this.#bytes[this.#position] ?? 0, end);
    }
    if (this.#position < this.#bytes.length) return false;
    if (this.#expect !== Expect.end) throw notJson(this.#bytes.length === 0 ? "The body is empty." : "The body ends too early.");
    return true;
  }

  #readToken(byte: number, end: number): void {
    if (isSpace(byte)) return this.#skipSpace(end);
    switch (this.#expect) {
      case Expect.separator:
        return this.#readSeparator(byte);
      case Expect.name:
      case Expect.firstName:
        if (byte === QUOTE) return this.#beginString();
        if (byte === CLOSE_OBJECT && this.#expect === Expect.firstName) return this.#close();
        throw notJson();
      case Expect.colon:
        if (byte !== COLON) throw notJson();
        this.#position += 1;
        this.#expect = Expect.value;
        return;
      case Expect.firstElement:
        if (byte === CLOSE_LIST) return this.#close();
        return this.#readValue(byte);
      case Expect.value:
        return this.#readValue(byte);
      default:
        throw notJson();
    }
  }

  #skipSpace(end: number): void {
    let position = this.#position + 1;
    while (position < end && isSpace(this.#bytes[position] ?? 0)) position += 1;
    this.#position = position;
  }

  #readSeparator(byte: number): void {
    const isObject = this.#open[this.#depth] === OBJECT;
    if (byte === COMMA) {
      this.#position += 1;
      this.#expect = isObject ? Expect.name : Expect.value;
      if (this.#unplaced === 0 && this.#current) this.#current.count += 1;
      return;
    }
    if (byte !== (isObject ? CLOSE_OBJECT : CLOSE_LIST)) throw notJson();
    this.#close();
  }

  #readValue(byte: number): void {
    if (byte === QUOTE) return this.#beginString();
    this.#countValue();
    if (byte === OPEN_OBJECT) return this.#openOne(OBJECT);
    if (byte === OPEN_LIST) return this.#openOne(LIST);
    const start = this.#position;
    const kind = this.#readScalar(byte);
    this.#facts.countScalar();
    this.#keepValue(kind, start, this.#position);
  }

  /** A number or a word; leaves the position after it. */
  #readScalar(byte: number): Kind {
    if (byte === MINUS || isDigit(byte)) {
      this.#position = endOfNumber(this.#bytes, this.#position);
      return Kind.number;
    }
    const word = WORDS.get(byte);
    if (!word) throw notJson();
    const end = this.#position + word.text.length;
    if (this.#bytes.toString("latin1", this.#position, end) !== word.text) throw notJson();
    this.#position = end;
    return word.kind;
  }

  #beginString(): void {
    this.#position += 1;
    this.#stringStart = this.#position;
    this.#stringEscapes = 0;
  }

  #readString(end: number): void {
    const bytes = this.#bytes;
    let position = this.#position;
    while (position < end) {
      const kind = IN_STRING[bytes[position] ?? 0];
      if (kind === PLAIN) {
        position += 1;
        continue;
      }
      this.#position = position;
      if (kind === ENDS) return this.#endString(position);
      if (kind !== ESCAPES) throw notJson("The body has a control character in a string.");
      position = this.#readEscape(position);
    }
    this.#position = position;
  }

  /** Returns the position after the escape. */
  #readEscape(position: number): number {
    const letter = this.#bytes[position + 1] ?? 0;
    if (letter !== LETTER_U) {
      if (!ESCAPE_LETTERS.has(letter)) throw notJson("The body has an unknown escape in a string.");
      this.#stringEscapes += 1;
      return position + 2;
    }
    const code = hexAt(this.#bytes, position + 2);
    if (code < 0) throw notJson("The body has an unknown escape in a string.");
    // Half of a pair is two of the four bytes that the pair makes in UTF-8.
    const read = code < 0x80 ? 1 : code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 2 : 3;
    this.#stringEscapes += 6 - read;
    return position + 6;
  }

  #endString(end: number): void {
    const start = this.#stringStart;
    this.#stringStart = -1;
    this.#position = end + 1;
    this.#facts.countText(end - start - this.#stringEscapes);
    if (this.#expect === Expect.name || this.#expect === Expect.firstName) {
      this.#expect = Expect.colon;
      if (this.#unplaced === 0) this.#readName(start, end);
      return;
    }
    this.#countValue();
    this.#keepValue(Kind.string, start, end);
  }

  /** A name of an object that has a place. */
  #readName(start: number, end: number): void {
    const current = this.#current;
    if (!current) throw notJson("The body is not a JSON object.");
    current.nameStart = start;
    current.nameEnd = end;
    if (current.place.source.isRoot) this.#readRootName(start, end);
    this.#rule = this.#ruleOf(current.place, start, end);
    const slot = this.#rule?.slot ?? -1;
    current.slot = slot;
    if (!this.#rule && current.place.source.isExact) this.#judgeCase(current, start, end);
    if (!this.#rule && current.place.source.judgeOther)
      current.place.source.judgeOther(current.pathOf(textAt(this.#bytes, start, Math.min(end, start + 64), false)), this.#facts);
    if (slot < 0) return;
    if (current.hasSlot(slot)) throw givenTwice(current.pathOf(textAt(this.#bytes, start, end, this.#stringEscapes > 0)));
    if (this.#rule?.wakesJudge) current.isAwake = true;
  }

  #ruleOf(place: CompiledPlace, start: number, end: number): FieldRule | undefined {
    if (this.#stringEscapes === 0) return place.ruleOf(this.#bytes, start, end);
    // Whoever escapes a name means the same name.
    if (end - start > LONGEST_ROOT_NAME_BYTES) return undefined;
    const name = Buffer.from(textAt(this.#bytes, start, end, true));
    return place.ruleOf(name, 0, name.length);
  }

  #judgeCase(current: SeenObject, start: number, end: number): void {
    if (end - start > LONGEST_ROOT_NAME_BYTES) return;
    if (this.#stringEscapes === 0 && !current.place.hasCapitals && !mayFold(this.#bytes, start, end)) return;
    const name = textAt(this.#bytes, start, end, this.#stringEscapes > 0);
    const rule = current.place.foldedRuleOf(name);
    if (rule === undefined || (rule.slot < 0 && !leadsToJudge(rule.place))) return;
    this.#facts.unjudged({ path: current.pathOf(name.slice(0, 64)), why: "unknown_value" });
  }

  #readRootName(start: number, end: number): void {
    if (end - start > LONGEST_ROOT_NAME_BYTES) throw tooMuch("a field whose name is too long");
    if (this.#rootNames.size >= MOST_ROOT_FIELDS) throw tooMuch(`more than ${MOST_ROOT_FIELDS} fields`);
    const name = textAt(this.#bytes, start, end, this.#stringEscapes > 0);
    if (this.#rootNames.has(name)) throw givenTwice(name);
    this.#rootNames.add(name);
    this.#rootName = name;
  }

  #countValue(): void {
    this.#values += 1;
    if (this.#values > this.#limits.values) throw tooMuch(`more than ${this.#limits.values} values`);
  }

  /** Some servers read names whatever their case: one that is known but for that may count there, and cannot be judged here. */
  #takeUnknown(name: string): void {
    const param = name.slice(0, 64);
    if (this.#rootPlace.foldedRuleOf(name))
      throw new AppError("invalid_request", `${param} differs from a field of this API in its case only.`, { param });
    this.#facts.unknownRootField(name);
  }

  #keepValue(kind: Kind, start: number, end: number): void {
    this.#expect = this.#depth === 0 ? Expect.end : Expect.separator;
    if (this.#unplaced > 0) return;
    const current = this.#current;
    if (!current) throw notJson("The body is not a JSON object.");
    if (current.isObject) {
      if (current.slot >= 0) current.keep(current.slot, kind, start, end, kind === Kind.string ? this.#stringEscapes : 0);
      if (current.place.source.isRoot && !this.#rule) this.#takeUnknown(this.#rootName);
      return;
    }
    const { judgeElement } = current.place.source;
    if (!judgeElement) return;
    const isText = kind === Kind.string && end > start && end - start <= 2_048;
    judgeElement(
      { path: `${current.path()}[${current.count}]`, text: isText ? textAt(this.#bytes, start, end, this.#stringEscapes > 0) : undefined },
      this.#facts,
    );
  }

  #openOne(kind: typeof OBJECT | typeof LIST): void {
    const start = this.#position;
    this.#position += 1;
    this.#depth += 1;
    if (this.#depth > this.#limits.depth) throw tooMuch(`values nested more than ${this.#limits.depth} deep`);
    this.#open[this.#depth] = kind;
    this.#expect = kind === OBJECT ? Expect.firstName : Expect.firstElement;
    if (this.#unplaced > 0) this.#unplaced += 1;
    else this.#enter(kind, start);
  }

  #enter(kind: typeof OBJECT | typeof LIST, start: number): void {
    const parent = this.#current;
    if (!parent) {
      if (kind !== OBJECT) throw notJson("The body is not a JSON object.");
      return this.#push(this.#rootPlace, true);
    }
    if (parent.isObject && parent.slot >= 0) parent.keep(parent.slot, kind === OBJECT ? Kind.object : Kind.list, start, start, 0);
    if (parent.isObject && parent.place.source.isRoot && !this.#rule) this.#takeUnknown(this.#rootName);
    const place = parent.isObject ? (this.#rule?.place ?? parent.place.others) : parent.place.elements;
    if (place) this.#push(place, kind === OBJECT);
    else this.#unplaced = 1;
  }

  #push(place: CompiledPlace, isObject: boolean): void {
    const object = (this.#objects[this.#placed] ??= new SeenObject(this.#bytes, place, this.#current));
    object.begin(place, isObject);
    this.#placed += 1;
    this.#current = object;
  }

  #close(): void {
    this.#position += 1;
    this.#depth -= 1;
    this.#expect = this.#depth === 0 ? Expect.end : Expect.separator;
    if (this.#depth === 0) this.#facts.positions.closingBrace = this.#position - 1;
    if (this.#unplaced > 0) this.#unplaced -= 1;
    else this.#leave();
    const current = this.#current;
    if (this.#unplaced === 0 && current?.isObject && current.slot >= 0) current.keepEnd(current.slot, this.#position);
  }

  #leave(): void {
    const object = this.#current;
    this.#placed -= 1;
    this.#current = this.#objects[this.#placed - 1];
    if (object?.isObject && object.isAwake) object.place.source.judge?.(object, this.#facts);
  }
}

/** Whether a name has a capital letter, or one beyond ASCII: no other one can be a known name in another case where those have none. */
function mayFold(bytes: Uint8Array, start: number, end: number): boolean {
  for (let index = start; index < end; index += 1) {
    const byte = bytes[index] ?? 0;
    if (byte >= 0x80 || (byte >= 0x41 && byte <= 0x5a)) return true;
  }
  return false;
}

function givenTwice(path: string): AppError {
  return new AppError("invalid_request", `The body has the field "${path.slice(0, 128)}" twice; parsers disagree which one counts.`, {
    param: path.slice(0, 128),
  });
}
