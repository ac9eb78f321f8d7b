import { expect, test } from "vitest";
import { estimateInputTokens } from "./estimate.ts";

const message = (content: unknown) => ({ messages: [{ role: "user", content }] });

test("text counts by its bytes, four a token", () => {
  const short = estimateInputTokens(message(""));

  expect(estimateInputTokens(message("x".repeat(40_000))) - short).toBe(10_000);
  expect(estimateInputTokens(message("é".repeat(20_000))) - short).toBe(10_000);
});

test("tools and system text count as well", () => {
  expect(estimateInputTokens({ system: "s".repeat(400), tools: [{ input_schema: { properties: { ["p".repeat(400)]: {} } } }] })).toBeGreaterThan(200);
});

test("an image counts about what an image costs, not by its base64 text", () => {
  const data = "iVBORw0KGgo".repeat(100_000);

  const anthropic = estimateInputTokens(message([{ type: "image", source: { type: "base64", media_type: "image/png", data } }]));
  const openai = estimateInputTokens(message([{ type: "image_url", image_url: { url: `data:image/png;base64,${data}` } }]));

  for (const tokens of [anthropic, openai]) {
    expect(tokens).toBeGreaterThan(1_000);
    expect(tokens).toBeLessThan(data.length / 16);
  }
});

test("long text under the name `data` is text", () => {
  expect(estimateInputTokens(message([{ type: "tool_use", input: { data: "some words, ".repeat(1_000) } }]))).toBeGreaterThan(2_900);
});

test("a body that is nested as deep as it can be is walked without recursion", () => {
  const depth = 5_000;
  expect(estimateInputTokens(JSON.parse(`{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`))).toBeGreaterThanOrEqual(1);
});
