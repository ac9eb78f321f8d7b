import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, startTestStack, type TestStack } from "./test-stack.ts";

/** Small limits, so that a test reaches them with little. */
const MB = 1024 * 1024;
const LIMITS = {
  LLM_PROXY_BODY_BYTES: `${2 * MB}`,
  LLM_PROXY_UPLOAD_BYTES: `${3 * MB}`,
  LLM_PROXY_UPLOAD_BYTES_PER_KEY: `${2 * MB}`,
  LLM_PROXY_UPLOAD_IDLE_MS: "4000",
};

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack(LIMITS);
});
afterAll(async () => stack.stop());

interface Upload {
  readonly socket: Socket;
  /** What was answered, when the connection has an answer. */
  readonly answer: Promise<string>;
}

/** Announces a body and sends part of it. Resolves as soon as that is written. */
async function startUpload(key: string, path: string, announced: number | "chunked", sent: string): Promise<Upload> {
  const { port } = new URL(stack.proxy.url);
  const socket = connect(Number(port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  const answer = new Promise<string>((done) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("utf8");
      const [head, body] = text.split("\r\n\r\n");
      if (body !== undefined && body.length >= Number(/content-length: (\d+)/i.exec(head ?? "")?.[1] ?? 0)) done(text);
    });
    socket.on("close", () => done(text));
    socket.on("error", () => done(text));
  });
  const length = announced === "chunked" ? "transfer-encoding: chunked" : `content-length: ${Math.floor(announced)}`;
  const body = announced === "chunked" ? `${Buffer.byteLength(sent).toString(16)}\r\n${sent}\r\n` : sent;
  await new Promise((done) =>
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\n${length}\r\n\r\n${body}`,
      done,
    ),
  );
  return { socket, answer };
}

const refusalOf = (
  answer: string,
): { readonly status: string | undefined; readonly text: string; readonly retryAfter: string | undefined } => ({
  status: /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1],
  text: answer.split("\r\n\r\n")[1] ?? "",
  retryAfter: /retry-after: (\d+)/i.exec(answer)?.[1],
});

const padded = (bytes: number): string => JSON.stringify({ ...MESSAGE, system: "x".repeat(bytes) });

/** Retries until the proxy has room again, which it has as soon as it sees that a connection closed. */
async function untilServed(send: () => Promise<Response>): Promise<Response> {
  for (;;) {
    const response = await send();
    if (response.status !== 429 && response.status !== 503) return response;
    await response.text();
  }
}

test("hostile 04: stalled uploads hold a key's share and no more; other keys and small bodies are served meanwhile", async () => {
  const hostile = await mintKey(stack.proxy, {});
  const first = await startUpload(hostile.key, "/v1/messages", 1.5 * MB, '{"model":');
  const second = await startUpload(hostile.key, "/v1/chat/completions", 1.5 * MB, '{"model":');
  // Whichever of the two is understood later.
  const refused = refusalOf(await Promise.race([first.answer, second.answer]));

  expect(refused).toMatchObject({ status: "429", retryAfter: "1" });
  expect(JSON.parse(refused.text)).toMatchObject({
    error: { type: expect.stringMatching(/^rate_limit/), message: expect.stringContaining("2 MB") },
  });
  // The process has 3 MB: 1.5 are held, so one of another key's fits, a third does not.
  const other = await mintKey(stack.proxy, {});
  const others = [await startUpload(other.key, "/v1/messages", 1.4 * MB, "{"), await startUpload(stack.key, "/v1/messages", 1.4 * MB, "{")];
  const third = refusalOf(await Promise.race(others.map(async ({ answer }) => answer)));
  expect(third).toMatchObject({ status: "503", retryAfter: "1" });
  expect(JSON.parse(third.text)).toMatchObject({ type: "error", error: { type: "api_error" } });
  const small = await post({ ...stack, key: hostile.key }, "/v1/messages", MESSAGE);
  expect(small.status).toBe(200);
  await small.text();
  first.socket.destroy();
  const again = await untilServed(async () => post(stack, "/v1/messages", padded(1.4 * MB)));
  expect(again.status).toBe(200);
  await again.text();
});

test.each([
  ["/v1/messages", 1.5 * MB, { type: "error", error: { type: "invalid_request_error" } }],
  ["/v1/chat/completions", "chunked", { error: { code: "upload_timeout" } }],
] as const)(
  "hostile 04: an upload to %s that stalls is told 408 and is cut, and holds nothing any more",
  async (path, announced, envelope) => {
    const { key } = await mintKey(stack.proxy, {});
    const stalled = await startUpload(key, path, announced, '{"model":"');
    const { status, text } = refusalOf(await stalled.answer);

    expect(status).toBe("408");
    expect(JSON.parse(text)).toMatchObject(envelope);
    const whole = await untilServed(async () => post({ ...stack, key }, "/v1/messages", padded(1.9 * MB)));
    expect(whole.status).toBe(200);
    await whole.text();
    expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  },
);

test("hostile 04: a body without an announced length is counted as it comes", async () => {
  const { key } = await mintKey(stack.proxy, {});
  const uploads = [
    await startUpload(key, "/v1/messages", 1.5 * MB, "{"),
    await startUpload(key, "/v1/messages", "chunked", padded(1.2 * MB)),
  ];

  expect(refusalOf(await Promise.race(uploads.map(async ({ answer }) => answer))).status).toBe("429");
});

test("hostile 04: a key whose budget is spent is refused before a large body is read", async () => {
  const { key } = await mintKey(stack.proxy, { max_budget: 0 });
  const { answer } = await startUpload(key, "/v1/messages", 1.9 * MB, "{");

  expect(refusalOf(await answer).status).toBe("402");
});

test("hostile 18: count_tokens is nothing that a key with a spent budget has, and a key has eight at once", async () => {
  const spent = await mintKey(stack.proxy, { max_budget: 0 });
  const refused = await post({ ...stack, key: spent.key }, "/v1/messages/count_tokens", MESSAGE);
  expect([refused.status, await refused.json()]).toMatchObject([402, { error: { type: "billing_error" } }]);

  const { key } = await mintKey(stack.proxy, { max_budget: 1 });
  const before = stack.provider.requests.length;
  stack.provider.script(({ route }) => route === "count_tokens", { fault: { kind: "hang_before_headers" } });
  const leaving = new AbortController();
  const running = Array.from({ length: 8 }, async () =>
    post({ ...stack, key }, "/v1/messages/count_tokens", MESSAGE, { signal: leaving.signal }).catch(() => undefined),
  );
  await expect.poll(() => stack.provider.requests.length).toBe(before + 8);
  const ninth = await post({ ...stack, key }, "/v1/messages/count_tokens", MESSAGE);
  expect([ninth.status, ninth.headers.get("retry-after")]).toEqual([429, "1"]);
  leaving.abort();
  await Promise.all(running);
});

test("a request is let go when its answer begins: long answers do not keep others from being sent", async () => {
  const { key } = await mintKey(stack.proxy, {});
  stack.provider.scriptNext({ frameGapMs: 200, text: "word ".repeat(100) });
  const body = JSON.stringify({ ...MESSAGE, stream: true, system: "x".repeat(1.5 * MB) });
  const answer = await post({ ...stack, key }, "/v1/messages", body);
  expect(answer.status).toBe(200);
  const reader = answer.body?.getReader();
  await reader?.read();
  const second = await post({ ...stack, key }, "/v1/messages", padded(1.5 * MB));

  expect(second.status).toBe(200);
  await second.text();
  await reader?.cancel();
});

test("a large body arrives as it was sent, in its own memory, with the model's other name", async () => {
  const text = "é".repeat(400_000);
  const response = await post(stack, "/v1/chat/completions", { ...CHAT, stream: true, messages: [{ role: "user", content: text }] });
  await response.text();

  expect(response.status).toBe(200);
  expect(stack.provider.requests.at(-1)?.json).toMatchObject({
    stream_options: { include_usage: true },
    messages: [{ role: "user", content: text }],
  });
});

test("a body above the limit is 413, announced or not, in both dialects", async () => {
  for (const path of ["/v1/messages", "/v1/chat/completions"]) {
    const announced = await post(stack, path, padded(2.1 * MB));
    expect(announced.status).toBe(413);
    await announced.text();
  }
});
