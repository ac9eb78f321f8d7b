import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SPENDING_EXAMPLES } from "../src/body/test-spending-examples.ts";
import { mintKey } from "./proxy-process.ts";
import { CHAT, EMBEDDING, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, RESPONSE, startTestStack, type TestStack } from "./test-stack.ts";

/** Issue 8, "what must be shown" 4: a key that is limited to one small model cannot spend on another by any field that a body has. */

const DIALECTS = {
  anthropic: { path: "/v1/messages", body: MESSAGE, model: "claude-haiku-4-5" },
  openai: { path: "/v1/chat/completions", body: CHAT, model: "gpt-4o-mini" },
  responses: { path: "/v1/responses", body: RESPONSE, model: RESPONSE.model },
  embeddings: { path: "/v1/embeddings", body: EMBEDDING, model: EMBEDDING.model },
} as const;

const NAMING = SPENDING_EXAMPLES.filter(({ facts }) => facts.namedModels?.length || facts.unjudged?.length);

async function send(
  stack: TestStack,
  dialect: keyof typeof DIALECTS,
  fields: Readonly<Record<string, unknown>>,
  key: Readonly<Record<string, unknown>>,
): Promise<{ status: number; text: string }> {
  const minted = await mintKey(stack.proxy, key);
  const { path, body } = DIALECTS[dialect];
  const response = await post(stack, path, { ...body, ...fields }, { headers: { "x-api-key": minted.key } });
  return { status: response.status, text: await response.text() };
}

describe("by default", () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack();
  });
  afterAll(() => stack.stop());

  test("public bug 10, 11, F1: the table has each field of a body that names a model or leaves the choice to the provider", () => {
    expect(new Set(NAMING.map(({ dialect, field }) => `${dialect} ${field}`)).size).toBeGreaterThanOrEqual(12);
  });

  test.each(NAMING.map((example) => [example.dialect, example.field, JSON.stringify(example.body).slice(0, 90), example] as const))(
    "public bug 10, 11, F1: a key for one small model is refused, and nothing is forwarded: %s %s %s",
    async (dialect, _field, _body, example) => {
      const before = stack.provider.requests.length;
      const path = example.facts.namedModels?.[0]?.path ?? example.facts.unjudged?.[0]?.path ?? "";

      const { status, text } = await send(stack, dialect, example.body, { models: [DIALECTS[dialect].model], max_budget: 0.02 });

      expect([400, 403, 404]).toContain(status);
      expect(text).toContain(path);
      expect(stack.provider.requests).toHaveLength(before);
      expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
    },
  );

  const advisor = { tools: [{ type: "advisor_20260301", name: "advisor", model: "claude-fable-5-1" }] };

  test("public bug 10: the advisor of another model is refused as the direct call is", async () => {
    const key = { models: ["claude-haiku-4-5"], max_budget: 0.02 };

    expect((await send(stack, "anthropic", advisor, key)).status).toBe(403);
    expect((await send(stack, "anthropic", { model: "claude-fable-5-1" }, key)).status).toBe(403);
  });

  test("a model that the key allows may be named, under either of its names here", async () => {
    expect((await send(stack, "anthropic", advisor, { models: ["claude-haiku-4-5", "anthropic/claude-fable-5-1"] })).status).toBe(200);
    expect((await send(stack, "anthropic", advisor, {})).status).toBe(200);
  });

  test("a model that nobody serves here may not be named, by a key without a list either", async () => {
    const { status, text } = await send(stack, "anthropic", { fallbacks: [{ model: "claude-1" }] }, {});

    expect([status, text]).toEqual([404, expect.stringContaining("fallbacks[0].model")]);
  });

  test.each([
    ["anthropic", { speed: "ludicrous" }, "speed"],
    ["anthropic", { inference_geo: "moon" }, "inference_geo"],
    ["openai", { service_tier: "platinum" }, "service_tier"],
    ["openai", { modalities: ["text", "audio"] }, "modalities"],
    ["anthropic", { tools: [{ type: "code_execution_20260521", name: "code_execution" }] }, "tools[0]"],
  ] as const)("hostile 2: what has no price is refused with its field: %s %j", async (dialect, fields, path) => {
    const { status, text } = await send(stack, dialect, fields, {});

    expect([status, text]).toEqual([400, expect.stringContaining(path)]);
    expect(text).toContain("UNJUDGED_REQUESTS");
  });

  test.each([
    ["anthropic", { service_tier: "auto" }],
    ["anthropic", { service_tier: "standard_only" }],
    ["anthropic", { inference_geo: "global" }],
    ["openai", { service_tier: "default" }],
    ["anthropic", { tools: [{ type: "web_search_20260318", name: "web_search", max_uses: 2 }] }],
    ["anthropic", { context_management: { edits: [{ type: "clear_tool_uses_20250919" }] } }],
  ] as const)("what is served anyway, or has a price, passes: %s %j", async (dialect, fields) => {
    expect((await send(stack, dialect, fields, {})).status).toBe(200);
  });
});

describe("with UNJUDGED_REQUESTS=reserve", () => {
  let stack: TestStack;
  beforeAll(async () => {
    stack = await startTestStack({ UNJUDGED_REQUESTS: "reserve" });
  });
  afterAll(() => stack.stop());

  test("what cannot be judged passes, and reserves as if the dearest model did all of it once more", async () => {
    const budget = { max_budget: 0.5 };
    expect((await send(stack, "anthropic", { fallbacks: "default" }, budget)).status).toBe(200);
    expect((await send(stack, "openai", { plugins: [{ id: "web" }] }, budget)).status).toBe(200);
  });

  test("but a key with a list still names no model outside of it", async () => {
    const key = { models: ["claude-haiku-4-5"] };

    expect((await send(stack, "anthropic", { fallbacks: [{ model: "claude-fable-5-1" }] }, key)).status).toBe(403);
    expect((await send(stack, "anthropic", { fallbacks: [{ model: "claude-1" }] }, key)).status).toBe(404);
  });
});
