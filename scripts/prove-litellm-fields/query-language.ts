/** From the GraphQL of Prisma's Python client to the JSON that Prisma's engine takes as WebAssembly, and back. */

/** What is read of a node of a parsed GraphQL document. */
export interface GraphqlNode {
  readonly kind: string;
  readonly name: { readonly value: string };
  readonly value: unknown;
  readonly values: readonly GraphqlNode[];
  readonly fields: readonly GraphqlNode[];
  readonly arguments: readonly GraphqlNode[];
  readonly selectionSet?: { readonly selections: readonly GraphqlNode[] };
}

/** By model: which of its fields are JSON. Their values come as text, and must be marked for the engine. */
type JsonFields = ReadonlyMap<string, ReadonlySet<string>>;

/** One question to the engine, and under which name its answer comes. */
export interface EngineQuestion {
  readonly answeredAs: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const NO_FIELDS: ReadonlySet<string> = new Set();
const METHOD =
  /^(findUnique|findFirst|findMany|createOne|createMany|updateOne|updateMany|upsertOne|deleteOne|deleteMany|aggregate|groupBy)(\w+?)(OrThrow)?$/;

/** Reads a schema.prisma. */
export function jsonFieldsOf(schema: string): JsonFields {
  const models = [...schema.matchAll(/^model (\w+) \{\n(.*?)^\}/gms)];
  return new Map(
    models.map(([, name = "", body = ""]) => [name, new Set([...body.matchAll(/^ *(\w+) +Json\b/gm)].map(([, field = ""]) => field))]),
  );
}

/** The question of the one field that the client asks for in a document. Throws on a method that is not known. */
export function questionOf(field: GraphqlNode, jsonFields: JsonFields): EngineQuestion {
  const method = field.name.value;
  if (method === "queryRaw" || method === "executeRaw")
    return { answeredAs: method, body: { action: method, query: { arguments: argumentsOf(field, NO_FIELDS), selection: {} } } };
  const [, action, modelName = "", orThrow = ""] = METHOD.exec(method) ?? [];
  if (action === undefined) throw new Error(`the method ${method} is not known`);
  const json = jsonFields.get(modelName) ?? NO_FIELDS;
  const query = { arguments: argumentsOf(field, json), selection: selectionOf(field, json) };
  return { answeredAs: method, body: { modelName, action: `${action}${orThrow}`, query } };
}

/** The engine's answer as the client reads it: under the name `result`, values without the tags of their types. */
export function answerOf({ answeredAs }: EngineQuestion, answer: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const data = answer["data"] as Readonly<Record<string, unknown>> | null | undefined;
  return data ? { data: { result: untagged(answeredAs in data ? data[answeredAs] : Object.values(data)[0]) } } : answer;
}

function argumentsOf(node: GraphqlNode, json: ReadonlySet<string>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(node.arguments.map(({ name, value }) => [name.value, valueOf(value as GraphqlNode, json, false)]));
}

function selectionOf(node: GraphqlNode, json: ReadonlySet<string>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    (node.selectionSet?.selections ?? []).map((field) => [
      field.name.value,
      field.selectionSet || field.arguments.length > 0
        ? { arguments: argumentsOf(field, json), selection: selectionOf(field, json) }
        : true,
    ]),
  );
}

function valueOf(node: GraphqlNode, json: ReadonlySet<string>, isJson: boolean): unknown {
  switch (node.kind) {
    case "NullValue":
      return null;
    case "IntValue":
    case "FloatValue":
      return Number(node.value);
    case "ListValue":
      return node.values.map((value) => valueOf(value, json, isJson));
    case "ObjectValue":
      return Object.fromEntries(
        node.fields.map(({ name, value }) => [name.value, valueOf(value as GraphqlNode, json, isJson || json.has(name.value))]),
      );
    case "StringValue":
      return isJson ? { $type: "Json", value: node.value } : node.value;
    default:
      return node.value;
  }
}

function untagged(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(untagged);
  if (typeof value !== "object" || value === null) return value;
  if ("$type" in value && "value" in value) return value.value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, untagged(inner)]));
}
