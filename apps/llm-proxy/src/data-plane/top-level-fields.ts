const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;

/** A member beyond this size is kept as an empty value of its kind. */
const MEMBER_LIMIT_BYTES = 32 * 1024;
/** All kept members together; what does not fit any more is left out. */
const TOTAL_LIMIT_BYTES = 256 * 1024;

/**
 * Reads the small top-level members of a JSON object off its passing bytes, cut anywhere, in memory that does not grow with
 * them: an answer of any size says what it cost in a few hundred bytes. A member that is too large is kept as `[null]`,
 * `{"_":0}` or `"…"`, so that "there is something" can still be told from "there is nothing".
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

  push(chunk: Buffer): void {
    let position = this.#state === "before" ? this.#begin(chunk) : 0;
    let keptFrom = position;
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
        else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#depth += 1;
        else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) this.#depth -= 1;
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

  #keep(bytes: Buffer): void {
    if (this.#memberBytes < MEMBER_LIMIT_BYTES) this.#member.push(Buffer.from(bytes.subarray(0, MEMBER_LIMIT_BYTES)));
    this.#memberBytes += bytes.length;
  }

  #endMember(): void {
    const text = Buffer.concat(this.#member).toString("utf8");
    const member = this.#memberBytes <= MEMBER_LIMIT_BYTES ? text : shorten(text);
    this.#member = [];
    this.#memberBytes = 0;
    this.#membersBytes += member.length;
    if (member.trim() !== "" && this.#membersBytes <= TOTAL_LIMIT_BYTES) this.#members.push(member);
  }
}

/** The name of a member with an empty value in the place of its large one. */
function shorten(member: string): string {
  const [, name, first] = /^\s*("(?:[^"\\]|\\.)*"\s*:)\s*(.)/s.exec(member) ?? [];
  if (name === undefined) return "";
  if (first === "[") return `${name}[null]`;
  return first === "{" ? `${name}{"_":0}` : `${name}"…"`;
}
