import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { expect, test, type TestContext } from "vitest";
import { CHAT, MESSAGE, post, spendLogOf, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** A stack of its own for each test: it ends with its proxy. */
async function stack(
  { onTestFinished }: Pick<TestContext, "onTestFinished">,
  environment: Readonly<Record<string, string>>,
): Promise<TestStack> {
  const started = await startTestStack(environment);
  onTestFinished(() => started.stop());
  return started;
}

const idOf = (response: Response): string => response.headers.get("request-id") ?? "";
const streamed = { ...MESSAGE, stream: true };
const streamedChat = { ...CHAT, stream: true };

const signal = (running: TestStack): boolean => running.proxy.child.kill("SIGTERM");
const logged = (running: TestStack, event: string): Promise<void> => expect.poll(() => running.proxy.log()).toContain(event);

test("hostile 10, clients F3: SIGTERM closes the listener at once, says so to readiness and on connections, and cuts nobody", async (context) => {
  const running = await stack(context, { DRAIN_MS: "60000" });
  running.provider.scriptNext(
    { text: "one two three four five six seven eight nine ten", frameGapMs: 200 },
    { text: "whole", headersDelayMs: 1_000 },
  );
  const stream = await post(running, "/v1/messages", streamed);
  const whole = post(running, "/v1/messages", MESSAGE);
  await running.provider.waitFor((entry) => entry.sequence === 2);

  const exited = running.proxy.stop();
  await logged(running, "process.stopping");
  const readiness = await fetch(`${running.proxy.adminUrl}/health/readiness`);
  const late = await post(running, "/v1/messages", MESSAGE).catch((error: Error) => (error.cause as { code?: string }).code);

  expect(readiness.status).toBe(503);
  expect(await readiness.json()).toMatchObject({ status: "draining", db: "connected" });
  expect(late).toBe("ECONNREFUSED");
  expect(await stream.text()).toContain("message_stop");
  expect((await whole).headers.get("connection")).toBe("close");
  expect(await (await whole).text()).toContain("whole");
  expect(await exited).toBe(0);
  for (const response of [stream, await whole])
    expect(await spendLogOf(running, idOf(response))).toMatchObject({ status: "success", metadata: { estimated: false } });
});

test("hostile 10, clients F3: what runs at the deadline ends with an error event, or a 503, of its own code, and is recorded as that", async (context) => {
  const running = await stack(context, { DRAIN_MS: "300" });
  running.provider.script(({ stream }) => stream, { text: "endless", fault: { kind: "hang_mid_stream", afterFrames: 2 } });
  running.provider.script(({ stream }) => !stream, { fault: { kind: "hang_before_headers" } });
  const streams = await Promise.all([post(running, "/v1/messages", streamed), post(running, "/v1/chat/completions", streamedChat)]);
  const whole = post(running, "/v1/chat/completions", CHAT);
  await running.provider.waitFor((entry) => !entry.stream);

  const exited = running.proxy.stop();

  const [anthropic, openai] = await Promise.all(streams.map((response) => response.text()));
  expect(anthropic?.trimEnd().split("\n").slice(-2)).toEqual(["event: error", expect.stringContaining("The gateway is stopping")]);
  expect(openai?.trimEnd().split("\n").at(-1)).toContain('"code":"shutting_down"');
  expect((await whole).status).toBe(503);
  expect(await (await whole).json()).toMatchObject({ error: { code: "shutting_down" } });
  expect(await exited).toBe(0);
  for (const response of [...streams, await whole]) {
    const row = await spendLogOf(running, idOf(response));
    expect(row).toMatchObject({
      status: "failure",
      metadata: { estimated: true, recovered: false, error_information: { error_code: "shutting_down" } },
    });
    expect(Number(row.spend)).toBeGreaterThan(0);
  }
  await untilNothingIsInFlight(running);
});

test("clients F3: the SDKs raise what the gateway says when it stops", async (context) => {
  const running = await stack(context, { DRAIN_MS: "300" });
  running.provider.script(() => true, { text: "endless", fault: { kind: "hang_mid_stream", afterFrames: 2 } });
  const anthropic = new Anthropic({ apiKey: running.key, baseURL: running.proxy.url, maxRetries: 0 });
  const openai = new OpenAI({ apiKey: running.key, baseURL: `${running.proxy.url}/v1`, maxRetries: 0 });
  const message = anthropic.messages.stream({ ...MESSAGE, messages: [...MESSAGE.messages] });
  const completion = await openai.chat.completions.create({ ...CHAT, messages: [...CHAT.messages], stream: true });
  const heard = Promise.allSettled([message.finalMessage(), drain(completion)]);
  await running.provider.waitFor((entry) => entry.route === "messages" && entry.framesSent === 2);
  await running.provider.waitFor((entry) => entry.route === "chat_completions" && entry.framesSent === 2);

  await running.proxy.stop();

  for (const result of await heard) expect(String((result as PromiseRejectedResult).reason)).toContain("The gateway is stopping");
});

test("hostile 10: a second SIGTERM does not wait for the deadline, nor for answers that are read on", async (context) => {
  const running = await stack(context, { DRAIN_MS: "600000", DETACHED_READ_MS: "600000" });
  running.provider.script(() => true, { text: "endless", fault: { kind: "hang_mid_stream", afterFrames: 2 } });
  const gone = new AbortController();
  const left = await post(running, "/v1/messages", streamed, { signal: gone.signal });
  const stream = await post(running, "/v1/messages", streamed);
  await running.provider.waitFor((entry) => entry.sequence === 2 && entry.framesSent === 2);
  gone.abort();

  const exited = running.proxy.stop();
  await logged(running, "process.stopping");
  signal(running);

  expect(await stream.text()).toContain("The gateway is stopping");
  expect(await exited).toBe(0);
  expect(await spendLogOf(running, idOf(stream))).toMatchObject({ metadata: { error_information: { error_code: "shutting_down" } } });
  expect(await spendLogOf(running, idOf(left))).toMatchObject({ metadata: { error_information: { error_code: "499" }, recovered: false } });
});

async function drain(chunks: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of chunks);
}
