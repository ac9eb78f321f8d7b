import { isObject, type JsonObject, numberOf } from "./json.ts";
import { type Feature, malformed, type Notes, notTranslatable } from "./notes.ts";

/** What becomes of a field before any writer is asked. */
export type Fate =
  /** It is read, as a use of a feature where one is named; what becomes of that, the writer says. */
  | { readonly fate: "read"; readonly as?: Feature }
  /** 400, unless its value is one of those that ask for nothing. */
  | { readonly fate: "refused"; readonly why: string; readonly unless: readonly unknown[] }
  /** It goes no further, whoever serves, and its caller is told. */
  | { readonly fate: "dropped"; readonly why: string };

/** An object of a body, with every field that its API has for it. The table in docs/translation.md is made of these. */
export interface Place<Name extends string = string> {
  /** As paths are written, with `[]` for each element. */
  readonly path: string;
  /** The SDK's names of the object. */
  readonly types: readonly string[];
  readonly fields: Readonly<Record<Name, Fate>>;
}

/** A field that is read. */
export function read(as?: Feature): Fate {
  return { fate: "read", ...(as && { as }) };
}

/** A field that is refused; `unless` its value is one of these. */
export function refused(why: string, ...unless: readonly unknown[]): Fate {
  return { fate: "refused", why, unless };
}

/** A field that is dropped and told. */
export function dropped(why: string): Fate {
  return { fate: "dropped", why };
}

/** Makes a place; its names are known to the compiler, so that no reader asks for a field that the table has not. */
export function place<Name extends string>(path: string, types: readonly string[], fields: Record<Name, Fate>): Place<Name> {
  return { path, types, fields };
}

/** An object of a body whose every field has met its fate; what is read of it is checked. */
export class Fields<Name extends string> {
  readonly #object: JsonObject;
  readonly path: string;

  /** Throws `invalid_request` where the value is no object, and `not_translatable` for a field that is refused. */
  constructor(at: Place<Name>, value: unknown, path: string, notes: Notes) {
    if (!isObject(value)) throw malformed(path || "The body", "must be an object");
    this.#object = value;
    this.path = path;
    for (const [name, field] of Object.entries(value))
      if (field !== undefined && field !== null) meet(at, name, field, this.at(name), notes);
  }

  /** The path of a field of it. */
  at(name: string): string {
    return this.path === "" ? name : `${this.path}.${name}`;
  }

  /** Undefined for null, too. */
  value(name: Name): unknown {
    return this.#object[name] ?? undefined;
  }

  text(name: Name): string | undefined {
    const value = this.value(name);
    if (value === undefined || typeof value === "string") return value;
    throw malformed(this.at(name), "must be a text");
  }

  requiredText(name: Name): string {
    const value = this.text(name);
    if (value === undefined) throw malformed(this.at(name), "is missing");
    return value;
  }

  number(name: Name): number | undefined {
    const value = this.value(name);
    const number = numberOf(value);
    if (value === undefined || number !== undefined) return number;
    throw malformed(this.at(name), "must be a number");
  }

  flag(name: Name): boolean | undefined {
    const value = this.value(name);
    if (value === undefined || typeof value === "boolean") return value;
    throw malformed(this.at(name), "must be true or false");
  }

  list(name: Name): readonly unknown[] | undefined {
    const value = this.value(name);
    if (value === undefined || Array.isArray(value)) return value;
    throw malformed(this.at(name), "must be a list");
  }

  texts(name: Name): readonly string[] | undefined {
    const list = this.list(name);
    if (list?.every((one) => typeof one === "string")) return list;
    if (list) throw malformed(this.at(name), "must be a list of texts");
    return undefined;
  }

  object(name: Name): JsonObject | undefined {
    const value = this.value(name);
    if (value === undefined || isObject(value)) return value;
    throw malformed(this.at(name), "must be an object");
  }
}

function meet(at: Place, name: string, value: unknown, path: string, notes: Notes): void {
  const fate = Object.hasOwn(at.fields, name) ? at.fields[name] : undefined;
  // A field that nobody knows is the next invention of an API: the provider is not told, the caller is.
  if (!fate || fate.fate === "dropped") return notes.drop(path.slice(0, 256));
  if (fate.fate === "read") return fate.as && notes.use(fate.as, path);
  const isHarmless = fate.unless.some((harmless) => JSON.stringify(harmless) === JSON.stringify(value));
  if (!isHarmless) throw notTranslatable(path, fate.why);
}
