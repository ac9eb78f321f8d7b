import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { manage, MASTER_KEY, mintKey } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ TRANSLATION: "off" });
});
afterAll(() => stack.stop());
afterEach(expectNothingChanged);

/** What is refused changes nothing: nothing is forwarded, recorded or reserved. */
async function expectNothingChanged(): Promise<void> {
  expect(stack.provider.requests).toHaveLength(0);
  expect(await inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  expect(await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().execute()).toEqual([]);
}

const DIALECTS = [
  { dialect: "anthropic", path: "/v1/messages", body: MESSAGE },
  { dialect: "openai", path: "/v1/chat/completions", body: CHAT },
] as const;

interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly message: string;
  readonly code: string | undefined;
  readonly headers: Headers;
}

/** Reads the error in the envelope of its dialect; fails when it is in another. */
async function refusal(response: Response, dialect: "anthropic" | "openai"): Promise<Refusal> {
  const body = (await response.json()) as {
    type?: string;
    request_id?: string;
    error: { type: string; message: string; code?: string; param?: string | null };
  };
  expect(response.headers.get("request-id")).toMatch(/^[0-9a-f-]{36}$/);
  expect(response.headers.get("x-request-id")).toBe(response.headers.get("request-id"));
  expect(Object.keys(body.error).toSorted()).toEqual(dialect === "anthropic" ? ["message", "type"] : ["code", "message", "param", "type"]);
  expect(body.request_id).toBe(dialect === "anthropic" ? response.headers.get("request-id") : undefined);
  return { status: response.status, type: body.error.type, message: body.error.message, code: body.error.code, headers: response.headers };
}

describe.each(DIALECTS)("a request on $path is refused in its dialect", ({ dialect, path, body }) => {
  const ask = async (key: string, what: unknown = body): Promise<Refusal> =>
    refusal(await post(stack, path, what, { headers: { "x-api-key": key } }), dialect);

  test("without a key", async () => {
    const answer = await refusal(await fetch(`${stack.proxy.url}${path}`, { method: "POST", body: JSON.stringify(body) }), dialect);

    expect(answer).toMatchObject({ status: 401 });
    expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    expect(answer.headers.get("x-should-retry")).toBe("false");
  });

  test("with an unknown key, and a key that was revoked a moment ago", async () => {
    const revoked = await mintKey(stack.proxy);
    await manage(stack.proxy, "/key/delete", { keys: [revoked.key] });

    for (const key of ["sk-nobody-ever-made-this", revoked.key, revoked.token]) {
      const answer = await ask(key);
      expect(answer.status).toBe(401);
      expect(answer.message).not.toContain(key);
    }
  });

  test("with a blocked key, until it is unblocked", async () => {
    const { key } = await mintKey(stack.proxy, { models: ["other-model"] });
    await manage(stack.proxy, "/key/block", { key });
    expect(await ask(key)).toMatchObject({ status: 401, message: expect.stringContaining("blocked") });

    await manage(stack.proxy, "/key/unblock", { key });
    expect(await ask(key)).toMatchObject({ status: 403 });
  });

  test("with an expired key", async () => {
    const { key } = await mintKey(stack.proxy, { duration: "1s" });
    await expect.poll(async () => (await ask(key, { model: "unknown" })).status, { interval: 100 }).toBe(401);

    const answer = await ask(key);
    expect(answer).toMatchObject({ status: 401, message: expect.stringContaining("expired") });
    expect(answer.headers.get("www-authenticate")).toContain("invalid_token");
  });

  test("over budget, with a status that no client retries", async () => {
    const { key } = await mintKey(stack.proxy, { max_budget: 0 });

    const answer = await ask(key);
    expect(answer).toMatchObject({ status: 402, type: dialect === "anthropic" ? "billing_error" : "insufficient_quota" });
    expect(answer.headers.get("x-should-retry")).toBe("false");
  });

  test("for a model that the key may not use, naming those that it may", async () => {
    const { key } = await mintKey(stack.proxy, { models: ["some-model"] });

    expect(await ask(key)).toMatchObject({ status: 403, message: expect.stringContaining("some-model") });
  });

  test("for a team that was never made", async () => {
    const { key } = await mintKey(stack.proxy, { team_id: "never-made" });

    expect(await ask(key)).toMatchObject({ status: 404, message: expect.stringContaining("POST /team/new") });
  });

  test("with the master key, saying what to use instead", async () => {
    expect(await ask(MASTER_KEY)).toMatchObject({ status: 401, message: expect.stringContaining("mint a virtual key") });
  });

  test("for an unknown model, and for one of the other dialect where nothing is translated", async () => {
    const other = DIALECTS.find((candidate) => candidate.dialect !== dialect);

    expect(await ask(stack.key, { ...body, model: "gpt-9" })).toMatchObject({ status: 404, message: expect.stringContaining("gpt-9") });
    expect(await ask(stack.key, { ...body, model: other?.body.model })).toMatchObject({
      status: 404,
      message: expect.stringContaining(other?.path ?? ""),
    });
  });

  test.each([
    ["broken JSON", '{"model": "claude'],
    ["no JSON object", "[1, 2]"],
    ["an empty body", ""],
    ["no model", "{}"],
    ["a model that is no text", '{"model": 5}'],
    ["a stream that is no flag", '{"model": "gpt-4o-mini", "stream": "yes"}'],
    ["a field that is given twice", '{"model": "gpt-4o-mini", "model": "claude-haiku-4-5"}'],
  ])("with %s", async (_what, text) => {
    const answer = await refusal(await post(stack, path, text), dialect);

    expect(answer.status).toBe(400);
    expect(answer.headers.get("x-should-retry")).toBe("false");
  });

  test("with a body of 40 MB, whether its length is announced or not", async () => {
    const bytes = new Uint8Array(40 * 1024 * 1024).fill(32);
    const headers = { "x-api-key": stack.key };
    const stream = new Blob([bytes]).stream();

    const announced = await post(stack, path, bytes);
    const chunked = await fetch(`${stack.proxy.url}${path}`, { method: "POST", headers, body: stream, duplex: "half" } as RequestInit);

    for (const response of [announced, chunked])
      expect(await refusal(response, dialect)).toMatchObject({ status: 413, message: expect.stringContaining("32 MB") });
  });

  test("with another method, naming the right one", async () => {
    const response = await fetch(`${stack.proxy.url}${path}`, { headers: { "x-api-key": stack.key } });

    expect(response.headers.get("allow")).toBe("POST");
    expect(await refusal(response, dialect)).toMatchObject({ status: 405 });
  });
});

test("clients 12: to OpenCode, whose provider of OpenAI repeats each 404, an unknown model is a 400", async () => {
  const headers = { "user-agent": "opencode/1.18.33 ai-sdk/provider-utils/4.0.0 runtime/bun/1.3.13" };
  const asked = await post(stack, "/v1/responses", { model: "gpt-9", input: "Say something." }, { headers });

  expect([asked.status, await asked.json()]).toEqual([400, { error: expect.objectContaining({ code: "model_not_found" }) }]);
});

test("hostile 20: a management route on the data plane is not there; the answer names the variable of its port, not the port", async () => {
  const response = await fetch(`${stack.proxy.url}/key/generate`, {
    method: "POST",
    headers: { authorization: `Bearer ${MASTER_KEY}` },
    body: "{}",
  });

  expect(response.status).toBe(404);
  const text = await response.text();
  expect(text).toContain("LLM_PROXY_ADMIN_PORT");
  expect(text).not.toContain(new URL(stack.proxy.adminUrl).port);
});

test("an unknown path is told in the dialect of the client that asks", async () => {
  const url = `${stack.proxy.url}/v1/nothing`;

  expect((await (await fetch(url)).json()) as unknown).toHaveProperty("error.code", "not_found");
  expect((await (await fetch(url, { headers: { "anthropic-version": "2023-06-01" } })).json()) as unknown).toHaveProperty("type", "error");
});
