import { expect, test } from "vitest";
import { factsOf } from "./test-scan.ts";

const message = (content: unknown): object => ({ model: "m", messages: [{ role: "user", content }] });
const estimate = (body: object, dialect: "anthropic" | "openai" = "anthropic"): number => factsOf(body, dialect).estimatedInputTokens;
const IMAGE = "iVBORw0KGgo".repeat(100_000);

test("text counts by its bytes, four a token", () => {
  const short = estimate(message(""));

  expect(estimate(message("x".repeat(40_000))) - short).toBe(10_000);
  expect(estimate(message("é".repeat(20_000))) - short).toBe(10_000);
});

test("tools and system text count as well", () => {
  expect(
    estimate({ model: "m", system: "s".repeat(400), tools: [{ input_schema: { properties: { ["p".repeat(400)]: {} } } }] }),
  ).toBeGreaterThan(200);
});

test("escapes count as what they are read as", () => {
  expect(factsOf('{"model":"m","system":"\\u00e9\\ud83d\\ude00\\n\\u0041"}', "anthropic").estimatedInputTokens).toBe(
    factsOf('{"model":"m","system":"é😀\\nA"}', "anthropic").estimatedInputTokens,
  );
});

test.each([
  ["anthropic", { type: "image", source: { type: "base64", media_type: "image/png", data: IMAGE } }],
  ["openai", { type: "image_url", image_url: { url: `data:image/png;base64,${IMAGE}` } }],
] as const)("an image of the %s dialect counts about what an image costs, not by its base64 text", (dialect, part) => {
  const { estimatedInputTokens, maxInputTokens, unmeasuredInputs } = factsOf(message([part]), dialect);

  expect(estimatedInputTokens).toBeGreaterThan(1_000);
  expect(estimatedInputTokens).toBeLessThan(IMAGE.length / 16);
  expect(maxInputTokens).toBeLessThan(26_000);
  expect(unmeasuredInputs).toEqual([]);
});

test("hostile 11: text that begins with `data:` is text", () => {
  const text = "data:image/png;base64,".concat("some words ".repeat(1_000));

  expect(estimate(message(text)) - estimate(message(""))).toBeCloseTo(text.length / 4, -1);
  expect(estimate(message([{ type: "text", text }]), "openai")).toBeGreaterThan(text.length / 4);
});

test("hostile 11: text under the name `data` is text, whatever it looks like", () => {
  const words = "AAAA".repeat(3_000);

  for (const content of [
    [{ type: "tool_use", input: { data: words } }],
    [{ type: "document", source: { type: "text", media_type: "text/plain", data: words } }],
  ]) {
    expect(estimate(message(content))).toBeGreaterThan(2_900);
  }
});

test("a token of text has at least a byte: the upper bound is every byte of the body, and what a provider says about tools", () => {
  const body = message("héllo \u0000 \\");
  const bytes = Buffer.byteLength(JSON.stringify(body));

  expect(factsOf(body, "anthropic").maxInputTokens).toBe(bytes);
  const tools = {
    ...body,
    tools: [
      { name: "t", input_schema: {} },
      { type: "bash_20250124", name: "bash" },
    ],
  };
  expect(factsOf(tools, "anthropic").maxInputTokens).toBe(Buffer.byteLength(JSON.stringify(tools)) + 1_000 + 2_000);
});

test("public bug 3: a document in base64 is bounded by nothing in its bytes", () => {
  const source = { type: "base64", media_type: "application/pdf", data: "JVBERi0xLjQK" };

  expect(factsOf(message([{ type: "document", source }]), "anthropic").unmeasuredInputs).toEqual([
    { path: "messages[0].content[0].source.data", kind: "document" },
  ]);
});
