import { hash, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { manage, mintKey } from "./proxy-process.ts";
import { MESSAGE, post, startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/** `POST /key/regenerate` as its callers see it. LiteLLM's own answers without a licence that the call needs one; fields and rules are those of its code. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const call = (path: string, body?: unknown) => manage(stack.proxy, path, body);
const sha256 = (key: string): string => hash("sha256", key, "hex");
const ask = async (key: string): Promise<number> => {
  const answer = await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } });
  await answer.arrayBuffer();
  return answer.status;
};

interface Regenerated {
  readonly key: string;
  readonly token: null;
  readonly token_id: string;
  readonly key_name: string;
  readonly key_alias: string | null;
  readonly max_budget: number | null;
  readonly expires: string | null;
}
const regenerate = async (body: object, path = "/key/regenerate"): Promise<Regenerated> => {
  const answer = await call(path, body);
  expect(answer.status).toBe(200);
  return answer.body as Regenerated;
};

test("issue 12: a key gets a new secret, by its path or its body, with what changes beside it; the former is refused", async () => {
  const { key } = await mintKey(stack.proxy, { key_alias: `alias-${randomUUID()}`, max_budget: 1 });
  const renewed = await regenerate({ max_budget: 5, duration: "1h" }, `/key/${key}/regenerate`);

  expect(renewed).toMatchObject({ token: null, token_id: sha256(renewed.key), max_budget: 5 });
  expect(renewed.key_name).toBe(`sk-...${renewed.key.slice(-4)}`);
  expect(renewed.key_alias).toMatch(/^alias-/);
  expect(Date.parse(renewed.expires ?? "")).toBeGreaterThan(Date.now());
  expect([await ask(key), await ask(renewed.key)]).toEqual([401, 200]);

  const chosen = `sk-chosen-${randomUUID()}`;
  expect((await regenerate({ key: renewed.key, new_key: chosen })).key).toBe(chosen);
  expect([await ask(renewed.key), await ask(chosen)]).toEqual([401, 200]);
});

test("issue 12: within its grace the former key is the same key: one budget, one spend, one name in every call", async () => {
  const { key } = await mintKey(stack.proxy, { max_budget: 1, user_id: "renewer" });
  expect(await ask(key)).toBe(200);
  const renewed = await regenerate({ key, grace_period: "1h" });
  expect([await ask(key), await ask(renewed.key)]).toEqual([200, 200]);
  await untilNothingIsInFlight(stack);

  for (const named of [key, sha256(key), renewed.key, renewed.token_id]) {
    const rows = (await call(`/spend/logs?api_key=${named}`)).body as readonly { readonly api_key: string; readonly spend: number }[];
    const { info } = (await call(`/key/info?key=${named}`)).body as {
      readonly info: { readonly spend: number; readonly key_name: string };
    };
    expect(rows.map(({ api_key: id }) => id)).toEqual([sha256(key), sha256(key), sha256(key)]);
    expect(info.spend).toBeCloseTo(
      rows.reduce((sum, { spend }) => sum + spend, 0),
      12,
    );
    expect(info.key_name).toBe(renewed.key_name);
  }
  const { body } = await call("/key/list?user_id=renewer");
  expect(body).toMatchObject({ keys: [renewed.token_id], total_count: 1 });

  await call("/key/update", { key: sha256(key), max_budget: 0 });
  expect([await ask(key), await ask(renewed.key)]).toEqual([402, 402]);
  await call("/limit/set", { principal_kind: "key", principal_id: renewed.key, meter: "requests", window: "day", amount: 5 });
  expect((await call(`/limit/list?principal_kind=key&principal_id=${key}`)).body).toMatchObject({
    limits: [{ principal_id: sha256(key) }],
  });
  await call("/key/delete", { keys: [key] });
  expect([await ask(key), await ask(renewed.key)]).toEqual([401, 401]);
});

describe("issue 12: is refused", () => {
  test.each([
    ["without a key", {}, 400, "No key passed in."],
    ["of a key that there is none of", { key: "sk-of-nobody-at-all" }, 404, "Key not found"],
    ["with a grace that is no time", { key: "KEY", grace_period: "30min" }, 400, "grace_period"],
    ["with a new key that is none", { key: "KEY", new_key: "not-a-key-at-all" }, 400, "new_key must start with sk-"],
    ["with its own key as the new one", { key: "KEY", new_key: "KEY" }, 400, "new_key"],
    ["with a new master key", { key: "KEY", new_master_key: "sk-another-master-key" }, 400, "LITELLM_MASTER_KEY"],
    ["with what would not be kept", { key: "KEY", guardrails: ["x"] }, 400, "guardrails"],
    ["with what was spent", { key: "KEY", spend: 0 }, 400, "spend"],
  ])("%s", async (_, body, status, says) => {
    const { key } = await mintKey(stack.proxy, {});
    const spoken = JSON.parse(JSON.stringify(body).replaceAll("KEY", key)) as object;
    const answer = await call("/key/regenerate", spoken);

    expect(answer.status).toBe(status);
    expect(JSON.stringify(answer.body)).toContain(says);
    expect(await ask(key)).toBe(200);
  });
});
