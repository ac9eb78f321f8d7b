import { expect, test } from "vitest";
import { factsOf, refusalOf } from "./test-scan.ts";

/** Bodies whose names, depth or number are meant to be read as something else, or to cost more to read than to send. */

test.each([
  ["tool\u017f", [{ type: "web_search" }]],
  ["\u017fervice_tier", "priority"],
  ["\u017fpeed", "fast"],
  ["fallback\u017f", ["gpt-5.4"]],
  ["\\u017fpeed", "fast"],
])("review 3: %s is the name of a known field to servers that fold case as Unicode does", (name, value) => {
  expect(refusalOf(`{"model":"m","${name}":${JSON.stringify(value)}}`, "openai")).toBe("invalid_request");
});

test.each([
  ["fallbacks[0].Model", { fallbacks: [{ Model: "gpt-5.4" }] }],
  ["tools[0].Type", { tools: [{ Type: "web_search" }] }],
  ["tools[0].MODEL", { tools: [{ type: "function", MODEL: "gpt-5.4" }] }],
  ["tools[0].max_u\u017fes", { tools: [{ "type": "web_search", "max_uses": 1, "max_u\u017fes": 50 }] }],
  ["stream_options.Include_Usage", { stream: true, stream_options: { Include_Usage: false } }],
  ["moderation.Model", { moderation: { Model: "gpt-5.4" } }],
  ["route.Model", { route: { Model: "gpt-5.4" } }],
] as const)("review 3: %s may be read by a server that ignores case, so it is not judged", (path, fields) => {
  expect(factsOf({ model: "m", ...fields }, "openai").unjudged).toEqual([{ path, why: "unknown_value" }]);
});

const MEDIA = { type: "image", source: { type: "url", url: "https://x/a.png" } };

test.each([
  ["messages[0].content[0].Source", "anthropic", { type: "image", Source: MEDIA.source }],
  ["messages[0].content[0].source.URL", "anthropic", { type: "image", source: { type: "url", URL: "https://x/a.png" } }],
  ["messages[0].content[0].FILE_ID", "anthropic", { type: "container_upload", FILE_ID: "file_1" }],
  ["messages[0].content[0].tool.Definition", "anthropic", { type: "tool_addition", tool: { Definition: { type: "web_search_20250305" } } }],
  ["messages[0].content[0].Image_URL", "openai", { type: "image_url", Image_URL: { url: "https://x/a.png" } }],
  ["messages[0].content[0].image_url.Url", "openai", { type: "image_url", image_url: { Url: "https://x/a.png" } }],
  ["messages[0].content[0].file.File_Id", "openai", { type: "file", file: { File_Id: "file_1" } }],
  ["messages[0].content[0].input_audio.URL", "openai", { type: "input_audio", input_audio: { URL: "https://x/a.wav" } }],
] as const)("review: %s of an %s message may be read by a server that ignores case, so it is not judged", (path, dialect, part) => {
  expect(factsOf({ model: "m", max_tokens: 1, messages: [{ role: "user", content: [part] }] }, dialect).unjudged).toEqual([
    { path, why: "unknown_value" },
  ]);
});

test("what a tool was called with may have names in any case", () => {
  const call = { type: "tool_use", id: "t", name: "n", input: { Source: { URL: "https://x" }, File_ID: "f" } };

  expect(factsOf({ model: "m", max_tokens: 1, messages: [{ role: "assistant", content: [call] }] }, "anthropic").unjudged).toEqual([]);
});

test("review 2: paths of facts are short however deep they stand, and end with the fact's own steps", () => {
  const name = "k".repeat(64);
  const files = Array.from({ length: 4_000 }, () => ({ file_id: "a" }));
  const body = `{"model":"m","messages":[${`{"${name}":`.repeat(500)}${JSON.stringify(files)}${"}".repeat(500)}]}`;

  const { unmeasuredInputs } = factsOf(body, "anthropic");

  expect(unmeasuredInputs).toHaveLength(4_000);
  expect(Math.max(...unmeasuredInputs.map(({ path }) => path.length))).toBeLessThan(16 * 66 + 16);
  expect(unmeasuredInputs[7]?.path).toMatch(/^\u2026\.k{64}.*\.k{64}\[7\]\.file_id$/);
});

const fallbacks = (count: number): string =>
  JSON.stringify({ model: "m", fallbacks: Array.from({ length: count }, () => ({ model: "n" })) });
const tools = (count: number): string => JSON.stringify({ model: "m", tools: Array.from({ length: count }, () => ({ type: "unknown" })) });

test("review 2: what is priced and reserved one by one is bounded in number", () => {
  for (const dialect of ["anthropic", "openai"] as const) {
    expect([refusalOf(fallbacks(64), dialect), refusalOf(fallbacks(65), dialect)]).toEqual([undefined, "invalid_request"]);
    expect([refusalOf(tools(64), dialect), refusalOf(tools(65), dialect)]).toEqual([undefined, "invalid_request"]);
  }
});
