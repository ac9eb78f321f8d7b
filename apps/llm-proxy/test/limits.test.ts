import { CALLER_KINDS } from "@proliferate/access/principals";
import { METERS } from "@proliferate/access/limits";
import { redactSecrets } from "@proliferate/runtime";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { manage, mintKey } from "./proxy-process.ts";
import { CHAT, MESSAGE, post, startTestStack, type TestStack } from "./test-stack.ts";

/** Limits through a real proxy: set by its management API, refused in the caller's dialect. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const set = (limit: Readonly<Record<string, unknown>>) =>
  manage(stack.proxy, "/limit/set", { principal_kind: "key", principal_id: stack.key, ...limit });

describe("a limit of requests", () => {
  test("refuses the one after the last in each dialect, with the window and when it begins anew", async () => {
    expect((await set({ meter: "requests", window: "month", amount: 2 })).status).toBe(200);
    expect((await manage(stack.proxy, `/limit/list?principal_kind=key&principal_id=${stack.keyHash}`)).body).toEqual({
      limits: [
        {
          principal_kind: "key",
          principal_id: stack.keyHash,
          meter: "requests",
          window: "month",
          model: "",
          amount: "2",
          enforce: "refuse",
        },
      ],
    });

    const statuses = [(await post(stack, "/v1/messages", MESSAGE)).status, (await post(stack, "/v1/chat/completions", CHAT)).status];
    const [anthropic, openai] = [await post(stack, "/v1/messages", MESSAGE), await post(stack, "/v1/chat/completions", CHAT)];

    expect(statuses).toEqual([200, 200]);
    expect([anthropic.status, openai.status]).toEqual([429, 429]);
    expect(anthropic.headers.get("x-should-retry")).toBe("false");
    expect(await anthropic.json()).toMatchObject({
      type: "error",
      error: { type: "rate_limit_error", message: expect.stringMatching(/limit of requests a month .*begins anew at/) },
    });
    expect(await openai.json()).toMatchObject({ error: { type: "rate_limit_exceeded", code: "limit_exceeded" } });

    const name = { principal_kind: "key", principal_id: stack.key, meter: "requests", window: "month" };
    expect((await manage(stack.proxy, "/limit/delete", name)).body).toEqual({ deleted: true });
    expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(200);
  });

  test("of a tier is each of its users' own; who is in none, or in one without limits, has none", async () => {
    const keys = await Promise.all(["a", "b", "c"].map((user) => mintKey(stack.proxy, { user_id: `tiered-${user}` })));
    const tier = { principal_kind: "tier", principal_id: "free" };
    expect((await manage(stack.proxy, "/limit/set", { ...tier, meter: "requests", window: "month", amount: 1 })).status).toBe(200);
    const assigned = await manage(stack.proxy, "/tier/assign", { user_ids: ["tiered-a", "tiered-b"], tier: "free" });
    const calls = async () =>
      Promise.all(keys.map(async ({ key }) => (await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } })).status));

    expect(assigned).toEqual({ status: 200, body: { user_ids: ["tiered-a", "tiered-b"], tier: "free" } });
    expect([await calls(), await calls()]).toEqual([
      [200, 200, 200],
      [429, 429, 200],
    ]);
    await manage(stack.proxy, "/tier/assign", { user_ids: ["tiered-a"], tier: null });
    await manage(stack.proxy, "/tier/assign", { user_ids: ["tiered-b"], tier: "paying" });
    expect(await calls()).toEqual([200, 200, 200]);
    expect((await manage(stack.proxy, "/tier/of?user_id=tiered-b")).body).toEqual({ user_id: "tiered-b", tier: "paying" });
    expect((await manage(stack.proxy, "/tier/of?user_id=tiered-a")).body).toEqual({ user_id: "tiered-a", tier: null });
    expect((await manage(stack.proxy, "/tier/assign", { user_ids: [], tier: "free" })).status).toBe(422);
  });

  test("of a minute asks for a short wait, and of OpenCode, which waits for no month, for payment", async () => {
    await set({ meter: "requests", window: "minute", amount: 0 });
    const short = await post(stack, "/v1/messages", MESSAGE);
    await manage(stack.proxy, "/limit/delete", { principal_kind: "key", principal_id: stack.key, meter: "requests", window: "minute" });
    await set({ meter: "requests", window: "day", amount: 0 });
    const long = await post(stack, "/v1/messages", MESSAGE, { headers: { "user-agent": "opencode/1.0.0" } });
    await manage(stack.proxy, "/limit/delete", { principal_kind: "key", principal_id: stack.key, meter: "requests", window: "day" });

    expect([short.status, long.status]).toEqual([429, 402]);
    expect(Number(short.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    expect(Number(short.headers.get("retry-after"))).toBeLessThanOrEqual(60);
  });
});

test.each([
  ["an unknown meter", { meter: "apples", window: "day", amount: 1 }, Object.keys(METERS).join(", ")],
  ["no window", { meter: "requests", window: "fortnight", amount: 1 }, "window"],
  ["no time zone", { meter: "requests", window: "day@Mars/Olympus", amount: 1 }, "time zone"],
  ["a negative amount", { meter: "requests", window: "day", amount: -1 }, "amount"],
  ["an amount that is a word", { meter: "requests", window: "day", amount: "many" }, "amount"],
  ["a field that nobody knows", { meter: "requests", window: "day", amount: 1, colour: "red" }, "colour"],
  ["no principal", { principal_id: "", meter: "requests", window: "day", amount: 1 }, "principal_id"],
])("%s is refused by name, and nothing is set", async (_, limit, said) => {
  const { status, body } = await set(limit);

  expect(status).toBeGreaterThanOrEqual(400);
  expect(status).toBeLessThan(500);
  expect(JSON.stringify(body)).toContain(said);
  expect((await manage(stack.proxy, `/limit/list?principal_kind=key&principal_id=${stack.keyHash}`)).body).toEqual({ limits: [] });
});

test("the credentials of every kind of caller are hidden in logs, and begin like those of no other", () => {
  for (const { name, prefix } of CALLER_KINDS) {
    expect([name, redactSecrets(`${prefix}${"a1".repeat(20)}`)]).toEqual([name, "[redacted]"]);
    expect(CALLER_KINDS.filter((other) => other.prefix.startsWith(prefix) || prefix.startsWith(other.prefix))).toHaveLength(1);
  }
});
