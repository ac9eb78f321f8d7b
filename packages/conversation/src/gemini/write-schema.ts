import { isObject, type JsonObject } from "../json.ts";

/** What Google takes of JSON Schema, as its documentation of `responseJsonSchema` says. */
const KEPT = new Set([
  "$id",
  "$defs",
  "$ref",
  "$anchor",
  "type",
  "format",
  "title",
  "description",
  "enum",
  "items",
  "prefixItems",
  "minItems",
  "maxItems",
  "minimum",
  "maximum",
  "anyOf",
  "oneOf",
  "properties",
  "additionalProperties",
  "required",
  "propertyOrdering",
]);
/** Of these each value is a schema, by a name of the caller's. */
const MAPS = new Set(["properties", "$defs"]);
/** These hold schemas, or lists of them. */
const HOLDERS = new Set(["items", "prefixItems", "anyOf", "oneOf", "additionalProperties"]);

/**
 * JSON Schema as far as Gemini takes it: `const` is an `enum` of one, `definitions` are `$defs`. `drop` is told the name of every rule that goes no further:
 * the model is not held to it.
 */
export function writeSchema(schema: JsonObject, drop: (rule: string) => void): JsonObject {
  const written = Object.entries(schema).flatMap(([rule, value]): [string, unknown][] => {
    const [name, said] = renamed(rule, value);
    if (!KEPT.has(name)) return (drop(rule), []);
    if (MAPS.has(name)) return isObject(said) ? [[name, writeMap(said, drop)]] : [];
    if (name === "enum") return writeEnum(said, drop);
    return [[name, HOLDERS.has(name) ? writeHeld(said, drop) : name === "$ref" ? refOf(said) : said]];
  });
  // Beside a reference nothing else may stand.
  if (!written.some(([name]) => name === "$ref")) return Object.fromEntries(written);
  const beside = written.filter(([name]) => !name.startsWith("$"));
  for (const [name] of beside) drop(name);
  return Object.fromEntries(written.filter(([name]) => name.startsWith("$")));
}

function renamed(rule: string, value: unknown): readonly [string, unknown] {
  if (rule === "const" && (typeof value === "string" || typeof value === "number")) return ["enum", [value]];
  return [rule === "definitions" ? "$defs" : rule, value];
}

function refOf(value: unknown): unknown {
  return typeof value === "string" ? value.replace(/^#\/definitions\//, "#/$defs/") : value;
}

function writeMap(map: JsonObject, drop: (rule: string) => void): JsonObject {
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, writeHeld(value, drop)]));
}

function writeHeld(value: unknown, drop: (rule: string) => void): unknown {
  if (Array.isArray(value)) return value.map((one: unknown) => writeHeld(one, drop));
  return isObject(value) ? writeSchema(value, drop) : value;
}

/** Texts and numbers alone. */
function writeEnum(value: unknown, drop: (rule: string) => void): [string, unknown][] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [];
  const taken = values.filter((one) => typeof one === "string" || typeof one === "number");
  if (taken.length < values.length || taken.length === 0) drop("enum");
  return taken.length === 0 ? [] : [["enum", taken]];
}
