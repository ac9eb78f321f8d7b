import { until } from "@proliferate/testing/test-patience";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, RESPONSE, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ NODE_OPTIONS: `--import=${new URL("hurried-pings.ts", import.meta.url)}` });
});
afterEach(() => stack.provider.clearScripts());
afterAll(() => stack.stop());

const ANTHROPIC_PING = 'event: ping\ndata: {"type": "ping"}\n\n';
const OPENAI_PING = ": ping\n\n";
const DIALECTS = [
  { path: "/v1/messages", body: { ...MESSAGE, stream: true }, ping: ANTHROPIC_PING },
  { path: "/v1/chat/completions", body: { ...CHAT, stream: true }, ping: OPENAI_PING },
  { path: "/v1/responses", body: { ...RESPONSE, stream: true }, ping: OPENAI_PING },
];

/** Reads an answer while it comes. */
function reading(response: Response) {
  let text = "";
  const decoder = new TextDecoder();
  const end = (async () => {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk as Uint8Array, { stream: true });
  })();
  return { text: () => text, end };
}

const countOf = (text: string, part: string): number => text.split(part).length - 1;
/** As providers write an answer, whose ids and times differ from one to the next. */
const withoutIds = (text: string): string => text.replace(/\b(?:msg|chatcmpl|resp|rs|item)[-_]\w+|"created(?:_at)?":\d+/g, "");

describe.each(DIALECTS)("a provider that is silent on $path", ({ path, body, ping }) => {
  test.each([
    ["behind its head", 0],
    ["between two frames", 3],
  ])("%s: the caller gets pings, and else what came; they cost nothing", async (_where, beforeFrame) => {
    const usual = (await (await post(stack, path, body)).text()).replaceAll(ping, "");
    const { promise, resolve } = Promise.withResolvers<void>();
    stack.provider.scriptNext({ hold: { beforeFrame, until: promise } });

    const response = await post(stack, path, body);
    const answer = reading(response);
    await until(() => countOf(answer.text(), ping) >= 3);
    const before = answer.text();
    resolve();
    await answer.end;

    expect(withoutIds(answer.text().replaceAll(ping, ""))).toBe(withoutIds(usual));
    // They stand behind the frames that came before the silence, each whole.
    const frames = usual.split("\n\n").slice(0, beforeFrame);
    expect(withoutIds(before.replaceAll(ping, ""))).toBe(withoutIds(frames.map((frame) => `${frame}\n\n`).join("")));
    expect(before.endsWith(ping.repeat(3))).toBe(true);
    const served = stack.provider.requests.at(-1)?.usage;
    expect(await spendLogOf(stack, response.headers.get("request-id") ?? "")).toMatchObject({
      status: "success",
      prompt_tokens: served?.inputTokens,
      completion_tokens: served?.outputTokens,
      metadata: { estimated: false },
    });
  });
});

test("no ping stands in a frame of which the caller has a part, and none is sent before the provider has answered", async () => {
  // A frame beyond 4 MB passes as it comes.
  const half = `event: content_block_delta\ndata: {"type":"content_block_delta","text":"${"x".repeat(5 * 1024 * 1024)}`;
  stack.provider.failNext({ kind: "raw", headers: { "content-type": "text/event-stream" }, pieces: [half], end: "hang" });
  const gone = new AbortController();
  const answer = reading(await post(stack, "/v1/messages", { ...MESSAGE, stream: true }, { signal: gone.signal }));
  answer.end.catch(() => undefined);
  await until(() => answer.text().length >= half.length);
  // What is silent elsewhere gets pings meanwhile.
  stack.provider.scriptNext({ hold: { beforeFrame: 1, until: new Promise(() => undefined) } });
  const other = reading(await post(stack, "/v1/messages", { ...MESSAGE, stream: true }, { signal: gone.signal }));
  other.end.catch(() => undefined);
  stack.provider.failNext({ kind: "hang_before_headers" });
  let isAnswered = false;
  const unanswered = post(stack, "/v1/messages", { ...MESSAGE, stream: true }, { signal: gone.signal }).then(
    () => (isAnswered = true),
    () => undefined,
  );
  await until(() => countOf(other.text(), ANTHROPIC_PING) >= 10);

  // Before its first byte, yes.
  expect([answer.text().endsWith(half), isAnswered]).toEqual([true, false]);
  gone.abort();
  await unanswered;
  await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
});
