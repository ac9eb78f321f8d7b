import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MASTER_KEY, mintKey } from "./proxy-process.ts";
import { CHAT, MESSAGE, startTestStack, type TestStack } from "./test-stack.ts";

/** Each surface of the proxy has one envelope, whatever goes wrong; also where no route is met, and where the fault is ours. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack({ LLM_PROXY_BODY_BYTES: "2048" });
});
afterAll(() => stack.stop());

const TEXT = expect.stringMatching(/./);
interface Surface {
  readonly name: string;
  readonly url: () => string;
  readonly key: () => string;
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
  readonly body: object;
  /** Fields of the whole body, none more. */
  readonly envelope: (status: number) => object;
}

const SURFACES: readonly Surface[] = [
  {
    name: "Anthropic Messages",
    url: () => stack.proxy.url,
    key: () => stack.key,
    headers: { "anthropic-version": "2023-06-01" },
    path: "/v1/messages",
    body: MESSAGE,
    envelope: () => ({ type: "error", error: { type: TEXT, message: TEXT }, request_id: TEXT }),
  },
  {
    name: "OpenAI chat completions",
    url: () => stack.proxy.url,
    key: () => stack.key,
    headers: {},
    path: "/v1/chat/completions",
    body: CHAT,
    envelope: () => ({ error: { message: TEXT, type: TEXT, param: null, code: TEXT } }),
  },
  {
    name: "management",
    url: () => stack.proxy.adminUrl,
    key: () => MASTER_KEY,
    headers: {},
    path: "/key/generate",
    body: {},
    envelope: (status) => ({ error: { message: TEXT, type: TEXT, param: "None", code: String(status) } }),
  },
];

describe.each(SURFACES)("$name", ({ url, key, headers, path, body, envelope }) => {
  const send = async (method: string, at: string, json: unknown, bearer = key()): Promise<[number, unknown]> => {
    const response = await fetch(`${url()}${at}`, {
      method,
      headers: { ...headers, "authorization": `Bearer ${bearer}`, "content-type": "application/json" },
      ...(method === "POST" && { body: JSON.stringify(json) }),
    });
    return [response.status, await response.json()];
  };

  test.each<[number, (large: object) => Promise<[number, unknown]>]>([
    [401, () => send("POST", path, body, "sk-wrong")],
    [404, () => send("GET", "/v1/nothing", undefined)],
    [405, () => send("PUT", path, undefined)],
    [413, (large) => send("POST", path, large)],
  ])("%d", async (status, ask) => {
    expect(await ask({ ...body, metadata: { pad: "x".repeat(1_100_000) } })).toEqual([status, envelope(status)]);
  });

  test("500", async () => {
    const { db } = stack.database;
    await sql`alter table "LiteLLM_VerificationToken" rename to put_away`.execute(db);
    try {
      expect(await send("POST", path, body)).toEqual([500, envelope(500)]);
    } finally {
      await sql`alter table put_away rename to "LiteLLM_VerificationToken"`.execute(db);
    }
  });
});

test("a spent budget is told to each program as it understands it", async () => {
  const { key } = await mintKey(stack.proxy, { max_budget: 0 });
  const ask = async (userAgent: string): Promise<readonly unknown[]> => {
    const response = await fetch(`${stack.proxy.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "authorization": `Bearer ${key}`, "content-type": "application/json", "user-agent": userAgent },
      body: JSON.stringify(CHAT),
    });
    const { error } = (await response.json()) as { error: { type: string; code: string } };
    return [response.status, error.type, error.code, response.headers.get("x-should-retry")];
  };

  expect(await ask("codex_cli_rs/0.50.0")).toEqual([429, "insufficient_quota", "insufficient_quota", "false"]);
  expect(await ask("opencode/1.18.33")).toEqual([402, "insufficient_quota", "budget_exceeded", "false"]);
  expect(await ask("OpenAI/JS 7.55.0")).toEqual([402, "insufficient_quota", "budget_exceeded", "false"]);
});
