const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;

/** A member beyond `member` is kept as an empty value of its kind; of all kept members together, what is beyond `total` is left out. */
interface Limits {
  readonly memberBytes: number;
  readonly totalBytes: number;
}
const LIMITS: Limits = { memberBytes: 32 * 1024, totalBytes: 256 * 1024 };
/** Of an element of a list that is read element by element. */
const ELEMENT_LIMITS: Limits = { memberBytes: 1024, totalBytes: 4 * 1024 };
/** All elements of it together; there is a `null` for those beyond. */
const ELEMENTS_LIMIT_BYTES = 128 * 1024;

/**
 * Reads the small top-level members of a JSON object off its passing bytes, cut anywhere, in memory that does not grow with
 * them: an answer of any size says what it cost in a few hundred bytes. A member that is too large is kept as `[null]`,
 * `{"_":0}` or `"…"`, so that "there is something" can still be told from "there is nothing". One list may be read element by
 * element: if it is too large, it is kept with the small members of each object in it.
 */
export class TopLevelFields {
  readonly #members: string[] = [];
  #membersBytes = 0;
  #member: Buffer[] = [];
  #memberBytes = 0;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  #state: "before" | "inside" | "over" | "no object" = "before";
  readonly #listName: string | undefined;
  readonly #limits: Limits;
  /** Set within the list that is read element by element, and within an element of it. */
  #elements: string[] | undefined;
  #elementsBytes = 0;
  #element: TopLevelFields | undefined;
  /** Where the element begins in the chunk that is read. */
  #elementFrom = 0;

  /** `listName`: the member whose elements are read, whatever its size. Default none. */
  constructor(listName?: string, limits = LIMITS) {
    this.#listName = listName;
    this.#limits = limits;
  }

  push(chunk: Buffer): void {
    let position = this.#state === "before" ? this.#begin(chunk) : 0;
    let keptFrom = position;
    this.#elementFrom = 0;
    let backslash = -2;
    while (position < chunk.length && this.#state === "inside") {
      if (this.#isEscaped) {
        this.#isEscaped = false;
        position += 1;
      } else if (this.#isInString) {
        const quote = chunk.indexOf(QUOTE, position);
        const end = quote < 0 ? chunk.length : quote;
        if (backslash !== -1 && backslash < position) backslash = chunk.indexOf(BACKSLASH, position);
        this.#isEscaped = backslash >= 0 && backslash < end;
        this.#isInString = this.#isEscaped || quote < 0;
        position = (this.#isEscaped ? backslash : end) + 1;
      } else {
        const byte = chunk[position];
        if (byte === QUOTE) this.#isInString = true;
        else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#open(byte, chunk, keptFrom, position);
        else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) this.#close(chunk, position);
        if (this.#depth === 0 || (byte === COMMA && this.#depth === 1)) {
          this.#keep(chunk.subarray(keptFrom, position));
          this.#endMember();
          keptFrom = position + 1;
        }
        if (this.#depth === 0) this.#state = "over";
        position += 1;
      }
    }
    if (this.#state === "inside") this.#keep(chunk.subarray(keptFrom));
    this.#element?.push(chunk.subarray(this.#elementFrom));
  }

  /** The object with its small members, as JSON text; undefined when what came is no whole object. */
  text(): string | undefined {
    return this.#state === "over" ? `{${this.#members.join(",")}}` : undefined;
  }

  /** The position after the opening brace. */
  #begin(chunk: Buffer): number {
    const first = chunk.findIndex((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09);
    if (first < 0) return chunk.length;
    this.#state = chunk[first] === OPEN_OBJECT ? "inside" : "no object";
    this.#depth = 1;
    return first + 1;
  }

  #open(byte: number, chunk: Buffer, keptFrom: number, position: number): void {
    this.#depth += 1;
    if (this.#depth === 2 && byte === OPEN_ARRAY) this.#beginList(chunk.subarray(keptFrom, position));
    if (this.#depth !== 3 || byte !== OPEN_OBJECT || !this.#elements) return;
    this.#element = new TopLevelFields(undefined, ELEMENT_LIMITS);
    this.#elementFrom = position;
  }

  #close(chunk: Buffer, position: number): void {
    this.#depth -= 1;
    if (this.#depth === 2) this.#endElement(chunk.subarray(this.#elementFrom, position + 1));
  }

  /** `rest`: what came in this chunk before the bracket. */
  #beginList(rest: Buffer): void {
    if (this.#listName === undefined || this.#memberBytes + rest.length > LONGEST_NAME_BYTES) return;
    const name = /^\s*"([^"\\]*)"\s*:\s*$/.exec(Buffer.concat([...this.#member, rest]).toString("utf8"))?.[1];
    if (name === this.#listName) this.#elements = [];
  }

  #endElement(rest: Buffer): void {
    if (!this.#element || !this.#elements) return;
    this.#element.push(rest);
    const text = this.#element.text() ?? "null";
    this.#element = undefined;
    if (this.#elementsBytes > ELEMENTS_LIMIT_BYTES) return;
    this.#elementsBytes += text.length;
    this.#elements.push(this.#elementsBytes > ELEMENTS_LIMIT_BYTES ? "null" : text);
  }

  #keep(bytes: Buffer): void {
    const { memberBytes } = this.#limits;
    if (this.#memberBytes < memberBytes) this.#member.push(Buffer.from(bytes.subarray(0, memberBytes)));
    this.#memberBytes += bytes.length;
  }

  #endMember(): void {
    const text = Buffer.concat(this.#member).toString("utf8");
    const { memberBytes, totalBytes } = this.#limits;
    const shortened = this.#elements ? `"${this.#listName}":[${this.#elements.join(",")}]` : shorten(text);
    const member = this.#memberBytes <= memberBytes ? text : shortened;
    this.#elements = undefined;
    this.#member = [];
    this.#memberBytes = 0;
    this.#membersBytes += member.length;
    if (member.trim() !== "" && this.#membersBytes <= totalBytes) this.#members.push(member);
  }
}

/** A name that is read element by element, with what may stand around it. */
const LONGEST_NAME_BYTES = 128;

/** The name of a member with an empty value in the place of its large one. */
function shorten(member: string): string {
  const [, name, first] = /^\s*("(?:[^"\\]|\\.)*"\s*:)\s*(.)/s.exec(member) ?? [];
  if (name === undefined) return "";
  if (first === "[") return `${name}[null]`;
  return first === "{" ? `${name}{"_":0}` : `${name}"…"`;
}
