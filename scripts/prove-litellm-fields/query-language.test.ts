import { expect, test } from "vitest";
import { answerOf, type GraphqlNode, jsonFieldsOf, questionOf } from "./query-language.ts";

const jsonFields = jsonFieldsOf(
  'model Key {\n  token String @id\n  metadata Json @default("{}")\n  spend Float\n}\n\nmodel Team {\n  id String @id\n}\n',
);

const named = (name: string, value: unknown): unknown => ({ kind: "Argument", name: { value: name }, value });
const text = (value: string): unknown => ({ kind: "StringValue", value });
const object = (...fields: unknown[]): unknown => ({ kind: "ObjectValue", fields });
const field = (name: string, given: unknown[] = [], selections: unknown[] = []): GraphqlNode =>
  ({ kind: "Field", name: { value: name }, arguments: given, selectionSet: { selections } }) as unknown as GraphqlNode;
const leaf = (name: string): unknown => ({ kind: "Field", name: { value: name }, arguments: [] });

test("a document becomes the engine's question, text of a JSON field as JSON", () => {
  const data = object(named("token", text("a")), named("metadata", text('{"b":1}')), named("spend", { kind: "FloatValue", value: "1.5" }));

  expect(questionOf(field("createOneKey", [named("data", data)], [leaf("token")]), jsonFields)).toEqual({
    answeredAs: "createOneKey",
    body: {
      modelName: "Key",
      action: "createOne",
      query: { arguments: { data: { token: "a", metadata: { $type: "Json", value: '{"b":1}' }, spend: 1.5 } }, selection: { token: true } },
    },
  });
});

test("what throws where nothing is found keeps doing so, and SQL has no model", () => {
  expect(questionOf(field("findUniqueKeyOrThrow"), jsonFields).body).toMatchObject({ modelName: "Key", action: "findUniqueOrThrow" });
  expect(questionOf(field("queryRaw", [named("query", text("select 1"))]), jsonFields)).toEqual({
    answeredAs: "queryRaw",
    body: { action: "queryRaw", query: { arguments: { query: "select 1" }, selection: {} } },
  });
  expect(() => questionOf(field("dropKey"), jsonFields)).toThrow("dropKey is not known");
});

test("an answer loses the tags of its types, and an error stays as it is", () => {
  const question = { answeredAs: "findManyKey", body: {} };

  expect(answerOf(question, { data: { findManyKey: [{ at: { $type: "DateTime", value: "2026-01-01" }, n: null }] } })).toEqual({
    data: { result: [{ at: "2026-01-01", n: null }] },
  });
  expect(answerOf(question, { errors: [{ error: "no" }] })).toEqual({ errors: [{ error: "no" }] });
});
