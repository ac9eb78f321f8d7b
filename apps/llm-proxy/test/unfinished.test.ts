import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { StoredSpendLog } from "@proliferate/access/spend-logs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

/** docs/pricing.md, "Unfinished answers": the rows of its table, with answers read on as by default but for less time. */
let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ DETACHED_READ_MS: "3000", DETACHED_READ_BYTES: "100000", DETACHED_READS_AT_ONCE: "8" });
});
afterAll(() => stack.stop());
afterEach(expectNothingLeft);

async function expectNothingLeft(): Promise<void> {
  stack.provider.clearScripts();
  await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
}

const idOf = (response: Response): string => response.headers.get("request-id") ?? "";
const rowOf = (response: Response): Promise<StoredSpendLog> => spendLogOf(stack, idOf(response));
const streamed = { ...MESSAGE, stream: true };
const GPT_5 = { model: "gpt-5", stream: true, messages: [{ role: "user", content: "Think." }] };
const OPUS_5 = { model: "claude-opus-5", stream: true, max_tokens: 32_000, messages: [{ role: "user", content: "Think." }] };

/** Reads until the text is there, then closes the connection. */
async function leaveAfter(path: string, body: object, text: string): Promise<Response> {
  const gone = new AbortController();
  const response = await post(stack, path, body, { signal: gone.signal });
  const decoder = new TextDecoder();
  let seen = "";
  for await (const chunk of response.body ?? []) {
    seen += decoder.decode(chunk as Uint8Array, { stream: true });
    if (seen.includes(text)) break;
  }
  gone.abort();
  return response;
}

const sse = (...events: readonly (string | object)[]): string[] =>
  events.map((data) => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);
const event = (type: string, fields: object): string => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
/** As servers send them that count on the way. */
const countedChunk = (content: string, completion: number): object => ({
  id: "c",
  choices: [{ index: 0, delta: { role: "assistant", content }, finish_reason: null }],
  usage: { prompt_tokens: 1_000, completion_tokens: completion },
});
const EVENT_STREAM = { "content-type": "text/event-stream" };

describe("hostile 1: a caller that hangs up before the count", () => {
  test("pays what OpenAI says a moment later, hidden reasoning included", async () => {
    const usage = { inputTokens: 10, cacheReadTokens: 0, outputTokens: 20_000, reasoningTokens: 19_995 };
    stack.provider.scriptNext({ text: "Done.", usage, frameGapMs: 100 });

    const response = await leaveAfter("/v1/chat/completions", GPT_5, '"finish_reason":"stop"');

    expect(await rowOf(response)).toMatchObject({
      spend: "0.2000125",
      status: "failure",
      metadata: { estimated: false, error_information: { error_code: "499" } },
    });
  });

  test("pays what Anthropic says a moment later", async () => {
    stack.provider.scriptNext({ text: "Done.", usage: { inputTokens: 10, outputTokens: 20_000 }, frameGapMs: 100 });

    const response = await leaveAfter("/v1/messages", OPUS_5, "content_block_stop");

    expect(await rowOf(response)).toMatchObject({ spend: "0.50005", completion_tokens: 20_000, metadata: { estimated: false } });
  });

  test("pays a whole answer that it did not wait for", async () => {
    stack.provider.scriptNext({ text: "Done.", usage: { inputTokens: 10, outputTokens: 2_000 }, headersDelayMs: 300 });
    const gone = new AbortController();
    const before = stack.provider.requests.length;
    const asked = post(stack, "/v1/messages", { ...OPUS_5, stream: false }, { signal: gone.signal }).catch(() => "aborted");
    await stack.provider.waitFor((entry) => entry.sequence > before);
    gone.abort();

    expect(await asked).toBe("aborted");
    await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
    const row = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().orderBy("startTime", "desc").executeTakeFirstOrThrow();
    expect(row).toMatchObject({ spend: "0.05005", metadata: { estimated: false, error_information: { error_code: "499" } } });
  });

  test("and whose answer goes on for longer than it is read pays what can have been made meanwhile", async () => {
    stack.provider.scriptNext({ text: "Done.", fault: { kind: "hang_mid_stream", afterFrames: 2 } });

    const response = await leaveAfter("/v1/chat/completions", { ...GPT_5, max_completion_tokens: 100_000 }, "content");

    // Three seconds at 200 tokens each, and what passed before it left.
    const row = await rowOf(response);
    expect(row.metadata).toMatchObject({ estimated: true });
    expect(row.completion_tokens).toBeGreaterThanOrEqual(600);
    expect(row.completion_tokens).toBeLessThan(200 * 10);
  });

  test("is read on for so many bytes, and no more", async () => {
    stack.provider.scriptNext({ answerBytes: 60_000_000 });

    const response = await leaveAfter("/v1/messages", { ...streamed, max_tokens: 10 }, "message_start");

    expect(await rowOf(response)).toMatchObject({ completion_tokens: 10, metadata: { estimated: true } });
    const { sequence } = stack.provider.requests.at(-1) ?? {};
    const entry = await stack.provider.waitFor((request) => request.sequence === sequence && request.outcome === "client_gone");
    expect(entry.bytesSent).toBeLessThan(30_000_000);
  });

  test("is read on with a quarter of what may be read on at once, as all of them are of one key, and no more", async () => {
    stack.provider.script(() => true, { fault: { kind: "hang_mid_stream", afterFrames: 3 } });
    const before = stack.provider.requests.length;

    const left = await Promise.all(Array.from({ length: 5 }, () => leaveAfter("/v1/messages", streamed, "message_start")));

    // Three are given up at once; two only when their time is over.
    await expect.poll(() => stack.provider.requests.slice(before).filter((entry) => entry.outcome === "client_gone").length).toBe(3);
    await expect.poll(async () => (await inFlight(stack)).attempts).toBe(2);
    for (const response of left) expect(await rowOf(response)).toMatchObject({ metadata: { estimated: true } });
    const heldMs = stack.provider.requests.slice(before).map((entry) => (entry.endedAtMs ?? Infinity) - entry.startedAtMs);
    expect(heldMs.filter((ms) => ms >= 3_000)).toHaveLength(2);
  });
});

describe("what costs nothing", () => {
  const overloaded = { type: "error", error: { type: "overloaded_error", message: "Overloaded" } };

  test.each([
    ["/v1/messages", MESSAGE, JSON.stringify(overloaded)],
    ["/v1/chat/completions", CHAT, '{"error":{"message":"Overloaded","type":"server_error"}}'],
  ])("public bug 27: a provider's error inside a 200 on %s, which is told as an error", async (path, body, text) => {
    stack.provider.failNext({ kind: "raw", pieces: [text] });

    const response = await post(stack, path, body);

    expect(response.status).toBe(502);
    expect(await response.text()).toBe(text);
    expect(await rowOf(response)).toMatchObject({ spend: "0", status: "failure", metadata: { estimated: false } });
  });

  test.each([
    [
      "/v1/messages",
      streamed,
      [event("message_start", { message: { id: "m", usage: { input_tokens: 9_000, output_tokens: 1 } } }), event("error", overloaded)],
    ],
    ["/v1/messages", streamed, [event("error", overloaded)]],
    ["/v1/chat/completions", { ...CHAT, stream: true }, sse({ error: { message: "Overloaded", type: "server_error" } })],
  ])("clients F11, litellm 11: an error event before any output on %s (%#)", async (path, body, pieces) => {
    stack.provider.failNext({ kind: "raw", headers: EVENT_STREAM, pieces });

    const response = await post(stack, path, body);

    expect(await response.text()).toContain("Overloaded");
    expect(await rowOf(response)).toMatchObject({
      spend: "0",
      status: "failure",
      metadata: { error_information: { error_code: "provider_error_event" } },
    });
  });

  test("a redirect, which is not followed and not passed on", async () => {
    stack.provider.failNext({ kind: "raw", status: 302, headers: { location: "http://127.0.0.1:1/" }, pieces: [""] });

    const response = await post(stack, "/v1/messages", MESSAGE, {});

    expect(response.status).toBe(502);
    expect(response.headers.get("location")).toBeNull();
    expect(await rowOf(response)).toMatchObject({ spend: "0" });
  });
});

describe("what breaks after it was sent", () => {
  test("public bug 22: a stream of OpenAI that shows usage and stops is a failure, told as one", async () => {
    stack.provider.failNext({ kind: "raw", headers: EVENT_STREAM, pieces: sse(countedChunk("a", 3), countedChunk("b", 5)) });

    const response = await post(stack, "/v1/chat/completions", { ...CHAT, stream: true, stream_options: { include_usage: true } });

    expect((await response.text()).trimEnd().split("\n").at(-1)).toContain('"code":"provider_stream_broken"');
    expect(await rowOf(response)).toMatchObject({
      status: "failure",
      prompt_tokens: 1_000,
      completion_tokens: 5,
      metadata: { estimated: true },
    });
  });

  test("a compatible server without [DONE] is whole when its choices have finished and its usage came", async () => {
    const end = { id: "c", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
    const begin = { id: "c", choices: [{ index: 0, delta: { role: "assistant", content: "a" }, finish_reason: null }] };
    stack.provider.failNext({
      kind: "raw",
      headers: EVENT_STREAM,
      pieces: sse(begin, end, { id: "c", choices: [], usage: { prompt_tokens: 1_000, completion_tokens: 5 } }),
    });

    const response = await post(stack, "/v1/chat/completions", { ...CHAT, stream: true });

    expect(await response.text()).not.toContain("error");
    expect(await rowOf(response)).toMatchObject({ status: "success", metadata: { estimated: false } });
  });

  test("public bug 28: a cut stream never costs more output than was asked for", async () => {
    stack.provider.scriptNext({ answerBytes: 16_000, fault: { kind: "cut_mid_stream", afterFrames: 500 } });

    const response = await post(stack, "/v1/messages", { ...streamed, max_tokens: 100 });
    await response.text();

    expect(await rowOf(response)).toMatchObject({ completion_tokens: 100, metadata: { estimated: true } });
  });

  test.each([
    ["/v1/messages", MESSAGE],
    ["/v1/chat/completions", CHAT],
  ])("clients F10: a whole answer cut midway on %s is not free", async (path, body) => {
    stack.provider.scriptNext({ answerBytes: 4_000, fault: { kind: "cut_mid_stream", afterFrames: 0 } });

    const response = await post(stack, path, { ...body, max_tokens: 300 });

    expect(response.status).toBe(502);
    expect(await rowOf(response)).toMatchObject({
      status: "failure",
      completion_tokens: 300,
      metadata: { estimated: true, error_information: { error_code: "provider_stream_broken" } },
    });
  });

  test.each(["<html>502 Bad Gateway</html>", '{"id":"msg_1","content":[', "[]", "{}"])(
    "litellm 13, hostile 8: a 200 with %s costs the estimated input and is an error",
    async (text) => {
      stack.provider.failNext({ kind: "raw", pieces: [text] });

      const response = await post(stack, "/v1/messages", MESSAGE);

      expect(response.status).toBe(502);
      const row = await rowOf(response);
      expect(row).toMatchObject({ status: "failure", completion_tokens: 0, metadata: { estimated: true, unreadable_answer: true } });
      expect(Number(row.spend)).toBeGreaterThan(0);
    },
  );
});

describe("whole answers", () => {
  test.each([201, 202, 206])("hostile 19: of status %i are billed", async (status) => {
    const answer = {
      id: "msg_1",
      type: "message",
      role: "assistant",
      content: [{ type: "text", text: "x" }],
      usage: { input_tokens: 100, output_tokens: 20 },
    };
    stack.provider.failNext({ kind: "raw", status, pieces: [JSON.stringify(answer)] });

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(status);
    expect(await response.json()).toEqual(answer);
    expect(await rowOf(response)).toMatchObject({
      status: "success",
      prompt_tokens: 100,
      completion_tokens: 20,
      metadata: { estimated: false },
    });
  });

  test("hostile 7: of any size pass byte for byte, and their usage is read", async () => {
    stack.provider.scriptNext({ usage: { inputTokens: 10, outputTokens: 77 }, fault: { kind: "huge", bytes: 3_000_000 } });

    const response = await post(stack, "/v1/messages", MESSAGE);
    const answer = (await response.json()) as { content: { text: string }[] };

    expect(answer.content[0]?.text).toBe("x".repeat(3_000_000));
    expect(await rowOf(response)).toMatchObject({ status: "success", completion_tokens: 77, metadata: { estimated: false } });
  });

  test("hostile 7: of 200 MB, plain and as a gzip bomb, to callers that do not read, take no memory to speak of", async () => {
    const residentMb = async (): Promise<number> =>
      Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${stack.proxy.child.pid}/status`, "utf8"))?.[1]) / 1_024;
    const before = await residentMb();
    stack.provider.script(({ sequence }) => sequence % 2 === 0, { fault: { kind: "huge", bytes: 200_000_000 }, gzip: true });
    stack.provider.script(({ sequence }) => sequence % 2 === 1, { fault: { kind: "huge", bytes: 200_000_000 } });
    const gone = new AbortController();

    const responses = await Promise.all(Array.from({ length: 8 }, () => post(stack, "/v1/messages", MESSAGE, { signal: gone.signal })));
    for (const response of responses) await response.body?.getReader().read();
    const sent = (): number => stack.provider.requests.slice(-8).reduce((sum, entry) => sum + entry.bytesSent, 0);
    await expect.poll(async () => [sent(), await delay(300, 0).then(sent)]).toSatisfy(([a, b]) => a === b && a > 0);

    expect((await residentMb()) - before).toBeLessThan(120);
    gone.abort();
  });

  test("hostile 8: without usage cost no more output than was asked for, however large they are", async () => {
    stack.provider.scriptNext({
      fault: {
        kind: "raw",
        pieces: [
          '{"id":"m","content":[{"type":"text","text":"',
          ..."x"
            .repeat(20)
            .split("")
            .map((letter) => letter.repeat(1_000_000)),
          '"}]}',
        ],
      },
    });

    const response = await post(stack, "/v1/messages", { ...MESSAGE, max_tokens: 100 });
    await response.text();

    expect(await rowOf(response)).toMatchObject({ status: "success", completion_tokens: 100, metadata: { estimated: true } });
  });

  test("with more than was reserved are billed as reported and flagged", async () => {
    stack.provider.scriptNext({ usage: { inputTokens: 10, outputTokens: 1_000_000 } });
    const { key } = await mintKey(stack.proxy, { max_budget: 1 });

    const response = await post(stack, "/v1/messages", { ...MESSAGE, max_tokens: 10 }, { headers: { "x-api-key": key } });

    expect(await rowOf(response)).toMatchObject({ spend: "5.00001", metadata: { over_reservation: true, estimated: false } });
  });
});

describe("a request that is sent again", () => {
  test("litellm 10: is one that the provider refused before any work, and is one row", async () => {
    stack.provider.failNext({ kind: "status", status: 529 }, { kind: "status", status: 429, retryAfterSeconds: 1 });
    const before = stack.provider.requests.length;

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(200);
    expect(stack.provider.requests.slice(before).map((entry) => entry.status)).toEqual([529, 429, 200]);
    expect(await rowOf(response)).toMatchObject({ status: "success" });
  });

  test("litellm 10: is repeated as often as the configuration says", async () => {
    stack.provider.script(() => true, { fault: { kind: "status", status: 529 } });
    const before = stack.provider.requests.length;

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(529);
    expect(stack.provider.requests.slice(before)).toHaveLength(3);
  });

  test.each([{ kind: "cut_before_headers" }, { kind: "status", status: 500 }, { kind: "raw", pieces: ["{"] }] as const)(
    "code 6: is none that the provider may have done (%j)",
    async (fault) => {
      stack.provider.failNext(fault);
      const before = stack.provider.requests.length;

      await post(stack, "/v1/messages", MESSAGE);

      expect(stack.provider.requests.slice(before)).toHaveLength(1);
    },
  );
});

test("hostile 15, clients F14: a provider's error is told without our key, our account and its own request id", async () => {
  const message =
    'key sk-provider-key-of-the-tests of organization "org-AbCdEf123456" (proj_AbCdEf123456) and organization 00000000-0000-4000-8000-000000000000';
  const body = { type: "error", error: { type: "invalid_request_error", message }, request_id: "req_of_the_provider" };
  stack.provider.failNext({ kind: "raw", status: 400, headers: { "request-id": "req_of_the_provider" }, pieces: [JSON.stringify(body)] });
  stack.provider.scriptNext({ fault: { kind: "raw", headers: EVENT_STREAM, pieces: [event("error", body)] } });

  const refused = await post(stack, "/v1/messages", MESSAGE);
  const broken = await post(stack, "/v1/messages", streamed);

  for (const response of [refused, broken]) {
    const text = await response.text();
    expect(text).toContain(`"request_id":"${idOf(response)}"`);
    expect(text).not.toMatch(/sk-provider|org-AbC|proj_AbC|00000000-0000|req_of_the/);
    expect(response.headers.get("anthropic-organization-id")).toBeNull();
  }
  expect(refused.headers.get("llm_provider-request-id")).toBe("req_of_the_provider");
});
