import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { inFlight, post, spendLogOf, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** Translated answers that do not end well: told in the caller's API, settled as everybody's, and nothing of them stays reserved. */
let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ DETACHED_READ_MS: "600000", DETACHED_READ_BYTES: "100000", DETACHED_READS_AT_ONCE: "8" });
});
afterEach(() => stack.provider.clearScripts());
afterAll(() => stack.stop());

const CHAT = {
  model: "claude-haiku-4-5",
  messages: [{ role: "user", content: "Say something." }],
  stream_options: { include_usage: true },
};
const MESSAGE = { model: "gpt-4o-mini", max_tokens: 500, messages: [{ role: "user", content: "Say something." }] };
const RESPONSE = { model: "claude-haiku-4-5", input: "Say something." };
const CALLERS = [
  ["/v1/chat/completions", CHAT, '{"error":{"message"'],
  ["/v1/messages", MESSAGE, 'event: error\ndata: {"type":"error"'],
  ["/v1/responses", RESPONSE, 'event: error\ndata: {"type":"error"'],
] as const;

async function ask(path: string, body: object): Promise<{ readonly status: number; readonly text: string; readonly id: string }> {
  const response = await post(stack, path, body);
  return { status: response.status, text: await response.text(), id: response.headers.get("x-litellm-call-id") ?? "" };
}

describe.each(CALLERS)("a caller of %s", (path, body, errorEvent) => {
  const streamed = { ...body, stream: true };

  test("is told where the provider's stream breaks off, and pays for what was made", async () => {
    stack.provider.scriptNext({ answerBytes: 4_000, fault: { kind: "cut_mid_stream", afterFrames: 8 } });
    const { text, id } = await ask(path, streamed);
    const row = await spendLogOf(stack, id);

    expect(text).toContain(errorEvent);
    expect(row).toMatchObject({ status: "failure", metadata: { estimated: true } });
    expect(Number(row.spend)).toBeGreaterThan(0);
  });

  test("is told where a stream ends without its end", async () => {
    stack.provider.scriptNext({ answerBytes: 4_000, fault: { kind: "end_early", afterFrames: 6 } });
    const { text, id } = await ask(path, streamed);

    expect(text).toContain(errorEvent);
    expect(await spendLogOf(stack, id)).toMatchObject({ status: "failure" });
  });

  test("gets 502 where a whole answer is none of its API's, and pays nothing for it", async () => {
    stack.provider.scriptNext({ fault: { kind: "invalid_json" } });
    const { status, id } = await ask(path, body);

    expect(status).toBe(502);
    expect(await spendLogOf(stack, id)).toMatchObject({ status: "failure" });
  });

  test("gets a whole answer without usage all the same, with our estimate in it and on the row", async () => {
    stack.provider.scriptNext({ fault: { kind: "missing_usage" } });
    const { status, text, id } = await ask(path, body);
    const row = await spendLogOf(stack, id);
    const { usage } = JSON.parse(text) as { usage: Record<string, number> };

    expect([status, row.metadata["estimated"]]).toEqual([200, true]);
    expect([usage["prompt_tokens"] ?? usage["input_tokens"], usage["completion_tokens"] ?? usage["output_tokens"]]).toEqual([
      row.prompt_tokens,
      row.completion_tokens,
    ]);
  });

  test("that leaves is billed for what the provider counts in the end", async () => {
    const held = Promise.withResolvers<void>();
    stack.provider.scriptNext({ hold: { beforeFrame: 4, until: held.promise } });
    const gone = new AbortController();
    const response = await post(stack, path, streamed, { signal: gone.signal });
    const id = response.headers.get("x-litellm-call-id") ?? "";
    expect((await inFlight(stack)).attempts).toBe(1);
    gone.abort();
    held.resolve();
    await untilNothingIsInFlight(stack);
    const served = stack.provider.requests.at(-1)?.usage;

    expect(await spendLogOf(stack, id)).toMatchObject({
      prompt_tokens: served?.inputTokens,
      completion_tokens: served?.outputTokens,
      metadata: { estimated: false },
    });
  });

  test("is told a provider's rejection of our key as ours, and its refusal as the provider's", async () => {
    stack.provider.scriptNext({ fault: { kind: "status", status: 401 } });
    const rejected = await ask(path, body);
    stack.provider.scriptNext({ fault: { kind: "status", status: 400, message: "messages: something is wrong" } });
    const refused = await ask(path, body);

    expect([rejected.status, refused.status]).toEqual([502, 400]);
    expect(refused.text).toContain("messages: something is wrong");
    expect(await spendLogOf(stack, refused.id)).toMatchObject({ status: "failure", spend: "0" });
  });
});

/** What is reserved while the answer to a request runs, in USD. */
const reservedOf = async (path: string, body: object): Promise<string | undefined> => {
  const held = Promise.withResolvers<void>();
  stack.provider.scriptNext({ hold: { beforeFrame: 1, until: held.promise } });
  const response = await post(stack, path, { ...body, stream: true });
  const [reserved] = (await inFlight(stack)).reservedUsd;
  held.resolve();
  await response.text();
  await untilNothingIsInFlight(stack);
  return reserved;
};

test("what a translated request may take is reserved while it runs, by the provider's own body", async () => {
  const content = [{ type: "text", text: "Say something." }];
  const own = await reservedOf("/v1/messages", { model: "claude-haiku-4-5", max_tokens: 300, messages: [{ role: "user", content }] });
  const translated = await reservedOf("/v1/chat/completions", { ...CHAT, stream_options: undefined, max_tokens: 300 });

  expect(Number(own)).toBeGreaterThan(0);
  // Nearly: the two bodies have the same words and a few bytes of their own.
  expect(Number(translated) / Number(own)).toBeCloseTo(1, 1);
});
