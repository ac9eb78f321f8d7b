import { describe, expect, test } from "vitest";
import { matchesPattern } from "./model-pattern.ts";
import { isModelAllowed, requireModelAllowed } from "./policy.ts";

const HAIKU = { modelName: "claude-haiku-4-5", model: "anthropic/claude-haiku-4-5-20251001" };
const PREFIXED = { ...HAIKU, modelName: "anthropic/claude-haiku-4-5" };
const MINI = { modelName: "gpt-4o-mini", model: "openai/gpt-4o-mini" };
const MADE_UP = { modelName: "our-best", model: "anthropic/claude-opus-5-5" };
const FOREIGN = { modelName: "claude-haiku-4-5", model: "openai/claude-haiku-4-5-lookalike" };

describe("LiteLLM's words and patterns", () => {
  test.each([
    [[], { haiku: true, prefixed: true, mini: true, madeUp: true, foreign: true }],
    [["all-proxy-models"], { haiku: true, prefixed: true, mini: true, madeUp: true, foreign: true }],
    [["all-team-models"], { haiku: true, prefixed: true, mini: true, madeUp: true, foreign: true }],
    [["*"], { haiku: true, prefixed: true, mini: true, madeUp: true, foreign: true }],
    [["no-default-models"], { haiku: false, prefixed: false, mini: false, madeUp: false, foreign: false }],
    [["no-default-models", "gpt-4o-mini"], { haiku: false, prefixed: false, mini: true, madeUp: false, foreign: false }],
    [["claude-haiku-4-5"], { haiku: true, prefixed: false, mini: false, madeUp: false, foreign: true }],
    [["anthropic/*"], { haiku: true, prefixed: true, mini: false, madeUp: false, foreign: false }],
    [["openai/*"], { haiku: false, prefixed: false, mini: true, madeUp: false, foreign: false }],
    [["gpt-4*"], { haiku: false, prefixed: false, mini: true, madeUp: false, foreign: false }],
    [["openai/gpt-4*"], { haiku: false, prefixed: false, mini: true, madeUp: false, foreign: false }],
    [["openai/gpt-5*"], { haiku: false, prefixed: false, mini: false, madeUp: false, foreign: false }],
    [["*/claude-*-4-5"], { haiku: true, prefixed: true, mini: false, madeUp: false, foreign: false }],
    [["claude.haiku*"], { haiku: false, prefixed: false, mini: false, madeUp: false, foreign: false }],
    [["GPT-4*"], { haiku: false, prefixed: false, mini: false, madeUp: false, foreign: false }],
    [["pt-4o*"], { haiku: false, prefixed: false, mini: false, madeUp: false, foreign: false }],
  ])("%j of a key, and of a team", (models, allowed) => {
    for (const caller of [
      { models, teamModels: [] },
      { models: [], teamModels: models },
      { models: ["all-team-models", "not-a-model"], teamModels: models },
    ])
      expect({
        haiku: isModelAllowed(caller, HAIKU),
        prefixed: isModelAllowed(caller, PREFIXED),
        mini: isModelAllowed(caller, MINI),
        madeUp: isModelAllowed(caller, MADE_UP),
        foreign: isModelAllowed(caller, FOREIGN),
      }).toEqual(allowed);
  });

  test("a key's word for all opens no more than its team has", () => {
    for (const word of ["all-proxy-models", "all-team-models", "*"])
      expect(isModelAllowed({ models: [word], teamModels: ["gpt-4o-mini"] }, HAIKU)).toBe(false);
  });
});

test("every short pattern stands for exactly the names that its definition says", () => {
  const texts = (alphabet: string, length: number): string[] =>
    length === 0 ? [""] : ["", ...texts(alphabet, length - 1).flatMap((text) => [...alphabet].map((character) => character + text))];
  const names = texts("ab", 5);
  for (const pattern of new Set(texts("ab*", 5))) {
    const reference = new RegExp(`^${pattern.replaceAll("*", "[^]*")}$`);
    for (const name of new Set(names))
      expect([pattern, name, matchesPattern(pattern, name)]).toEqual([pattern, name, reference.test(name)]);
  }
});

test("what is longer than the contract takes stands for nothing, and is told shortened", () => {
  expect(matchesPattern("*".repeat(9), "a")).toBe(false);
  expect(matchesPattern("a*", "a".repeat(300))).toBe(false);
  expect(matchesPattern(`${"a".repeat(300)}*`, "a".repeat(301))).toBe(false);

  const models = Array.from({ length: 1_000 }, (_, index) => `${index}`.padStart(255, "x"));
  expect(() => requireModelAllowed({ models, teamModels: [] }, HAIKU)).toThrow(
    /^The API key may not use model "claude-haiku-4-5"; .{100,3000}, 980 more\.$/,
  );
});

test("a refusal names what the list that refuses allows", () => {
  expect(() => requireModelAllowed({ models: ["all-team-models"], teamModels: ["gpt-4o-mini"] }, HAIKU)).toThrow(
    "it may use: gpt-4o-mini.",
  );
});
