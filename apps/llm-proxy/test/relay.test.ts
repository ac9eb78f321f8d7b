import Anthropic from "@anthropic-ai/sdk";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PROVIDER_KEY } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());
afterEach(expectNothingLeft);

async function expectNothingLeft(): Promise<void> {
  stack.provider.clearScripts();
  await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
}

const lastRequest = () => stack.provider.requests.at(-1);
const idOf = (response: Response): string => response.headers.get("request-id") ?? "";
const streamed = { ...MESSAGE, stream: true };

async function textUntilBroken(response: Response): Promise<{ readonly text: string; readonly isBroken: boolean }> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk as Uint8Array, { stream: true });
    return { text, isBroken: false };
  } catch {
    return { text, isBroken: true };
  }
}

describe("what the provider gets", () => {
  test("is the caller's body byte for byte when the model's name is its own", async () => {
    const text = `{ "messages" : [ {"role":"user","content":"\\u00e9 \\ud83d\\ude00 ünï"} ],\n "max_tokens":1.0e2,  "model":"claude-opus-4-8", "unknown":{"a":1,"a":2} }`;

    await post(stack, "/v1/messages", text);

    expect(lastRequest()?.body.toString()).toBe(text);
  });

  test("differs in nothing but the name of the model when that is an alias", async () => {
    const text = `{"max_tokens": 100, "messages":[{"role":"user","content":"\\"model\\": \\"anthropic/claude-opus-4-8\\""}], "model" : "anthropic/claude-opus-4-8" }`;

    await post(stack, "/v1/messages", text);

    expect(lastRequest()?.body.toString()).toBe(text.replace(`"model" : "anthropic/claude-opus-4-8"`, `"model" : "claude-opus-4-8"`));
  });

  test("has the provider's key, the caller's other headers, its query, and no credential of the caller", async () => {
    await post(stack, "/v1/messages?beta=true&x=%20", MESSAGE, {
      headers: {
        "anthropic-beta": "a,b",
        "anthropic-version": "2026-10-21",
        "x-custom": "kept",
        "authorization": `Bearer ${stack.key}`,
        "x-litellm-tags": "t",
      },
    });

    const request = lastRequest();
    expect(request?.path).toBe("/v1/messages?beta=true&x=%20");
    expect(request?.headers).toMatchObject({
      "x-api-key": PROVIDER_KEY,
      "anthropic-beta": "a,b",
      "anthropic-version": "2026-10-21",
      "x-custom": "kept",
      "accept-encoding": "identity",
    });
    expect(JSON.stringify(request?.headers)).not.toContain(stack.key);
    expect(request?.headers).not.toHaveProperty("x-litellm-tags");
  });

  test.each(["/messages", "/v1/messages", "/v1/v1/messages", "/v1/messages/"])("comes by %s as well", async (path) => {
    expect((await post(stack, path, MESSAGE)).status).toBe(200);
    expect(lastRequest()?.path).toBe("/v1/messages");
  });
});

describe("what the caller gets", () => {
  test("is the provider's answer byte for byte, streamed and whole", async () => {
    const direct = (body: object): Promise<Response> =>
      fetch(`${stack.provider.url}/v1/messages`, {
        method: "POST",
        headers: { "x-api-key": PROVIDER_KEY, "anthropic-version": "2023-06-01", "accept-encoding": "identity" },
        body: JSON.stringify(body),
      });
    stack.provider.script(() => true, { responseId: "msg_fixed", text: 'Grüße 👋 \n\t"quoted"', thinking: "hm" });
    for (const body of [MESSAGE, streamed]) {
      const request = { ...body, model: "claude-opus-4-8" };
      expect(await (await post(stack, "/v1/messages", request)).text()).toBe(await (await direct(request)).text());
    }
  });

  test("comes piece by piece: the first bytes before the last are made", async () => {
    stack.provider.scriptNext({ fault: { kind: "hang_mid_stream", afterFrames: 3 } });
    const gone = new AbortController();

    const response = await post(stack, "/v1/messages", streamed, { signal: gone.signal });
    const first = await response.body?.getReader().read();

    expect(new TextDecoder().decode(first?.value as Uint8Array)).toContain("message_start");
    gone.abort();
    await spendLogOf(stack, idOf(response));
  });

  test("is the provider's own error, with its status and bytes, and the row says failure at no cost", async () => {
    stack.provider.failNext({ kind: "status", status: 400, message: "prompt is too long: 250000 tokens > 200000 maximum" });

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(400);
    expect(await response.text()).toContain("prompt is too long: 250000 tokens > 200000 maximum");
    expect(await spendLogOf(stack, idOf(response))).toMatchObject({
      status: "failure",
      spend: "0",
      metadata: { error_information: { error_code: "400" } },
    });
  });

  test("keeps the provider's retry-after and rate limit headers", async () => {
    stack.provider.failNext({ kind: "status", status: 429, retryAfterSeconds: 7 });

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(429);
    expect(response.headers.get("retry-after")).toBe("7");
    expect(response.headers.get("llm_provider-request-id")).toMatch(/^req_/);
  });

  test.each([401, 403])("is not a %i about a key that is not its own", async (status) => {
    stack.provider.failNext({ kind: "status", status, message: "invalid x-api-key" });

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(502);
    expect(await response.text()).toContain("ANTHROPIC_API_KEY");
    expect(response.headers.get("x-should-retry")).toBe("false");
  });
});

describe("a tool call and count_tokens", () => {
  test("pass through the real SDK", async () => {
    const anthropic = new Anthropic({ apiKey: stack.key, baseURL: stack.proxy.url, maxRetries: 0 });
    const tools = [{ name: "glob", input_schema: { type: "object" as const, properties: {} } }];
    const messages = [{ role: "user" as const, content: "Please use a tool." }];

    const stream = anthropic.messages.stream({ ...MESSAGE, messages, tools });
    const answer = await stream.finalMessage();
    const counted = await anthropic.messages.countTokens({ model: MESSAGE.model, messages });

    expect(answer.stop_reason).toBe("tool_use");
    expect(answer.content.at(-1)).toMatchObject({ type: "tool_use", name: "glob" });
    expect(counted.input_tokens).toBeGreaterThan(0);
  });

  test("counting is free: no attempt, no spend row", async () => {
    const response = await post(stack, "/v1/messages/count_tokens", MESSAGE);

    expect(response.status).toBe(200);
    const rows = await stack.database.db
      .selectFrom("LiteLLM_SpendLogs")
      .select("request_id")
      .where("request_id", "=", idOf(response))
      .execute();
    expect(rows).toEqual([]);
  });
});

describe("a caller that leaves", () => {
  test("in the middle of a stream stops the provider at once and pays for what was made", async () => {
    stack.provider.scriptNext({ answerBytes: 100_000, frameGapMs: 20 });
    const gone = new AbortController();
    const response = await post(stack, "/v1/messages", streamed, { signal: gone.signal });
    await response.body?.getReader().read();

    const leftAt = Date.now();
    gone.abort();
    const request = await stack.provider.waitFor((entry) => entry.outcome === "client_gone");

    expect((request.endedAtMs ?? Infinity) - leftAt).toBeLessThan(patience(500));
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({
      status: "failure",
      prompt_tokens: request.usage?.inputTokens,
      metadata: { estimated: true, error_information: { error_code: "499" } },
    });
    expect(Number(row.spend)).toBeGreaterThan(0);
    expect(row.completion_tokens).toBeLessThan(100_000 / 4);
  });

  test("before any answer pays for its input", async () => {
    stack.provider.scriptNext({ fault: { kind: "hang_before_headers" } });
    const before = stack.provider.requests.length;
    const gone = new AbortController();
    const asked = post(stack, "/v1/messages", MESSAGE, { signal: gone.signal }).catch(() => "aborted");
    await stack.provider.waitFor((entry) => entry.sequence > before);

    gone.abort();
    await stack.provider.waitFor((entry) => entry.sequence > before && entry.outcome === "client_gone");

    expect(await asked).toBe("aborted");
    await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
    const row = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().orderBy("startTime", "desc").executeTakeFirstOrThrow();
    expect(row).toMatchObject({ status: "failure", completion_tokens: 0, metadata: { estimated: true } });
    expect(Number(row.spend)).toBeGreaterThan(0);
  });
});

describe("a provider that fails", () => {
  test.each([
    ["/v1/messages", streamed, "cut_mid_stream"],
    ["/v1/messages", streamed, "end_early"],
    ["/v1/chat/completions", { ...CHAT, stream: true }, "cut_mid_stream"],
    ["/v1/chat/completions", { ...CHAT, stream: true }, "end_early"],
  ] as const)(
    "clients F7: in the middle of a stream on %s ends with an error event, then cleanly, so that clients read why (%#)",
    async (path, body, kind) => {
      stack.provider.scriptNext({ answerBytes: 2_000, fault: { kind, afterFrames: 4 } });

      const response = await post(stack, path, body);
      const { text, isBroken } = await textUntilBroken(response);

      expect(isBroken).toBe(false);
      expect(text).toContain("the provider ended the answer before its end");
      // clients 12: OpenCode and Pi, which see no status here, try again at these words.
      expect(text).toContain("Service unavailable.");
      expect(text.trimEnd().split("\n").at(-1)).toMatch(/^data: \{.*"error"/);
      expect(await spendLogOf(stack, idOf(response))).toMatchObject({ status: "failure", metadata: { estimated: true } });
    },
  );

  test("with an error event passes it on", async () => {
    stack.provider.scriptNext({ answerBytes: 2_000, fault: { kind: "error_event", afterFrames: 4 } });

    const response = await post(stack, "/v1/messages", streamed);

    expect(await response.text()).toContain("overloaded_error");
    expect(await spendLogOf(stack, idOf(response))).toMatchObject({ status: "failure", metadata: { estimated: true } });
  });

  test("public bug 31: before it answers, but after it had the request, is a 502 that costs the estimated input and may be tried again", async () => {
    stack.provider.failNext({ kind: "cut_before_headers" });

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(502);
    expect(response.headers.get("x-should-retry")).toBeNull();
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({
      status: "failure",
      completion_tokens: 0,
      metadata: { estimated: true, error_information: { error_code: "provider_stream_broken" } },
    });
    expect(Number(row.spend)).toBeGreaterThan(0);
  });

  test("in the middle of an answer that is no stream is a 502", async () => {
    stack.provider.failNext({ kind: "cut_mid_stream", afterFrames: 0 });

    expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(502);
  });

  test.each(["missing_usage"] as const)("to say what it cost (%s) is estimated, never free", async (kind) => {
    stack.provider.failNext({ kind });

    const response = await post(stack, "/v1/messages", MESSAGE);
    await response.text();

    const row = await spendLogOf(stack, idOf(response));
    expect(row.metadata).toMatchObject({ estimated: true });
    expect(Number(row.spend)).toBeGreaterThan(0);
  });

  test("clients F15: to stream when asked to is an error that clients raise; what the provider did is paid", async () => {
    stack.provider.failNext({ kind: "not_a_stream" });

    const response = await post(stack, "/v1/messages", streamed);

    expect(response.status).toBe(502);
    expect(response.headers.get("x-should-retry")).toBe("false");
    expect(await response.json()).toMatchObject({ type: "error", error: { message: expect.stringContaining("without a stream") } });
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({
      status: "failure",
      metadata: { estimated: false, error_information: { error_code: "provider_stream_missing" } },
    });
    expect(Number(row.spend)).toBeGreaterThan(0);
  });

  test.each([MESSAGE, streamed])("to send it uncompressed as asked is read all the same (%#)", async (body) => {
    stack.provider.scriptNext({ gzip: true, text: "compressed" });

    const response = await post(stack, "/v1/messages", body);

    expect(response.headers.get("content-encoding")).toBeNull();
    expect(await response.text()).toContain("compressed");
    expect(await spendLogOf(stack, idOf(response))).toMatchObject({ status: "success", metadata: { estimated: false } });
  });

  test("to give an id of its own twice loses no row", async () => {
    stack.provider.scriptNext({ responseId: "msg_recycled" }, { responseId: "msg_recycled" });

    const ids = [idOf(await post(stack, "/v1/messages", MESSAGE)), idOf(await post(stack, "/v1/messages", MESSAGE))];

    for (const id of ids) expect(await spendLogOf(stack, id)).toMatchObject({ metadata: { provider_response_id: "msg_recycled" } });
  });
});

test("cache reads and writes are metered in their classes", async () => {
  stack.provider.scriptNext({
    usage: { inputTokens: 10, cacheReadTokens: 1_000, cacheWrite5mTokens: 200, cacheWrite1hTokens: 50, outputTokens: 20 },
  });

  const response = await post(stack, "/v1/messages", streamed);
  await response.text();

  // Haiku 4.5: 1 / 0.1 / 1.25 / 2 / 5 USD per million tokens.
  const row = await spendLogOf(stack, idOf(response));
  expect(row).toMatchObject({ prompt_tokens: 1_260, completion_tokens: 20, spend: "0.00056" });
  expect(row.metadata).toMatchObject({ cost_breakdown: { input_cost: "0.00046", output_cost: "0.0001", total_cost: "0.00056" } });
});

test("the log has no key, no prompt and no answer in it", async () => {
  await post(stack, "/v1/messages", { ...MESSAGE, messages: [{ role: "user", content: "a-very-secret-prompt" }] });

  expect(stack.proxy.log()).not.toMatch(/a-very-secret-prompt|sk-provider|sk-master/);
  expect(stack.proxy.log()).not.toContain(stack.key);
});
