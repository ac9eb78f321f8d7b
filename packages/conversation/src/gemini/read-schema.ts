import { type JsonObject, present } from "../json.ts";
import type { Notes } from "../notes.ts";
import { SCHEMA } from "./fields.ts";
import { fieldsOf } from "./spelling.ts";

/** Google counts in texts of digits. */
const COUNTS = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"] as const;

/** A schema of Google's own form as JSON Schema. Throws `invalid_request` for what is none. */
export function readSchema(value: unknown, path: string, notes: Notes): JsonObject {
  const fields = fieldsOf(SCHEMA, value, path, notes);
  const [items, properties, example] = [fields.value("items"), fields.object("properties"), fields.value("example")];
  const schema = present({
    type: typeOf(fields.value("type")),
    format: fields.text("format"),
    title: fields.text("title"),
    description: fields.text("description"),
    enum: fields.list("enum"),
    default: fields.value("default"),
    examples: example === undefined ? undefined : [example],
    items: items === undefined ? undefined : readSchema(items, fields.at("items"), notes),
    properties:
      properties &&
      Object.fromEntries(
        Object.entries(properties).map(([name, one]) => [name, readSchema(one, `${fields.at("properties")}.${name}`, notes)]),
      ),
    required: fields.list("required"),
    anyOf: fields.list("anyOf")?.map((one, index) => readSchema(one, `${fields.at("anyOf")}[${index}]`, notes)),
    pattern: fields.text("pattern"),
    minimum: fields.value("minimum"),
    maximum: fields.value("maximum"),
    ...Object.fromEntries(COUNTS.map((name) => [name, countOf(fields.value(name))])),
  });
  return fields.flag("nullable") ? nullable(schema) : schema;
}

function typeOf(type: unknown): unknown {
  if (typeof type !== "string") return type;
  return type === "TYPE_UNSPECIFIED" ? undefined : type.toLowerCase();
}

function countOf(value: unknown): unknown {
  return typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
}

/** One that may be null, too. */
function nullable(schema: JsonObject): JsonObject {
  const { type, anyOf, enum: values } = schema;
  if (Array.isArray(anyOf)) return { ...schema, anyOf: [...(anyOf as readonly unknown[]), { type: "null" }] };
  if (typeof type !== "string") return schema;
  return { ...schema, type: [type, "null"], ...(Array.isArray(values) && { enum: [...(values as readonly unknown[]), null] }) };
}
