import { expect, test } from "vitest";
import { DIALECT, factsOf } from "../body/test-scan.ts";
import { searchOf, withCertainSearch } from "./search.ts";

const chat = (body: object = {}) => factsOf({ model: "m", messages: [], ...body }, "openai");

test.each([
  ["gpt-4o-search-preview", {}, "certain"],
  ["gpt-5-search-api", { web_search_options: {} }, "certain"],
  ["gpt-4o-mini-search-preview-2025-03-11", {}, "certain"],
  ["gpt-5", { web_search_options: {} }, "possible"],
  ["gpt-5", { tools: [{ type: "web_search" }] }, "possible"],
  ["gpt-5", {}, undefined],
  ["research-model", {}, undefined],
] as const)("money 1: a search of %s asked with %j is %s", (model, body, expected) => {
  expect(searchOf(DIALECT.openai, model, chat(body))).toBe(expected);
});

test("money 1: Anthropic counts its searches itself", () => {
  expect(
    searchOf(DIALECT.anthropic, "claude-search-x", factsOf({ model: "m", tools: [{ type: "web_search_20260318" }] }, "anthropic")),
  ).toBeUndefined();
});

test("money 1: a model that searches unasked reserves as if it were asked, once", () => {
  const asked = [{ path: "web_search_options", type: "web_search_options" }];

  expect(withCertainSearch(DIALECT.openai, "gpt-4o-search-preview", chat()).serverTools).toMatchObject([
    { path: "model", type: "web_search_options" },
  ]);
  expect(withCertainSearch(DIALECT.openai, "gpt-4o-search-preview", chat({ web_search_options: {} })).serverTools).toMatchObject(asked);
  expect(withCertainSearch(DIALECT.openai, "gpt-5", chat()).serverTools).toEqual([]);
});
