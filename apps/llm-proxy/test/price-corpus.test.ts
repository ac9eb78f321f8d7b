import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { readPriceCases } from "@proliferate/metering/test/price-corpus/price-corpus";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

/** The corpus through a proxy process: the provider's bytes in, the spend row out. The rest of it needs another day, host or model list. */
const CASES = readPriceCases().filter(
  ({ startedAt, host, model, search }) =>
    startedAt.startsWith("2026-11-27") && host === undefined && model !== "gpt-audio" && search !== "certain",
);

let provider: Server;
let stack: TestStack;
beforeAll(async () => {
  provider = createServer((request, response) => {
    // The one header that a translated request has of its caller's.
    const [name, way] = (request.headers["user-agent"] ?? "").split(" ");
    const given = CASES.find((one) => one.name === name);
    const isStreamed = way === "streamed";
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": isStreamed ? "text/event-stream" : "application/json" });
      response.end(isStreamed ? given?.streamed : given?.whole);
    });
  });
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  stack = await startTestStack({ ANTHROPIC_API_BASE: url, OPENAI_API_BASE: `${url}/v1`, GEMINI_API_BASE: url });
});
afterAll(async () => {
  await stack.stop();
  provider.close();
});

/** What each path asks of a body beside the model. */
const BODIES: Readonly<Record<(typeof CASES)[number]["path"], object>> = {
  "/v1/messages": { max_tokens: 1_000, messages: [{ role: "user", content: "hello" }] },
  "/v1/chat/completions": { max_tokens: 1_000, messages: [{ role: "user", content: "hello" }] },
  "/v1/responses": { max_output_tokens: 1_000, input: "hello", tools: [{ type: "web_search" }] },
  "/v1/embeddings": { input: "hello" },
  "/v1beta/models/{model}:generateContent": { contents: [{ parts: [{ text: "hello" }] }], generationConfig: { maxOutputTokens: 1_000 } },
};

describe.each(["whole", "streamed"] as const)("%s", (way) => {
  const cases = CASES.filter(({ streamed }) => way === "whole" || streamed !== undefined);
  test.each(cases.map((given) => [given.name, given] as const))("%s becomes the row that its provider's page says", async (name, given) => {
    const { path } = given;
    const saysModel = path.includes("{model}");
    const target = path.replace("{model}:generate", `${given.model}:${way === "streamed" ? "streamGenerate" : "generate"}`);
    const body = {
      ...(!saysModel && { model: given.model }),
      ...BODIES[path],
      ...(way === "streamed" && !saysModel && { stream: true }),
      ...(given.search === "possible" && { web_search_options: {} }),
    };
    const response = await post(stack, saysModel && way === "streamed" ? `${target}?alt=sse` : target, body, {
      headers: { "user-agent": `${name} ${way}` },
    });
    expect(response.status).toBe(200);
    await response.text();

    const row = await spendLogOf(stack, response.headers.get("x-litellm-call-id") ?? "");

    expect(row).toMatchObject({
      spend: given.row.spend,
      status: "success",
      metadata: { estimated: false, cost_breakdown: { total_cost: given.row.spend, tool_usage_cost: given.row.tool } },
    });
    expect(row.metadata["unknown_usage"]).toEqual(given.row.unknown_usage);
    expect(row.metadata["free"]).toBe(given.row.free);
    expect(row.metadata["provider_usage"]).toMatchObject({ usage: expect.any(Object) });
  });
});
