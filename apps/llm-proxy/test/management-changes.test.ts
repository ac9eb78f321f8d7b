import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { managementRoutes } from "../src/management/server.ts";
import { manage, MASTER_KEY, mintKey } from "./proxy-process.ts";
import { MESSAGE, post, startTestStack, type TestStack } from "./test-stack.ts";

/** Teams and users as the management API changes them, seen from the data plane; and what it refuses. */
let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const call = (path: string, body?: unknown, key?: string) => manage(stack.proxy, path, body, key);
const ask = async (key: string): Promise<number> => {
  const answer = await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } });
  await answer.arrayBuffer();
  return answer.status;
};

describe("issue 12: who may call", () => {
  const routes = managementRoutes({} as never).map(({ method, path }) => [method, path] as const);

  test.each(routes)("%s %s takes the master key only", async (method, path) => {
    const statuses = await Promise.all(
      [stack.key, "sk-not-the-master-key", undefined].map(async (key) => {
        const { status } = await fetch(`${stack.proxy.adminUrl}${path}`, {
          method,
          headers: { "content-type": "application/json", ...(key !== undefined && { authorization: `Bearer ${key}` }) },
          ...(method === "POST" && { body: "{}" }),
        });
        return status;
      }),
    );

    expect(statuses).toEqual([401, 401, 401]);
  });
});

test("issue 12: a team that is blocked, unblocked and deleted is so for the next request", async () => {
  await call("/team/new", { team_id: "seen" });
  const { key } = await mintKey(stack.proxy, { team_id: "seen" });

  expect(await ask(key)).toBe(200);
  await call("/team/block", { team_id: "seen" });
  expect(await ask(key)).toBe(401);
  await call("/team/unblock", { team_id: "seen" });
  await call("/team/update", { team_id: "seen", models: ["gpt-4o-mini"] });
  expect(await ask(key)).toBe(403);
  await call("/team/update", { team_id: "seen", models: null });
  expect(await ask(key)).toBe(200);
  expect((await call("/team/delete", { team_ids: ["seen"] })).body).toEqual({ deleted_teams: ["seen"] });
  expect(await ask(key)).toBe(401);
  await call("/team/new", { team_id: "seen" });
  expect(await ask(key)).toBe(401);
});

test("issue 12: a user is made with a key, limited over all keys, and deleted with them", async () => {
  const { status, body } = await call("/user/new", { user_id: "person", user_email: "person@example.org", max_budget: 0, duration: "1h" });
  expect(status).toBe(200);
  const { key, expires } = body as { key: string; expires: string };
  const { key: other } = await mintKey(stack.proxy, { user_id: "person" });

  expect(body).toMatchObject({ user_id: "person", user_email: "person@example.org", max_budget: 0, key_name: `sk-...${key.slice(-4)}` });
  expect(Date.parse(expires)).toBeGreaterThan(Date.now());
  expect([await ask(key), await ask(other)]).toEqual([402, 402]);
  await call("/user/update", { user_id: "person", max_budget: null });
  expect([await ask(key), await ask(other)]).toEqual([200, 200]);
  expect((await call("/user/new", { user_id: "person" })).status).toBe(409);
  expect((await call("/user/delete", { user_ids: ["person"] })).body).toBe(1);
  expect([await ask(key), await ask(other)]).toEqual([401, 401]);
});

test("issue 12: a user without a key has none", async () => {
  const { body } = await call("/user/new", { user_alias: "Nobody", auto_create_key: false });

  const { user_id: id } = body as { user_id: string };
  expect((await call(`/user/info?user_id=${id}`)).body).toMatchObject({ user_info: { user_alias: "Nobody", spend: 0 }, keys: [] });
});

describe("issue 12: what is wrong is refused with its name, and nothing is changed", () => {
  test.each([
    ["/team/update", { team_id: "t", max_budget: -1 }, 422, "detail.0.loc", ["body", "max_budget"]],
    ["/team/update", { team_id: "t", members_with_roles: [{ role: "admin", user_id: "u" }] }, 400, "error.param", "members_with_roles"],
    ["/team/update", { team_id: "t", budget_duration: "30min" }, 400, "error.param", "budget_duration"],
    ["/team/update", { team_id: "t\u0000" }, 400, "error.param", "team_id"],
    ["/team/update", { team_id: "no such team" }, 404, "error.code", "404"],
    ["/team/block", {}, 422, "detail.0.loc", ["body", "team_id"]],
    ["/team/delete", { team_ids: [] }, 422, "detail.0.loc", ["body", "team_ids"]],
    ["/team/delete", { team_ids: Array.from({ length: 101 }, (_, index) => `t${index}`) }, 422, "detail.0.loc", ["body", "team_ids"]],
    ["/user/new", { user_id: "wrong", user_role: "proxy_admin" }, 422, "detail.0.loc", ["body", "user_role"]],
    ["/user/new", { user_id: "wrong", models: ["a"] }, 400, "error.param", "models"],
    ["/user/new", { user_id: "wrong", teams: ["t"] }, 400, "error.param", "teams"],
    ["/user/new", { user_id: "wrong", max_budget: "much" }, 422, "detail.0.loc", ["body", "max_budget"]],
    ["/user/new", { user_id: "wrong", budget_duration: "soon" }, 400, "error.param", "budget_duration"],
    ["/user/new", { user_id: "wrong", duration: "soon" }, 400, "error.param", "duration"],
    ["/user/update", { user_id: "x".repeat(256) }, 422, "detail.0.loc", ["body", "user_id"]],
    ["/user/delete", { user_ids: ["wrong"] }, 404, "error.param", "user_id"],
    ["/v2/key/info", { keys: Array.from({ length: 1_001 }, () => "a") }, 422, "detail.0.loc", ["body", "keys"]],
    ["/spend/logs?start_date=2026-01-01&end_date=2026-12-31", undefined, 400, "error.param", "start_date"],
    ["/spend/logs?start_date=2026-01-02&end_date=2026-01-01", undefined, 400, "error.param", "end_date"],
    ["/spend/logs?start_date=2026-01-02", undefined, 422, "detail.0.loc", ["query", "end_date"]],
    ["/spend/logs?api_key=sk-of-nobody-at-all", undefined, 400, "error.param", "start_date"],
    ["/global/activity?start_date=2026-02-30&end_date=2026-03-01", undefined, 422, "detail.0.loc", ["query", "start_date"]],
    ["/global/spend/keys?limit=0", undefined, 422, "detail.0.loc", ["query", "limit"]],
    ["/v2/team/list?team_alias=%00", undefined, 400, "error.param", "team_alias"],
    ["/user/list?page=0", undefined, 422, "detail.0.loc", ["query", "page"]],
  ])("%s %j → %i", async (path, body, status, field, value) => {
    const answer = await call(path, body, MASTER_KEY);

    expect(answer.status).toBe(status);
    expect(answer.body).toHaveProperty(field, value);
    expect((await call("/user/info?user_id=wrong")).status).toBe(404);
  });
});
