import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { documentedFields, factsOf } from "./test-scan.ts";
import { SPENDING_EXAMPLES } from "./test-spending-examples.ts";

test.each(SPENDING_EXAMPLES.map((example) => [example.dialect, JSON.stringify(example.body).slice(0, 90), example] as const))(
  "public bug 1: %s %s is seen",
  (dialect, _, { body, facts }) => {
    expect(factsOf({ model: "claude-haiku-4-5", ...body }, dialect)).toMatchObject(facts);
  },
);

test("a plain request names nothing and leaves nothing to judge", () => {
  const body = {
    model: "m",
    max_tokens: 1,
    metadata: { user_id: "u", model: "x" },
    messages: [{ role: "user", content: [{ type: "text", text: "tools[0].model fallbacks" }] }],
    tools: [{ name: "t", input_schema: { properties: { model: { type: "advisor" } } } }],
  };

  expect(factsOf(body, "anthropic")).toMatchObject({
    namedModels: [],
    unmeasuredInputs: [],
    serverTools: [],
    extraPasses: [],
    unjudged: [],
    unknownFields: [],
    endUser: "u",
  });
});

test("breaker 11: a schema in a field that nobody documents names no model, whatever its properties are called; beside it one is found", () => {
  const schema = {
    type: "object",
    properties: { model: { type: "string" }, properties: { properties: { models: {} } } },
    $defs: { model: {} },
    required: ["model"],
  };

  expect(factsOf({ model: "m", messages: [], guided_json: schema, structured_outputs: { json: schema } }, "openai").unjudged).toEqual([]);
  for (const field of [
    { judge: { model: "claude-fable-5-1" } },
    { judge: { ...schema, model: "x" } },
    { judge: { properties: { a: { model: "x" } } } },
    { judge: { properties: [{ model: "x" }] } },
  ]) {
    expect(factsOf({ model: "m", messages: [], ...field }, "openai").unjudged).toMatchObject([{ why: "unknown_field_names_model" }]);
  }
});

test("breaker 12: where one of two limits cannot be read, none is taken to hold", () => {
  for (const unread of [-1, "128000", 0, false, [5]]) {
    expect(factsOf({ model: "m", max_completion_tokens: 1, max_tokens: unread }, "openai").maxOutputTokens).toBeUndefined();
  }
  expect(factsOf({ model: "m", max_completion_tokens: 1, max_tokens: null }, "openai").maxOutputTokens).toBe(1);
});

test.each([
  ["openai", { n: 1, N: 128 }, "N"],
  ["openai", { max_tokens: 1, Max_Tokens: 100_000 }, "Max_Tokens"],
  ["openai", { Service_tier: "priority" }, "Service_tier"],
  ["anthropic", { FALLBACKS: [{ model: "claude-fable-5-1" }] }, "FALLBACKS"],
] as const)("money: a field of an %s body that some servers know in any case is refused by name: %j", (dialect, fields, param) => {
  expect(() => factsOf({ model: "m", messages: [], ...fields }, dialect)).toThrow(
    expect.objectContaining({ code: "invalid_request", param }),
  );
});

const searching = (tool: object): object => ({ model: "m", max_tokens: 1, tools: [{ type: "web_search_20260318", name: "s", ...tool }] });

test.each(["50", true, [50], { value: 50 }, "1e9"])("money 3: a limit of uses that is no number is refused by name: %j", (max_uses) => {
  expect(() => factsOf(searching({ max_uses }), "anthropic")).toThrow(
    expect.objectContaining({ code: "invalid_request", param: "tools[0].max_uses" }),
  );
  expect(factsOf(searching({ max_uses: null }), "anthropic").serverTools).toMatchObject([{ maxUses: undefined }]);
});

test.each([
  [{ previous_response_id: "resp_x" }, "previous_response_id"],
  [{ conversation: { id: "conv_x" } }, "conversation"],
  [{ prompt: { id: "pmpt_x" } }, "prompt"],
  [{ store: true }, "store"],
  [{ store: "yes" }, "store"],
  [{ background: true }, "background"],
  [{ max_tool_calls: "3" }, "max_tool_calls"],
  [{ prompt_cache_options: { comparison_response_id: "resp_x" } }, "prompt_cache_options.comparison_response_id"],
  [{ input: [{ type: "item_reference", id: "msg_x" }] }, "input[0].id"],
  [{ input: [{ id: "msg_x" }] }, "input[0].id"],
  [{ input: [{ id: "msg_x", type: null }] }, "input[0].id"],
  [{ input: { id: "msg_x" } }, "input.id"],
  [{ input: [{ role: "user", content: [{ type: "input_file", file_id: "file-x" }] }] }, "input[0].content[0].file_id"],
  [{ input: [{ type: "computer_call_output", output: { file_id: "file-x" } }] }, "input[0].output.file_id"],
  [{ tools: [{ type: "file_search", vector_store_ids: ["vs_x"] }] }, "tools[0].vector_store_ids"],
  [{ tools: [{ type: "code_interpreter", container: "cntr_x" }] }, "tools[0].container"],
  [{ tools: [{ type: "code_interpreter", container: { type: "auto", file_ids: ["file-x"] } }] }, "tools[0].container.file_ids"],
  [
    { tools: [{ type: "shell", environment: { type: "container_reference", container_id: "cntr_x" } }] },
    "tools[0].environment.container_id",
  ],
  [{ tools: [{ type: "namespace", tools: [{ type: "mcp", tunnel_id: "t" }] }] }, "tools[0].tools[0].tunnel_id"],
  [
    { input: [{ type: "additional_tools", tools: [{ type: "file_search", vector_store_ids: ["v"] }] }] },
    "input[0].tools[0].vector_store_ids",
  ],
])("clients F1: what is kept at the provider is nobody's: %j is refused by name", (fields, param) => {
  expect(() => factsOf({ model: "m", input: "x", ...fields }, "responses")).toThrow(
    expect.objectContaining({ code: "invalid_request", param }),
  );
});

test("clients F1: an id whose name is written with escapes is one", () => {
  const body = String.raw`{"model":"m","input":[{"\u0069d":"msg_x"}]}`;

  expect(() => factsOf(body, "responses")).toThrow(expect.objectContaining({ code: "invalid_request", param: "input[0].id" }));
});

test("clients F1: what agents send again of an earlier answer refers to nothing, and names no tool", () => {
  const body = {
    model: "m",
    store: false,
    background: null,
    previous_response_id: null,
    include: ["reasoning.encrypted_content"],
    input: [
      { role: "user", content: "hello" },
      { id: "rs_1", type: "reasoning", summary: [], encrypted_content: "gAAA" },
      { id: "ws_1", type: "web_search_call", status: "completed", action: { type: "search", query: "model" } },
      { id: "fc_1", type: "function_call", call_id: "c", name: "f", arguments: '{"file_id":"x"}' },
      { type: "function_call_output", call_id: "c", output: "done" },
      { id: "msg_1", type: "message", role: "assistant", content: [{ type: "output_text", text: "x", annotations: [{ file_id: "f" }] }] },
    ],
  };

  expect(factsOf(body, "responses")).toMatchObject({
    unmeasuredInputs: [],
    serverTools: [],
    extraPasses: [],
    unjudged: [],
    unknownFields: [],
    reasoning: undefined,
  });
});

test("README.md has a row for each field that has an example, and no other", async () => {
  const readme = await readFile(new URL("README.md", import.meta.url), "utf8");
  const rows = [...readme.matchAll(/^\| (anthropic|openai|embeddings|responses) \| `([^`]+)` \|/gm)].map(
    ([, dialect, field]) => `${dialect} ${field}`,
  );

  expect(rows.toSorted()).toEqual([...new Set(SPENDING_EXAMPLES.map(({ dialect, field }) => `${dialect} ${field}`))].toSorted());
});

/** A field that an SDK learns is one that somebody has to judge; this fails when an SDK is raised to a version with new ones. */
test.each([
  ["anthropic", "@anthropic-ai/sdk/resources/beta/messages/messages.d.ts", "MessageCreateParamsBase"],
  ["openai", "openai/resources/chat/completions/completions.d.ts", "ChatCompletionCreateParamsBase"],
  ["responses", "openai/resources/responses/responses.d.ts", "ResponseCreateParamsBase"],
  ["embeddings", "openai/resources/embeddings.d.ts", "EmbeddingCreateParams"],
] as const)("every field of a body that the SDK of %s knows is documented here", async (dialect, file, type) => {
  const types = await readFile(new URL(`../../node_modules/${file}`, import.meta.url), "utf8");
  const start = types.indexOf(`interface ${type} {`);
  const names = [...types.slice(start, types.indexOf("\n}", start)).matchAll(/^ {4}(\w+)\??: /gm)].map(([, name]) => name ?? "");

  expect(names.length).toBeGreaterThan(dialect === "embeddings" ? 4 : 25);
  expect(names.filter((name) => !documentedFields(dialect).includes(name))).toEqual([]);
});
