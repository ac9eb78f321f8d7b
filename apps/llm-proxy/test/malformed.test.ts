import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, startTestStack, type TestStack } from "./test-stack.ts";

/** hostile 16, code 1: whatever is sent to the data plane, it is the caller's mistake, nothing is forwarded, and the process lives. */
let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(async () => stack.stop());

const PATHS = ["/v1/messages", "/v1/chat/completions", "/v1/messages/count_tokens"] as const;

async function send(path: string, body: string | Buffer): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`${stack.proxy.url}${path}`, {
    method: "POST",
    headers: { "x-api-key": stack.key, "content-type": "application/json" },
    body: body as string,
  });
  return { status: response.status, text: await response.text() };
}

/** The status of a request that no HTTP library would send; 0 when the connection was closed without an answer. */
async function sendRaw(text: string): Promise<number> {
  const { port } = new URL(stack.proxy.url);
  return new Promise((done) => {
    const socket = connect(Number(port), "127.0.0.1", () => socket.write(text));
    socket.setTimeout(5_000, () => socket.destroy());
    socket.once("data", (chunk) => {
      socket.destroy();
      done(Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString("latin1"))?.[1] ?? 0));
    });
    socket.once("close", () => done(0));
    socket.once("error", () => done(0));
  });
}

const deep = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

test.each(["gzip", "deflate", "br", "zstd", "GZIP, identity"])(
  "review 1: a body that is said to be %s is refused by name",
  async (encoding) => {
    for (const path of PATHS) {
      const response = await fetch(`${stack.proxy.url}${path}`, {
        method: "POST",
        headers: { "x-api-key": stack.key, "content-type": "application/json", "content-encoding": encoding },
        body: JSON.stringify(path.endsWith("completions") ? CHAT : MESSAGE),
      });
      expect([response.status, await response.text()]).toEqual([400, expect.stringContaining("content encoding")]);
    }
    expect(stack.provider.requests).toHaveLength(0);
  },
);

test.each([
  ["nothing", ""],
  ["deep options of a stream", `{"model":"gpt-4o-mini","stream":true,"stream_options":{"a":${deep(100_000)}}}`],
  ["deep messages", `{"model":"gpt-4o-mini","messages":${deep(100_000)}}`],
  ["a name in a name, deep", `${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`],
  ["many names", `{${Array.from({ length: 5_000 }, (_, index) => `"k${index}":1`).join(",")}}`],
  ["a field twice", '{"model":"gpt-4o-mini","model":"claude-haiku-4-5"}'],
  ["a field twice, once escaped", '{"model":"gpt-4o-mini","mod\\u0065l":"claude-haiku-4-5"}'],
  ["a mark of the order of bytes", "\uFEFF{}"],
  ["UTF-16", Buffer.from(JSON.stringify(CHAT), "utf16le")],
  ["bytes that are no UTF-8", Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d])],
  ["a number without end", `{"model":"gpt-4o-mini","n":${"9".repeat(100_000)}}`],
  ["a model that is a list", '{"model":["gpt-4o-mini"]}'],
  ["a model with NUL", '{"model":"gpt-4o-mini\\u0000"}'],
  ["a model of half a pair", '{"model":"\\ud800"}'],
  ["__proto__", '{"model":"__proto__","__proto__":{"model":"gpt-4o-mini"}}'],
  ["a stream that is a text", '{"model":"gpt-4o-mini","stream":"true"}'],
  ["options that are a text", '{"model":"gpt-4o-mini","stream":true,"stream_options":"usage"}'],
  ["a text", '"gpt-4o-mini"'],
  ["a list", "[]"],
  ["two objects", "{}{}"],
] as const)("hostile 16: a body of %s is a 4xx on every route", async (_, body) => {
  for (const path of PATHS) {
    const { status, text } = await send(path, body);
    expect([path, status >= 400 && status < 500, text.includes("internal_error")]).toEqual([path, true, false]);
  }
  expect(stack.provider.requests).toHaveLength(0);
});

test.each([
  "//",
  "///",
  "/v1//messages",
  "*",
  "/%",
  "/%00",
  "/v1/models/%",
  "/v1/models/%ff%00",
  "/?",
  "//a:b@c:1",
  "http://[::1/x",
  `/${"/".repeat(12_000)}x`,
  "/v1/messages/../key/list",
])("code 1: the target %s is answered, and the process lives", async (target) => {
  expect(await sendRaw(`GET ${target} HTTP/1.1\r\nHost: x\r\nx-api-key: ${stack.key}\r\nConnection: close\r\n\r\n`)).toBeOneOf([
    200, 400, 404, 405,
  ]);
  expect((await fetch(`${stack.proxy.url}/health/liveliness`)).status).toBe(200);
});

test.each([
  ["two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"],
  ["length and chunks", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["a chunk that lies", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
  ["a negative length", "Content-Length: -1\r\n\r\n"],
  ["a length that is no number", "Content-Length: 1e3\r\n\r\n"],
  ["an immense length", "Content-Length: 99999999999999999999\r\n\r\n"],
])("%s is refused", async (_, rest) => {
  expect(await sendRaw(`POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: ${stack.key}\r\n${rest}`)).toBeOneOf([0, 400, 413]);
});

test("hostile 16: any change to a good body is served or is the caller's mistake, never ours", async () => {
  const change = fc.tuple(fc.nat(), fc.constantFrom(...'{}[]:,"\\ \n\u0000019-.eEtfn'), fc.boolean());
  const changed = fc.tuple(fc.constantFrom(...PATHS), fc.array(change, { minLength: 1, maxLength: 4 })).map(([path, changes]) => {
    let text = JSON.stringify(path.includes("chat") ? { ...CHAT, stream: true, stream_options: { include_usage: false } } : MESSAGE);
    for (const [at, letter, puts] of changes) {
      const position = at % (text.length + 1);
      text = text.slice(0, position) + letter + text.slice(puts ? position : position + 1);
    }
    return { path, text };
  });
  await fc.assert(
    fc.asyncProperty(changed, async ({ path, text }) => {
      const { status } = await send(path, text);
      expect(status === 200 || (status >= 400 && status < 500)).toBe(true);
    }),
    { numRuns: 150 },
  );
});

test("a body that is announced as too large is refused before any of it is sent", async () => {
  const { port } = new URL(stack.proxy.url);
  const status = await new Promise((done) => {
    const request = httpRequest(
      { port, host: "127.0.0.1", path: "/v1/messages", method: "POST", headers: { "content-length": 40_000_000, "x-api-key": stack.key } },
      (response) => done(response.statusCode),
    );
    request.flushHeaders();
    request.on("error", () => undefined);
  });

  expect(status).toBe(413);
});

test("after all that, nothing is reserved or in flight", async () => {
  expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
});
