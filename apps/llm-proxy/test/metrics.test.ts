import { connect } from "node:net";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { MASTER_KEY } from "./proxy-process.ts";
import { CHAT, MESSAGE, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ METRICS_TOKEN: "metrics-token-of-the-test" });
});
afterAll(() => stack.stop());

async function page(
  headers: Readonly<Record<string, string>> = { authorization: "Bearer metrics-token-of-the-test" },
): Promise<{ readonly status: number; readonly text: string }> {
  const answer = await fetch(`${stack.proxy.adminUrl}/metrics`, { headers });
  return { status: answer.status, text: await answer.text() };
}

/** The value of one series; undefined where there is none. */
function valueOf(text: string, series: string): number | undefined {
  const line = text.split("\n").find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

test("users 04: requests, tokens, USD, latency and first byte by model, as the spend row has them", async () => {
  const answer = await post(stack, "/v1/messages", MESSAGE);
  await answer.text();
  const row = await spendLogOf(stack, answer.headers.get("request-id") ?? "");

  const { text } = await page();
  const model = `model="${MESSAGE.model}"`;
  expect(valueOf(text, `llm_gateway_proxy_tokens_total{${model},class="outputTokens"}`)).toBe(row.completion_tokens);
  expect(valueOf(text, `llm_gateway_proxy_spend_usd_total{${model}}`)).toBeCloseTo(Number(row.spend), 12);
  expect(valueOf(text, `llm_gateway_proxy_answers_total{${model},status="success"}`)).toBe(1);
  expect(valueOf(text, `llm_gateway_proxy_request_seconds_count{route="answer"}`)).toBe(1);
  expect(valueOf(text, `llm_gateway_proxy_requests_total{route="answer",status="200"}`)).toBe(1);
  expect(valueOf(text, "llm_gateway_proxy_requests_in_flight")).toBe(0);
  expect(valueOf(text, "llm_gateway_proxy_settle_failures_total")).toBe(0);
});

test("users 04: refusals by their code, and failures of a provider by its status, are told apart", async () => {
  await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": "sk-nobody" } });
  stack.provider.failNext({ kind: "status", status: 400 });
  await (await post(stack, "/v1/messages", MESSAGE)).text();

  const { text } = await page();
  expect(valueOf(text, 'llm_gateway_proxy_refusals_total{code="invalid_api_key"}')).toBe(1);
  expect(valueOf(text, 'llm_gateway_proxy_requests_total{route="answer",status="401"}')).toBe(1);
  expect(valueOf(text, 'llm_gateway_proxy_provider_errors_total{provider="anthropic",code="400"}')).toBe(1);
});

test("users 04: whatever callers name, there are no more series than models and codes that are ours", async () => {
  await Promise.all(
    Array.from({ length: 60 }, async (_, index) => {
      await (
        await post(stack, index % 2 === 0 ? "/v1/messages" : `/v1/chat/completions`, {
          ...(index % 2 === 0 ? MESSAGE : CHAT),
          model: `model-of-nobody-${index}`,
        })
      ).text();
      await (await fetch(`${stack.proxy.url}/path-of-nobody-${index}`)).text();
      await (await fetch(`${stack.proxy.url}/v1/models/model-of-nobody-${index}`)).text();
    }),
  );

  const { text } = await page();
  expect(text).not.toContain("nobody-");
  expect(valueOf(text, 'llm_gateway_proxy_requests_total{route="unknown",status="404"}')).toBe(60);
  expect(text.split("\n").filter((line) => /^llm_gateway_proxy_(requests|refusals)_total/.test(line)).length).toBeLessThan(20);
});

test("hostile 13: where METRICS_TOKEN is set the page is for it and the master key, on this machine, too; never on the data plane", async () => {
  const foreign = { "x-forwarded-for": "203.0.113.7" };

  expect((await page({})).status).toBe(401);
  expect((await page(foreign)).status).toBe(401);
  expect((await page({ ...foreign, authorization: "Bearer metrics-token-of-the-test" })).status).toBe(200);
  expect((await page({ ...foreign, authorization: `Bearer ${MASTER_KEY}` })).status).toBe(200);
  expect((await fetch(`${stack.proxy.url}/metrics`)).status).toBe(404);
});

/** How much of which kind is held, as the page says. */
const heldBytes = async (of: "bodies" | "answers"): Promise<number | undefined> =>
  valueOf((await page()).text, `llm_gateway_proxy_held_bytes{of="${of}"}`);

test("users 04: bodies that are held are counted until they are gone", async () => {
  const announced = 1_000_000;
  const socket = connect(Number(new URL(stack.proxy.url).port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  socket.write(`POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${stack.key}\r\ncontent-length: ${announced}\r\n\r\n{"model":`);

  expect(await until(() => heldBytes("bodies"), Boolean)).toBe(announced);
  socket.destroy();
  expect(
    await until(
      () => heldBytes("bodies"),
      (bytes) => bytes === 0,
    ),
  ).toBe(0);
});

test.each([
  ["whole", { "content-type": "application/json" }, '{"id":', '{"id":'],
  ["streamed", { "content-type": "text/event-stream" }, 'event: ping\ndata: {"type": "ping"}\n\nevent: me', "event: me"],
])("users 04: what is held back of an answer that comes %s is counted until it is gone", async (_, headers, sent, held) => {
  stack.provider.failNext({ kind: "raw", headers, pieces: [sent], end: "hang" });
  const gone = new AbortController();
  const answer = post(
    stack,
    "/v1/messages",
    { ...MESSAGE, stream: headers["content-type"] === "text/event-stream" },
    { signal: gone.signal },
  );
  answer.catch(() => undefined);

  expect(await until(() => heldBytes("answers"), Boolean)).toBe(Buffer.byteLength(held));
  gone.abort();
  expect(
    await until(
      () => heldBytes("answers"),
      (bytes) => bytes === 0,
    ),
  ).toBe(0);
});

test("users 04: what a caller does not take is counted until it leaves, and is no more than a moment of the answer", async () => {
  const megabyte = 1024 * 1024;
  stack.provider.failNext({ kind: "huge", bytes: 64 * megabyte });
  const socket = connect(Number(new URL(stack.proxy.url).port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  const body = JSON.stringify(MESSAGE);
  // Nobody listens for data: the socket is never read.
  socket.write(
    `POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${stack.key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );

  const waiting =
    (await until(
      () => heldBytes("answers"),
      (bytes) => Number(bytes) > 0,
    )) ?? 0;
  expect(waiting).toBeLessThan(4 * megabyte);
  socket.destroy();
  expect(
    await until(
      () => heldBytes("answers"),
      (bytes) => bytes === 0,
    ),
  ).toBe(0);
});
