import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { manage } from "./proxy-process.ts";
import { CHAT, MESSAGE, post, startTestStack, type TestStack } from "./test-stack.ts";

/** What an answer tells its caller of limits, and what the operator is told when one is nearly used up: by a real proxy. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

async function newKey(fields: Readonly<Record<string, unknown>>): Promise<string> {
  return ((await manage(stack.proxy, "/key/generate", fields)).body as { readonly key: string }).key;
}
const setLimit = (principal_kind: string, principal_id: string, limit: Readonly<Record<string, unknown>>) =>
  manage(stack.proxy, "/limit/set", { principal_kind, principal_id, ...limit });
const ask = async (key: string, path = "/v1/messages", body: unknown = MESSAGE): Promise<Response> => {
  const answer = await post({ ...stack, key }, path, body);
  await answer.text();
  return answer;
};
const limitHeadersOf = ({ headers }: Response): Record<string, string> =>
  Object.fromEntries([...headers].filter(([name]) => /ratelimit|x-gateway-limit|x-litellm-key/.test(name)));

test("a key without limits is told the provider's, and none of ours", async () => {
  const told = limitHeadersOf(await ask(await newKey({})));

  expect(Object.keys(told).filter((name) => !name.startsWith("anthropic-ratelimit-"))).toEqual([]);
  expect(told["anthropic-ratelimit-requests-remaining"]).toBe("3999000");
});

test("an answer says in its dialect how much of the key's and its user's limits is left, and nothing of our account's", async () => {
  const userId = `user-${randomUUID()}`;
  const key = await newKey({ user_id: userId, max_budget: 5 });
  await setLimit("user", userId, { meter: "requests", window: "month", amount: 10 });
  await setLimit("key", key, { meter: "tokens", window: "total", amount: 1_000_000 });

  const anthropic = limitHeadersOf(await ask(key));
  const openai = limitHeadersOf(await ask(key, "/v1/chat/completions", CHAT));

  expect(anthropic).toMatchObject({
    "anthropic-ratelimit-requests-limit": "10",
    "anthropic-ratelimit-requests-remaining": "9",
    "anthropic-ratelimit-requests-reset": expect.stringMatching(/^\d{4}-\d\d-01T00:00:00\.000Z$/),
    "anthropic-ratelimit-tokens-limit": "1000000",
    "x-litellm-key-max-budget": "5",
    "x-litellm-key-spend": "0",
    "x-gateway-limits": expect.stringContaining('requests;of="user";window="month";limit="10";remaining="9";reset='),
  });
  expect(anthropic).not.toHaveProperty("anthropic-ratelimit-input-tokens-limit");
  expect(openai).toMatchObject({
    "x-ratelimit-limit-requests": "10",
    "x-ratelimit-remaining-requests": "8",
    "x-ratelimit-reset-requests": expect.stringMatching(/^\d+s$/),
    "x-gateway-limits": expect.stringContaining('usd;of="key";window="total";limit="5"'),
  });
  expect(openai["x-ratelimit-limit-tokens"]).toBe("1000000");
});

test("a team's amounts are told to nobody who holds one of its keys", async () => {
  const teamId = `team-${randomUUID()}`;
  await manage(stack.proxy, "/team/new", { team_id: teamId, max_budget: 7 });
  await setLimit("team", teamId, { meter: "requests", window: "month", amount: 100 });

  const told = limitHeadersOf(await ask(await newKey({ team_id: teamId })));

  expect(Object.keys(told).filter((name) => name.startsWith("x-"))).toEqual([]);
});

test("a refusal tells the limit that it is about", async () => {
  const key = await newKey({});
  await setLimit("key", key, { meter: "requests", window: "month", amount: 1 });
  expect((await ask(key)).status).toBe(200);

  const refused = await ask(key);

  expect(refused.status).toBe(429);
  expect(limitHeadersOf(refused)).toMatchObject({
    "anthropic-ratelimit-requests-limit": "1",
    "anthropic-ratelimit-requests-remaining": "0",
    "x-gateway-limits": expect.stringContaining('remaining="0"'),
  });
});

const toldOf = async (
  id: string,
): Promise<readonly { readonly org_id: string; readonly percent: string | null; readonly used: string }[]> =>
  (
    await sql<{ org_id: string; percent: string | null; used: string }>`
      select org_id, payload->>'percent' as percent, payload->>'used' as used from webhook_events
       where type = 'limit.warning' and payload->>'principal_id' = ${id} order by created_at`.execute(stack.database.db)
  ).rows;

test("at 80 and 95 in a hundred the caller is warned by a header, and the operator once by webhook, metric and log", async () => {
  const teamId = `team-${randomUUID()}`;
  await manage(stack.proxy, "/team/new", { team_id: teamId });
  await setLimit("team", teamId, { meter: "requests", window: "month", amount: 20 });
  const key = await newKey({ team_id: teamId });
  const warnings: (string | null)[] = [];

  for (let request = 0; request < 20; request += 1) warnings.push((await ask(key)).headers.get("x-gateway-limit-warning"));

  // By what was used when the request was admitted.
  const warned = 'requests;of="team";window="month";percent=';
  expect(warnings).toEqual([...Array<null>(16).fill(null), ...Array<string>(3).fill(`${warned}80`), `${warned}95`]);
  await expect
    .poll(() => toldOf(teamId))
    .toEqual([
      { org_id: teamId, percent: "80", used: "16" },
      { org_id: teamId, percent: "95", used: "19" },
    ]);
  const metrics = await (await fetch(`${stack.proxy.adminUrl}/metrics`)).text();
  expect(metrics).toMatch(/^llm_gateway_proxy_limit_warnings_total\{of="team",meter="requests",percent="95"\} 1$/m);
});

test("who is refused is reason enough to tell, and two proxies tell it once", async () => {
  const key = await newKey({ max_budget: 0.000001 });
  const { info } = (await manage(stack.proxy, `/key/info?key=${key}`)).body as { readonly info: { readonly key_name: string } };
  expect(info.key_name).toMatch(/^sk-/);
  const { rows } = await sql<{ token: string }>`
    update "LiteLLM_VerificationToken" set spend = 0.00000097 where key_name = ${info.key_name} returning token`.execute(stack.database.db);
  const hash = rows[0]?.token ?? "";

  expect((await ask(key)).status).toBe(402);

  await expect.poll(async () => (await toldOf(hash)).map(({ percent }) => percent)).toEqual(["95"]);
});

test("a soft budget that is reached is told, and refuses nobody", async () => {
  const key = await newKey({ soft_budget: 0.0000001 });
  expect((await ask(key)).headers.get("x-gateway-limit-warning")).toBeNull();

  const answer = await ask(key);

  expect(answer.status).toBe(200);
  expect(answer.headers.get("x-gateway-limit-warning")).toBe('usd;of="key";window="total";soft_budget');
});
