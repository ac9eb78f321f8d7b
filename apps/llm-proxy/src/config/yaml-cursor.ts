import { AppError } from "@proliferate/shared/errors";
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from "yaml";

/** A node of a YAML file that knows where it stands, so that what is wrong with it can be said with line and column. */
export class YamlCursor {
  /** `model_list[2].litellm_params.model`; empty at the root. */
  readonly path: string;
  readonly #node: Node | null | undefined;
  readonly #file: YamlFile;
  /** Of the nearest node that exists: where something is missing, its parent is what to edit. */
  readonly #offset: number;

  constructor(file: YamlFile, path: string, value: unknown, parentOffset: number) {
    const resolved = isAlias(value) ? value.resolve(file.document) : value;
    this.#file = file;
    this.path = path;
    this.#node = isNode(resolved) ? resolved : undefined;
    this.#offset = (isNode(value) ? value.range?.[0] : undefined) ?? parentOffset;
  }

  /** False for what is missing, and for `key:` without a value. */
  get exists(): boolean {
    return this.#node !== undefined && this.#node !== null && !(isScalar(this.#node) && this.#node.value === null);
  }

  /** Whether it has keys. */
  get isMapping(): boolean {
    return isMap(this.#node);
  }

  get(key: string): YamlCursor {
    const value = isMap(this.#node) ? this.#pairs(this.#node).find((pair) => keyOf(pair) === key)?.value : undefined;
    return new YamlCursor(this.#file, this.path === "" ? key : `${this.path}.${key}`, value, this.#offset);
  }

  /** Its keys, if it is a mapping; none if it is missing. Throws on anything else. */
  keys(): readonly string[] {
    if (!this.exists) return [];
    if (!isMap(this.#node)) throw this.error("is not a mapping; write `key: value` lines below it");
    return this.#pairs(this.#node).map(keyOf);
  }

  /** Its entries, if it is a list. Throws on anything else. */
  items(): readonly YamlCursor[] {
    if (!isSeq(this.#node)) throw this.error("is not a list; write its entries with `- ` below it");
    return this.#node.items.map((item, index) => new YamlCursor(this.#file, `${this.path}[${index}]`, item, this.#offset));
  }

  /** Text exactly as it stands in the file, numbers included: no float is made of a price. Undefined if it is missing. */
  text(): string | undefined {
    if (!this.exists) return undefined;
    if (!isScalar(this.#node)) throw this.error("is not a single value");
    return this.#node.source ?? String(this.#node.value);
  }

  /** Throws unless it is a number of at least `minimum`; undefined if it is missing. */
  number(minimum: number, kind: "whole" | "any" = "any"): number | undefined {
    const text = this.text();
    if (text === undefined) return undefined;
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum) || !Number.isFinite(value) || (kind === "whole" && !Number.isInteger(value))) {
      throw this.error(`"${text}" is not a ${kind === "whole" ? "whole number" : "number"} of at least ${minimum}`);
    }
    return value;
  }

  /** `file:line:column: path problem`. */
  error(problem: string): AppError {
    return new AppError("config_invalid", `${this.place()}: ${this.path === "" ? "the file" : this.path} ${problem}.`);
  }

  /** Its own pairs, then those that merge keys (`<<`) bring in; the first of a name counts. */
  #pairs(map: YAMLMap): readonly Pair[] {
    const own = map.items.filter((pair) => keyOf(pair) !== MERGE_KEY);
    const merged = map.items
      .filter((pair) => keyOf(pair) === MERGE_KEY)
      .flatMap((pair) => {
        const source = isAlias(pair.value) ? pair.value.resolve(this.#file.document) : pair.value;
        const sources = isSeq(source) ? source.items.map((item) => (isAlias(item) ? item.resolve(this.#file.document) : item)) : [source];
        return sources.flatMap((item) => (isMap(item) ? this.#pairs(item) : []));
      });
    return [...own, ...merged];
  }

  /** `file:line:column` */
  place(): string {
    return this.#file.place(this.#offset);
  }
}

const MERGE_KEY = "<<";

function keyOf(pair: Pair): string {
  const { key } = pair;
  return String(isScalar(key) ? (key.source ?? key.value) : key);
}

/** A parsed file; read as YAML 1.1 with merge keys, as LiteLLM's own parser does. */
export class YamlFile {
  readonly document: Document;
  readonly #name: string;
  readonly #lines = new LineCounter();

  /** Throws `config_invalid` with the place of the first syntax error. */
  constructor(name: string, text: string) {
    this.#name = name;
    this.document = parseDocument(text, { version: "1.1", merge: true, lineCounter: this.#lines, prettyErrors: false });
    const [error] = this.document.errors;
    if (error) throw new AppError("config_invalid", `${this.place(error.pos[0])}: this is not YAML: ${error.message}.`);
  }

  root(): YamlCursor {
    return new YamlCursor(this, "", this.document.contents, 0);
  }

  place(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.#name}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  }
}
