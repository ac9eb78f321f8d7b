import { expect, test } from "vitest";
import { allowsModel, modelNames, modelSpellings, prefixedName, providerOfModel } from "./model-name.ts";

test.each([
  ["claude-opus-4-5", "claude-opus-4-5", "anthropic/claude-opus-4-5"],
  ["anthropic/claude-opus-4-5", "claude-opus-4-5", "anthropic/claude-opus-4-5"],
  ["gpt-4o", "gpt-4o", "openai/gpt-4o"],
  ["o3", "o3", "openai/o3"],
])("%s is called %s and %s", (model, bare, prefixed) => {
  expect(modelSpellings(model)).toEqual([bare, prefixed]);
});

test.each(["mistral/mistral-large-latest", "openrouter/gpt-4o", "bedrock/anthropic/claude-opus-4-5"])(
  "a third provider's model is called %s and nothing else: no other provider is put before it, and none taken away",
  (model) => {
    expect(modelSpellings(model)).toEqual([model]);
    expect(prefixedName(model)).toBe(model);
    expect(providerOfModel(model)).toBe(model.split("/")[0]);
  },
);

test.each(["anthropic/*", "*", "gpt-4*", "all-proxy-models", "no-default-models"])("%s has no second name that allows more", (entry) => {
  expect(modelSpellings(entry)).toEqual([entry]);
});

test("a prefix says more about the provider than the name does", () => {
  expect(providerOfModel("openai/claude-like")).toBe("openai");
});

test("a list allows a model under either name, an empty one allows all", () => {
  expect(allowsModel(["anthropic/claude-opus-4-5"], "claude-opus-4-5")).toBe(true);
  expect(allowsModel(["claude-opus-4-5"], "claude-opus-4-6")).toBe(false);
  expect(allowsModel([], "claude-opus-4-6")).toBe(true);
});

test("a model of one provider is not allowed by a name of another", () => {
  expect(allowsModel(["openrouter/gpt-4o"], "gpt-4o")).toBe(false);
  expect(allowsModel(["gpt-4o"], "openrouter/gpt-4o")).toBe(false);
  expect(allowsModel(["mistral/codestral"], "mistral/codestral")).toBe(true);
});

test("a list allows what its patterns and words stand for, as the proxy reads them", () => {
  expect(allowsModel(["anthropic/*"], "claude-opus-4-5")).toBe(true);
  expect(allowsModel(["anthropic/*"], "gpt-4o")).toBe(false);
  expect(allowsModel(["mistral/*"], "mistral/codestral")).toBe(true);
  expect(allowsModel(["all-proxy-models"], "mistral/codestral")).toBe(true);
  expect(allowsModel(["no-default-models"], "gpt-4o")).toBe(false);
  expect(modelNames(["anthropic/*", "gpt-4o", "all-team-models"])).toEqual(["gpt-4o"]);
});
