import type { FactCollector } from "./fact-collector.ts";
import { MOST_SLOTS, type SeenElement, type SeenObject } from "./seen-object.ts";

/**
 * Where in a body the scanner looks, and for what. A place stands for an object and for a list alike: the caller decides
 * which it sends. What has no place is checked to be JSON, measured, and otherwise left alone: it costs no memory.
 */
export interface Place {
  /** Fields whose values are judged when their object ends. One that is given twice is refused: parsers disagree which one counts. */
  readonly values?: readonly string[];
  /** Where fields lead. A field may stand in `values` as well. */
  readonly inside?: Readonly<Record<string, Place>>;
  /** Where every field leads that `inside` does not name; absent: it is not looked into. */
  readonly others?: Place;
  /** Where the elements of a list lead. */
  readonly elements?: Place;
  /** Called at the end of an object in which one of `values` was given, or one of `judgedWith` where that is set. */
  readonly judge?: (object: SeenObject, facts: FactCollector) => void;
  readonly judgedWith?: readonly string[];
  /** Called for each element of a list that is neither object nor list. */
  readonly judgeElement?: (element: SeenElement, facts: FactCollector) => void;
  /** Called with the path of each field that the place does not name: where every field can spend, one that nobody knows can. */
  readonly judgeOther?: (path: string, facts: FactCollector) => void;
  /** Whether every name of the object is told to the collector, and may be given only once. */
  readonly isRoot?: true;
  /**
   * A name that differs in its case only from one of `values`, or from one that leads to something that is judged, makes the request
   * `unjudged`: some servers read it all the same. The body's own are refused.
   */
  readonly isExact?: true;
}

/** What a field of a place means to the scanner. */
export interface FieldRule {
  /** Position among the values that are kept; -1: it is only looked into. */
  readonly slot: number;
  readonly wakesJudge: boolean;
  readonly place: CompiledPlace | undefined;
}

/** A place that answers for a name in its bytes, without making a string of it. */
export class CompiledPlace {
  readonly source: Place;
  readonly slotOf = new Map<string, number>();
  elements: CompiledPlace | undefined;
  others: CompiledPlace | undefined;
  /** By the name as Unicode folds its case. */
  readonly #byFoldedName = new Map<string, FieldRule>();
  /** A known name has capital letters, so that one without any may be it in another case. */
  hasCapitals = false;
  /** By length of the name in bytes: a body's names are many, the names that matter are few. */
  readonly #byLength: { readonly name: Uint8Array; readonly rule: FieldRule }[][] = [];

  constructor(source: Place) {
    this.source = source;
  }

  /** The rule of the name that stands at `start` to `end`, without escapes; undefined when the place has none. */
  ruleOf(bytes: Uint8Array, start: number, end: number): FieldRule | undefined {
    const candidates = this.#byLength[end - start];
    if (candidates === undefined) return undefined;
    for (const { name, rule } of candidates) if (isAt(name, bytes, start)) return rule;
    return undefined;
  }

  /** The rule of the name that is this one but for its case, as Unicode folds it: to some servers `toolſ` is `tools`. */
  foldedRuleOf(name: string): FieldRule | undefined {
    return this.#byFoldedName.get(folded(name));
  }

  add(name: string, rule: FieldRule): void {
    const bytes = new TextEncoder().encode(name);
    (this.#byLength[bytes.length] ??= []).push({ name: bytes, rule });
    if (rule.slot >= 0) this.slotOf.set(name, rule.slot);
    this.#byFoldedName.set(folded(name), rule);
    this.hasCapitals ||= /[A-Z]/.test(name);
  }
}

function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}

/** Whether something that stands there, or in a list there, is judged. */
export function leadsToJudge(place: CompiledPlace | undefined): boolean {
  return place !== undefined && (place.source.judge !== undefined || place.elements?.source.judge !== undefined);
}

/** Makes a place, and all that it leads to, fit for the scanner. Places may lead back to themselves. */
export function compilePlace(root: Place, known = new Map<Place, CompiledPlace>()): CompiledPlace {
  const seen = known.get(root);
  if (seen) return seen;
  const compiled = new CompiledPlace(root);
  known.set(root, compiled);
  const { values = [], inside = {}, judgedWith = values } = root;
  if (values.length > MOST_SLOTS) throw new RangeError(`A place keeps at most ${MOST_SLOTS} values.`);
  for (const name of new Set([...values, ...Object.keys(inside)])) {
    const place = inside[name];
    compiled.add(name, { slot: values.indexOf(name), wakesJudge: judgedWith.includes(name), place: place && compilePlace(place, known) });
  }
  compiled.elements = root.elements && compilePlace(root.elements, known);
  compiled.others = root.others && compilePlace(root.others, known);
  return compiled;
}

function isAt(name: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let index = 0; index < name.length; index += 1) if (name[index] !== bytes[start + index]) return false;
  return true;
}
