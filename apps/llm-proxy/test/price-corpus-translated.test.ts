import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readPriceCases } from "@proliferate/metering/test/price-corpus/price-corpus";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

/**
 * The corpus of prices for callers of every other API: the provider's bytes in, the spend row out, and in the answer the tokens of the row. What a provider
 * searches or charges otherwise by the request is asked for in its own API alone.
 */
const GEMINI = "/v1beta/models/{model}:generateContent";
const DIALECTS = ["/v1/messages", "/v1/chat/completions", "/v1/responses", GEMINI] as const;
const isTranslated = (path: string): path is (typeof DIALECTS)[number] => DIALECTS.some((dialect) => dialect === path);
const CASES = readPriceCases().filter(
  ({ startedAt, host, model, search, path }) =>
    startedAt.startsWith("2026-11-27") && host === undefined && model !== "gpt-audio" && search === undefined && isTranslated(path),
);

/** A model of the corpus, served in one API alone. */
const nameOf = ({ model, path }: (typeof CASES)[number]): string => `${model}:${path}`;

/** Who serves in one API alone needs no bound. */
const boundOf = ({ path }: (typeof CASES)[number]): string => (path === GEMINI ? "" : `, model_info: { supported_endpoints: [${path}] }`);

let provider: Server;
let stack: TestStack;
let folder: string;
beforeAll(async () => {
  provider = createServer((request, response) => {
    // The one header that a translated request has of its caller's.
    const [name, way] = (request.headers["user-agent"] ?? "").split(" ");
    const given = CASES.find((one) => one.name === name);
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": way === "streamed" ? "text/event-stream" : "application/json" });
      response.end(way === "streamed" ? given?.streamed : given?.whole);
    });
  });
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`;
  folder = await mkdtemp(join(tmpdir(), "corpus-"));
  const entries = new Map(
    CASES.map((given) => [
      nameOf(given),
      `  - { model_name: "${nameOf(given)}", litellm_params: { model: ${given.provider}/${given.model} }${boundOf(given)} }`,
    ]),
  );
  await writeFile(join(folder, "config.yaml"), ["model_list:", ...entries.values(), ""].join("\n"));
  stack = await startTestStack({
    ANTHROPIC_API_BASE: url,
    OPENAI_API_BASE: `${url}/v1`,
    GEMINI_API_BASE: url,
    LITELLM_CONFIG: join(folder, "config.yaml"),
  });
});
afterAll(async () => {
  await stack.stop();
  provider.close();
  await rm(folder, { recursive: true, force: true });
});

const BODIES = {
  "/v1/messages": { max_tokens: 1_000, messages: [{ role: "user", content: "hello" }] },
  "/v1/chat/completions": { max_tokens: 1_000, messages: [{ role: "user", content: "hello" }] },
  "/v1/responses": { max_output_tokens: 1_000, input: "hello" },
  [GEMINI]: { contents: [{ parts: [{ text: "hello" }] }], generationConfig: { maxOutputTokens: 1_000 } },
} as const;

const CALL_TYPES = {
  "/v1/messages": "anthropic_messages",
  "/v1/chat/completions": "acompletion",
  "/v1/responses": "aresponses",
  [GEMINI]: "agenerate_content",
} as const;
/** A request as a caller makes it: in one of the APIs the path names the model, and asks for a stream. */
function requestOf(from: (typeof DIALECTS)[number], model: string, isStream: boolean): { readonly path: string; readonly body: object } {
  if (from === GEMINI) {
    const path = from.replace("{model}", encodeURIComponent(model));
    return { path: isStream ? `${path.replace(":generate", ":streamGenerate")}?alt=sse` : path, body: BODIES[from] };
  }
  const usage = from === "/v1/chat/completions" && { stream_options: { include_usage: true } };
  return { path: from, body: { model, ...BODIES[from], ...(isStream && { stream: true, ...usage }) } };
}

const DIRECTIONS = DIALECTS.flatMap((from) => DIALECTS.flatMap((to) => (from === to ? [] : [[from, to] as const])));

describe.each(DIRECTIONS)("a caller of %s, served in %s", (from, to) => {
  const cases = CASES.filter(({ path }) => path === to).flatMap((given) =>
    (["whole", "streamed"] as const).flatMap((way) => (way === "whole" || given.streamed ? [[given.name, way, given] as const] : [])),
  );

  test("there are cases", () => expect(cases.length).toBeGreaterThan(3));

  test.each(cases)("%s, %s, costs to the last digit what it costs in its own API", async (name, way, given) => {
    const { path, body } = requestOf(from, nameOf(given), way === "streamed");
    const response = await post(stack, path, body, { headers: { "user-agent": `${name} ${way}` } });
    expect(response.status).toBe(200);
    const told = usageTold(await response.text());

    const row = await spendLogOf(stack, response.headers.get("x-litellm-call-id") ?? "");

    expect(row).toMatchObject({
      spend: given.row.spend,
      status: "success",
      metadata: {
        estimated: false,
        served_call_type: CALL_TYPES[to],
        cost_breakdown: { total_cost: given.row.spend, tool_usage_cost: given.row.tool },
      },
    });
    expect(told).toEqual([row.prompt_tokens, row.completion_tokens]);
  });
});

/** Input with what was cached, and output, as the answer's last word has them in whichever API. */
function usageTold(text: string): readonly number[] {
  const last = (name: string): number => Number([...text.matchAll(new RegExp(`"${name}":(\\d+)`, "g"))].at(-1)?.[1] ?? 0);
  if (text.includes('"promptTokenCount"')) return [last("promptTokenCount"), last("candidatesTokenCount") + last("thoughtsTokenCount")];
  if (text.includes('"prompt_tokens"')) return [last("prompt_tokens"), last("completion_tokens")];
  const cached = text.includes('"object":"response"') ? 0 : last("cache_creation_input_tokens") + last("cache_read_input_tokens");
  return [last("input_tokens") + cached, last("output_tokens")];
}
