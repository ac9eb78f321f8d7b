import { hash, randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AUDITED, READS } from "../src/management/audit.ts";
import { managementRoutes } from "../src/management/server.ts";
import { manage, MASTER_KEY, mintKey } from "./proxy-process.ts";
import { startTestStack, type TestStack } from "./test-stack.ts";

/** Every change by the management API is on record: who, from where, in which request, before and after, without secrets; or it is not made. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

interface Logged {
  readonly action: string;
  readonly object_id: string;
  readonly changed_by: string;
  readonly operator: string;
  readonly before_value: Readonly<Record<string, unknown>> | null;
  readonly updated_values: Readonly<Record<string, unknown>> | null;
  readonly remote_address: string;
  readonly request_id: string;
}

/** What is on record of one thing, the oldest first. */
async function recordOf(id: string): Promise<readonly Logged[]> {
  const { body } = await manage(stack.proxy, `/audit?page_size=100&object_id=${encodeURIComponent(id)}`);
  return (body as { audit_logs: Logged[] }).audit_logs.toReversed();
}
const actionsOf = async (id: string): Promise<readonly string[]> => (await recordOf(id)).map(({ action }) => action);

async function change(path: string, body: object): Promise<void> {
  const { status } = await manage(stack.proxy, path, body);
  if (status !== 200) throw new Error(`${path} answered ${status}`);
}

test("issue 12: every route that changes something says what it changes", () => {
  const writes = managementRoutes({} as never).flatMap(({ method, path }) => (method === "POST" ? [path] : []));

  expect([...Object.keys(AUDITED), ...READS].toSorted()).toEqual(writes.toSorted());
});

test("issue 12: a key's life is on record, with its fields that changed, who changed them, from where and in which request", async () => {
  const { key, token } = await mintKey(stack.proxy, { max_budget: 1, metadata: { colour: "red", api_key: "of-another-product" } });
  const answer = await fetch(`${stack.proxy.adminUrl}/key/update`, {
    method: "POST",
    headers: { "authorization": `Bearer ${MASTER_KEY}`, "content-type": "application/json", "litellm-changed-by": "somebody@example.org" },
    body: JSON.stringify({ key, max_budget: 2 }),
  });
  await answer.arrayBuffer();
  const renewed = (await manage(stack.proxy, "/key/regenerate", { key })).body as { key: string; token_id: string };
  await manage(stack.proxy, "/key/delete", { keys: [renewed.key] });

  const logged = await recordOf(token);
  expect(logged.map(({ action }) => action)).toEqual([
    "POST /key/generate",
    "POST /key/update",
    "POST /key/regenerate",
    "POST /key/delete",
  ]);
  expect(logged[0]).toMatchObject({ before_value: null, updated_values: { max_budget: "1", metadata: { colour: "red", api_key: "***" } } });
  expect(logged[1]).toMatchObject({
    ...{ changed_by: "somebody@example.org", operator: "proxy_admin", request_id: answer.headers.get("request-id") },
    ...{ before_value: { max_budget: "1" }, updated_values: { max_budget: "2" }, remote_address: expect.stringContaining("127.0.0.1") },
  });
  expect(logged[2]?.updated_values).toEqual({ token: renewed.token_id, key_name: `sk-...${renewed.key.slice(-4)}` });
  expect(logged[3]?.updated_values).toBeNull();
  for (const secret of [key, renewed.key, "of-another-product"]) expect(JSON.stringify(logged)).not.toContain(secret);
});

test("issue 12: of everything else that can be changed, too", async () => {
  const [team, user, budget] = [randomUUID(), randomUUID(), randomUUID()];
  await change("/team/new", { team_id: team });
  await change("/team/update", { team_id: team, models: ["gpt-4o-mini"] });
  await change("/team/member_add", { team_id: team, member: { role: "admin", user_id: user } });
  await change("/team/block", { team_id: team });
  await change("/user/new", { user_id: user });
  await change("/tier/assign", { user_ids: [user], tier: "pro" });
  await change("/budget/new", { budget_id: budget, max_budget: 5 });
  await change("/budget/delete", { id: budget });
  await change("/limit/set", { principal_kind: "user", principal_id: user, meter: "requests", window: "day", amount: 3 });
  await change("/limit/delete", { principal_kind: "user", principal_id: user, meter: "requests", window: "day" });
  await change("/user/delete", { user_ids: [user] });
  await change("/team/delete", { team_ids: [team] });

  expect(await actionsOf(team)).toEqual([
    "POST /team/new",
    "POST /team/update",
    "POST /team/member_add",
    "POST /team/block",
    "POST /team/delete",
  ]);
  expect(await actionsOf(user)).toEqual(["POST /user/new", "POST /tier/assign", "POST /user/delete"]);
  expect(await actionsOf(budget)).toEqual(["POST /budget/new", "POST /budget/delete"]);
  expect(await actionsOf(`user:${user}`)).toEqual(["POST /limit/set", "POST /limit/delete"]);
});

test("issue 12: an admin of a team is on record by his user id", async () => {
  const [team, user] = [randomUUID(), randomUUID()];
  await manage(stack.proxy, "/team/new", { team_id: team });
  const { key } = (await manage(stack.proxy, "/user/new", { user_id: user })).body as { key: string };
  await manage(stack.proxy, "/team/member_add", { team_id: team, member: { role: "admin", user_id: user } });
  const made = (await manage(stack.proxy, "/key/generate", { team_id: team }, key)).body as { token_id: string };

  expect(await recordOf(made.token_id)).toMatchObject([{ operator: user, changed_by: user, action: "POST /key/generate" }]);
  expect((await manage(stack.proxy, "/audit", undefined, key)).status).toBe(401);
  expect(await actionsOf(hash("sha256", key, "hex"))).toEqual(["POST /user/new"]);
});

describe("issue 12: is not on record:", () => {
  test("what changes nothing, what is refused, and what reads", async () => {
    const { key, token } = await mintKey(stack.proxy, { max_budget: 1 });
    await manage(stack.proxy, "/key/update", { key, max_budget: 1 });
    await manage(stack.proxy, "/key/unblock", { key });
    await manage(stack.proxy, "/key/update", { key, max_budget: 5, guardrails: ["x"] });
    await manage(stack.proxy, "/v2/key/info", { keys: [key] });

    expect(await actionsOf(token)).not.toContain("POST /key/update");
  });
});

test("issue 12: what cannot be put on record is not done", async () => {
  const { db } = stack.database;
  const { key, token } = await mintKey(stack.proxy, { max_budget: 1 });
  await sql`alter table management_actions add constraint refused check (action <> 'POST /key/update') not valid`.execute(db);
  const { status } = await manage(stack.proxy, "/key/update", { key, max_budget: 9 });
  await sql`alter table management_actions drop constraint refused`.execute(db);

  expect(status).toBe(500);
  expect((await manage(stack.proxy, `/key/info?key=${token}`)).body).toMatchObject({ info: { max_budget: 1 } });
  await expect(sql`update management_actions set operator = 'nobody'`.execute(db)).rejects.toThrow(/refused/);
});
