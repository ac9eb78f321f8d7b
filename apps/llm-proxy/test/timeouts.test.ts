import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { CHAT, MESSAGE, post, spendLogOf, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** An impatient proxy: one provider that answers too late, one that is not there, one whose key is not set. */
const CONFIG = `
router_settings: { num_retries: 1, timeout: 0.4 }
model_list:
  - model_name: claude-haiku-4-5
    litellm_params: { model: anthropic/claude-haiku-4-5, api_key: os.environ/ANTHROPIC_API_KEY, api_base: os.environ/ANTHROPIC_API_BASE }
  - model_name: not-there
    litellm_params: { model: anthropic/claude-haiku-4-5, api_key: os.environ/ANTHROPIC_API_KEY, api_base: "http://127.0.0.1:9" }
  - model_name: gpt-4o-mini
    litellm_params: { model: openai/gpt-4o-mini, api_key: os.environ/A_KEY_THAT_IS_NOT_SET }
`;

let folder: string;
let stack: TestStack;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "llm-proxy-test-"));
  await writeFile(join(folder, "config.yaml"), CONFIG);
  stack = await startTestStack({ LITELLM_CONFIG: join(folder, "config.yaml") });
});
afterAll(async () => {
  await stack.stop();
  await rm(folder, { recursive: true });
});

const idOf = (response: Response): string => response.headers.get("request-id") ?? "";

describe("a provider", () => {
  test("public bug 31: that does not answer in time is a 504 that costs the estimated input: it may have done the work", async () => {
    stack.provider.failNext({ kind: "hang_before_headers" });

    const response = await post(stack, "/v1/messages", MESSAGE);

    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ error: { type: "timeout_error" } });
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({
      status: "failure",
      completion_tokens: 0,
      metadata: { estimated: true, error_information: { error_code: "provider_timeout" } },
    });
    expect(Number(row.spend)).toBeGreaterThan(0);
  });

  test("that falls silent in a stream ends it with an error event, and what came is paid", async () => {
    stack.provider.scriptNext({ answerBytes: 400, fault: { kind: "hang_mid_stream", afterFrames: 6 } });

    const response = await post(stack, "/v1/messages", { ...MESSAGE, stream: true });
    const text = await response.text();

    expect(text.trimEnd().split("\n").at(-1)).toContain("timeout_error");
    const row = await spendLogOf(stack, idOf(response));
    expect(row).toMatchObject({ status: "failure", metadata: { estimated: true } });
    expect(row.completion_tokens).toBeGreaterThan(0);
  });

  test("that cannot be reached is a 502 after the configured retries", async () => {
    const response = await post(stack, "/v1/messages", { ...MESSAGE, model: "not-there" });

    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining("cannot be reached") } });
    expect(await spendLogOf(stack, idOf(response))).toMatchObject({ status: "failure", spend: "0" });
  });

  test("whose key is not set is a 503 that names the variable, before anything is recorded", async () => {
    const response = await post(stack, "/v1/chat/completions", CHAT);

    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({
      error: { code: "provider_key_missing", message: expect.stringContaining("A_KEY_THAT_IS_NOT_SET") },
    });
    await untilNothingIsInFlight(stack);
  });
});

test("a caller that reads slowly is waited for, and the answer is not piled up in memory", async () => {
  stack.provider.scriptNext({ answerBytes: 60_000_000 });
  const response = await post(stack, "/v1/messages", { ...MESSAGE, stream: true });
  const reader = response.body?.getReader();
  await reader?.read();
  const sent = (): number => stack.provider.requests.at(-1)?.bytesSent ?? 0;

  // What the provider could send stands still far below the whole, as soon as every buffer on the way is full.
  await expect
    .poll(async () => [sent(), await new Promise((done) => setTimeout(() => done(sent()), 100))])
    .toSatisfy(([a, b]) => a === b && a > 0);
  expect(sent()).toBeLessThan(30_000_000);

  await reader?.cancel();
  await untilNothingIsInFlight(stack);
});

test("breaker 10: a key may count the tokens of a model by every name by which it may call it", async () => {
  const { key } = await mintKey(stack.proxy, { models: ["claude-haiku-4-5"] });
  const byProviderName = { ...MESSAGE, model: "anthropic/claude-haiku-4-5" };

  const statuses = ["/v1/messages", "/v1/messages/count_tokens"].map(
    async (path) => (await post({ ...stack, key }, path, byProviderName)).status,
  );

  expect(await Promise.all(statuses)).toEqual([200, 200]);
});
