import { expect, test } from "vitest";
import { hiddenTokensPerSecond } from "./hidden-output.ts";

test.each([
  ["gpt-5", undefined, 1, 200],
  ["gpt-5.4", "on", 3, 600],
  ["gpt-6.1-sol", undefined, 1, 200],
  ["gpt-5", "off", 1, 0],
  ["gpt-5-chat-latest", undefined, 1, 0],
  ["gpt-4o-mini", undefined, 1, 0],
  ["o4-mini", undefined, 1, 200],
  ["claude-opus-5-5", "off", 1, 200],
  ["claude-fable-5-1", undefined, 1, 200],
  ["claude-sonnet-5", undefined, 1, 0],
  ["claude-sonnet-5", "on", 1, 200],
  ["claude-sonnet-5", "off", 1, 0],
] as const)("hostile 1: %s with reasoning %s and %i choices can produce so much unseen", (model, reasoning, choices, tokens) => {
  expect(hiddenTokensPerSecond(model, { reasoning, choices })).toBe(tokens);
});
