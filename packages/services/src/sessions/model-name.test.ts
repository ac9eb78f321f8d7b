import { expect, test } from "vitest";
import { allowsModel, modelSpellings, providerOfModel } from "./model-name.ts";

test.each([
  ["claude-opus-4-5", "claude-opus-4-5", "anthropic/claude-opus-4-5"],
  ["anthropic/claude-opus-4-5", "claude-opus-4-5", "anthropic/claude-opus-4-5"],
  ["gpt-4o", "gpt-4o", "openai/gpt-4o"],
  ["o3", "o3", "openai/o3"],
])("%s is called %s and %s", (model, bare, prefixed) => {
  expect(modelSpellings(model)).toEqual([bare, prefixed]);
});

test("a prefix says more about the provider than the name does", () => {
  expect(providerOfModel("openai/claude-like")).toBe("openai");
});

test("a list allows a model under either name, an empty one allows all", () => {
  expect(allowsModel(["anthropic/claude-opus-4-5"], "claude-opus-4-5")).toBe(true);
  expect(allowsModel(["claude-opus-4-5"], "claude-opus-4-6")).toBe(false);
  expect(allowsModel([], "claude-opus-4-6")).toBe(true);
});
