import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

/** What a provider charges and does not count, or counts in two ways: bytes of a provider in, the spend row out. */

interface Given {
  readonly name: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** Frames of a stream, or one JSON object. `cut`: the connection ends after them, without an end of the answer. */
  readonly answer: readonly string[] | object;
  readonly cut?: true;
  readonly row: Readonly<Record<string, unknown>>;
}

const data = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
const event = (type: string, fields: object): string => `event: ${type}\n${data({ type, ...fields })}`;
const messages = [{ role: "user", content: "hello" }];
const HAIKU = { model: "claude-haiku-4-5", max_tokens: 10_000, stream: true, messages };
const SEARCHING = { ...HAIKU, tools: [{ type: "web_search_20250305", name: "web_search", max_uses: 3 }] };
const MINI = { model: "gpt-4o-mini", max_tokens: 1_000, messages };
const start = (usage: object): string => event("message_start", { message: { id: "m", model: "claude-haiku-4-5", usage } });
const block = (content: object): string => event("content_block_start", { index: 0, content_block: content });
const text = (length: number): string =>
  event("content_block_delta", { index: 0, delta: { type: "text_delta", text: "x".repeat(length) } });
const said = (index: number, length: number): string =>
  data({
    id: "c",
    model: "gpt-4o-mini",
    choices: [{ index, delta: { role: "assistant", content: "x".repeat(length) }, finish_reason: null }],
  });
const chat = (usage: object) => ({
  id: "c",
  choices: [{ index: 0, message: { role: "assistant", content: "ok" }, finish_reason: "stop" }],
  usage,
});

const RESULT = block({ type: "web_search_tool_result", tool_use_id: "t", content: [] });

const CASES: readonly Given[] = [
  {
    name: "money 1: a search model's answer has the fee of one search",
    body: { model: "search", messages },
    answer: chat({ prompt_tokens: 1_000, completion_tokens: 100 }),
    row: { spend: "0.0285", metadata: { cost_breakdown: { tool_usage_cost: "0.025" } } },
  },
  {
    name: "money 1: and of one, however often it says it searched",
    body: { model: "search", messages, web_search_options: { search_context_size: "high" } },
    answer: chat({ prompt_tokens: 1_000, completion_tokens: 100 }),
    row: { spend: "0.0285", metadata: { cost_breakdown: { tool_usage_cost: "0.025" } } },
  },
  {
    name: "money 6: an answer that broke off after a search has read its input twice",
    body: SEARCHING,
    answer: [
      start({ input_tokens: 100_000, output_tokens: 1 }),
      block({ type: "server_tool_use", id: "t", name: "web_search", input: {} }),
      RESULT,
      block({ type: "text", text: "" }),
      text(4_000),
    ],
    cut: true,
    // 100,000 twice, and what of the result was seen; 1,000 of output; a fee.
    row: {
      completion_tokens: 1_000,
      metadata: {
        estimated: true,
        cost_breakdown: { input_cost: (0.2 + Math.floor(RESULT.length / 4) / 1e6).toFixed(6), tool_usage_cost: "0.01" },
      },
    },
  },
  {
    name: "money 7: two choices of which one had not begun cost both",
    body: { ...MINI, stream: true, n: 2 },
    answer: [said(0, 400)],
    cut: true,
    row: { completion_tokens: 200, metadata: { estimated: true } },
  },
  {
    name: "money 8: a stream without event lines",
    body: HAIKU,
    answer: [
      start({ input_tokens: 1_000, output_tokens: 1 }),
      text(400),
      event("message_delta", { delta: { stop_reason: "end_turn" }, usage: { input_tokens: 1_000, output_tokens: 500 } }),
      event("message_stop", {}),
    ].map((frame) => frame.replace(/^event: .*\n/, "")),
    row: { spend: "0.0035", status: "success", metadata: { estimated: false } },
  },
  {
    name: "money: a last count of nothing",
    body: HAIKU,
    answer: [
      start({ input_tokens: 10_000, output_tokens: 1 }),
      text(400),
      event("message_delta", { usage: { input_tokens: 0, output_tokens: 100 } }),
      event("message_stop", {}),
    ],
    row: { spend: "0.0105", metadata: { unknown_usage: ["usage=counts that fall"] } },
  },
  {
    name: "money: a cache that is counted beside the prompt",
    body: MINI,
    answer: chat({ prompt_tokens: 100, completion_tokens: 10, total_tokens: 10_110, prompt_tokens_details: { cached_tokens: 10_000 } }),
    row: { spend: "0.000771", prompt_tokens: 10_100, metadata: { unknown_usage: ["prompt_tokens=less than its parts"] } },
  },
  {
    name: "money: reasoning that is counted beside the answer",
    body: MINI,
    answer: chat({ prompt_tokens: 100, completion_tokens: 10, completion_tokens_details: { reasoning_tokens: 500 } }),
    row: { completion_tokens: 510, metadata: { unknown_usage: ["completion_tokens=less than its parts"] } },
  },
];

let folder: string;
let provider: Server;
let stack: TestStack;
beforeAll(async () => {
  provider = createServer((request, response) => {
    const given = CASES[Number(request.headers["x-case"])];
    request.resume().on("end", () => {
      const { answer = {} } = given ?? {};
      const isStream = Array.isArray(answer);
      response.writeHead(200, { "content-type": isStream ? "text/event-stream" : "application/json" });
      const bytes = isStream ? answer.join("") : JSON.stringify(answer);
      response.write(bytes, () => (given?.cut ? response.destroy() : response.end()));
    });
  });
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  folder = await mkdtemp(join(tmpdir(), "llm-proxy-test-"));
  await writeFile(
    join(folder, "config.yaml"),
    `model_list:
  - model_name: search
    litellm_params: { model: openai/gpt-4o-search-preview, api_key: k, api_base: "${url}/v1" }
    model_info: { base_model: gpt-4o, search_context_cost_per_query: { search_context_size_low: 0.025, search_context_size_medium: 0.025, search_context_size_high: 0.025 } }
  - model_name: claude-haiku-4-5
    litellm_params: { model: anthropic/claude-haiku-4-5, api_key: k, api_base: "${url}" }
  - model_name: gpt-4o-mini
    litellm_params: { model: openai/gpt-4o-mini, api_key: k, api_base: "${url}/v1" }
`,
  );
  stack = await startTestStack({ LITELLM_CONFIG: join(folder, "config.yaml") });
});
afterAll(async () => {
  await stack.stop();
  provider.close();
  await rm(folder, { recursive: true });
});

test.each(CASES.map((given, index) => [given.name, given, index] as const))("%s", async (_, { body, row }, index) => {
  const path = String(body["model"]).startsWith("claude") ? "/v1/messages" : "/v1/chat/completions";
  const response = await post(stack, path, body, { headers: { "x-case": String(index) } });
  await response.text();

  expect(await spendLogOf(stack, response.headers.get("x-litellm-call-id") ?? "")).toMatchObject(row);
});
