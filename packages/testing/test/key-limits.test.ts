import { type AppError, createLLMProxyClient, type LLMProxyClient } from "@proliferate/shared";
import { startLiteLLMStandIn, type LiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

let proxy: LiteLLMStandIn;
let client: LLMProxyClient;

beforeAll(async () => {
  proxy = await startLiteLLMStandIn();
  client = createLLMProxyClient({ adminUrl: proxy.url, masterKey: proxy.masterKey });
});
afterEach(() => proxy.reset());
afterAll(() => proxy.stop());

const UNKNOWN_HASH = "0".repeat(64);

test("a key's budget is set by its hash, exactly as it is written, and nothing else of it changes", async () => {
  const key = await client.mintKey("s1", "org_a", { maxBudget: "1" });
  const before = proxy.keys.get(key.token_hash);

  expect(await client.setKeyBudget(key.token_hash, "5.000163")).toBe(true);

  expect(proxy.keys.get(key.token_hash)).toMatchObject({ ...before, max_budget: 5.000163, updated_at: expect.any(String) });
});

test("a key is blocked and unblocked by its hash, both as often as one likes", async () => {
  const key = await client.mintKey("s1", "org_a");
  for (const blocked of [true, true, false, false]) {
    expect(await client.setKeyBlocked(key.token_hash, blocked)).toBe(true);
    expect(proxy.accepts(key.key)).toBe(!blocked);
  }
});

test("a key that is gone is no error", async () => {
  expect(await client.setKeyBudget(UNKNOWN_HASH, "1")).toBe(false);
  expect(await client.setKeyBlocked(UNKNOWN_HASH, true)).toBe(false);
});

test("an answer that is lost is asked for again", async () => {
  const key = await client.mintKey("s1", "org_a");
  proxy.failNext("/key/block", { kind: "reset", applied: true });
  expect(await client.setKeyBlocked(key.token_hash, true)).toBe(true);
});

test("a refusal is told, and is not taken for a key that is gone", async () => {
  const key = await client.mintKey("s1", "org_a");
  proxy.failNext("/key/update", {
    kind: "answer",
    status: 400,
    body: { error: { message: "max_budget is not allowed", type: "bad_request_error", param: "max_budget", code: "400" } },
  });
  await expect(client.setKeyBudget(key.token_hash, "1")).rejects.toMatchObject({ code: "proxy_rejected" });
});

test.each(["-1", "a lot", "0.12345678901234567890"])("a budget of %s is refused before it is sent", async (maxBudget) => {
  const failure = await client.setKeyBudget(UNKNOWN_HASH, maxBudget).catch((error: unknown) => error as AppError);
  expect(failure).toMatchObject({ code: "invalid_request", param: "maxBudget" });
  expect(proxy.requests).toEqual([]);
});
