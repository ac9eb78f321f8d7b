import { createLLMProxyClient } from "@proliferate/shared";
import {
  generateKeyResponseSchema,
  keyInfoResponseSchema,
  keyListResponseSchema,
  teamInfoResponseSchema,
} from "@proliferate/shared/contracts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { manage, MASTER_KEY, mintKey } from "./proxy-process.ts";
import { MESSAGE, post, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const sendText = (path: string, body: string): Promise<Response> =>
  fetch(`${stack.proxy.adminUrl}${path}`, { method: "POST", headers: { authorization: `Bearer ${MASTER_KEY}` }, body });

const call = (path: string, body?: unknown, key?: string) => manage(stack.proxy, path, body, key);

describe("who may call", () => {
  test("the master key only", async () => {
    expect((await call("/key/generate", {}, "sk-not-the-master-key")).status).toBe(401);
    expect((await call("/key/generate", {}, stack.key)).status).toBe(401);
    expect((await fetch(`${stack.proxy.adminUrl}/key/list`)).status).toBe(401);
    expect((await call("/key/list")).status).toBe(200);
  });

  test("anybody, for health", async () => {
    const answers = await Promise.all(
      ["liveliness", "liveness", "readiness"].map((name) => fetch(`${stack.proxy.adminUrl}/health/${name}`)),
    );

    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200]);
    expect(await answers[0]?.json()).toBe("I'm alive!");
    expect(await answers[2]?.json()).toMatchObject({ status: "healthy", db: "connected" });
  });
});

describe("keys", () => {
  test("are answered with the row, flat, and the key once", async () => {
    const { body } = await call("/key/generate", {
      key_alias: "full",
      duration: "1h",
      team_id: "t",
      user_id: "u",
      max_budget: 1.5,
      models: ["m"],
      metadata: { session_id: "u" },
    });

    const minted = generateKeyResponseSchema.parse(body);
    expect(minted).toMatchObject({
      key_alias: "full",
      team_id: "t",
      user_id: "u",
      max_budget: 1.5,
      models: ["m"],
      metadata: { session_id: "u" },
      spend: 0,
      token_id: minted.token,
    });
    expect(Date.parse(minted.expires ?? "") - Date.now()).toBeGreaterThan(3_500_000);
    const { body: info } = await call(`/key/info?key=${minted.key}`);
    expect(keyInfoResponseSchema.parse(info).info).toMatchObject({ key_alias: "full" });
    expect(keyInfoResponseSchema.parse(info).info).not.toHaveProperty("token");
  });

  test("are updated, blocked and deleted by the key, its hash or its alias", async () => {
    const { key, token } = await mintKey(stack.proxy, { key_alias: "short-lived", max_budget: 1 });

    expect((await call("/key/update", { key, max_budget: 2, metadata: { a: 1 } })).body).toMatchObject({ max_budget: 2 });
    expect((await call("/key/update", { key: token, max_budget: null })).body).toMatchObject({ max_budget: null, metadata: { a: 1 } });
    expect((await call("/key/block", { key: token })).body).toMatchObject({ blocked: true });
    expect((await call("/key/delete", { key_aliases: ["short-lived"] })).body).toEqual({ deleted_keys: ["short-lived"] });
    expect((await call(`/key/info?key=${token}`)).status).toBe(404);
  });

  test("are listed by hash or in full, filtered and paged", async () => {
    for (let index = 0; index < 3; index += 1) await mintKey(stack.proxy, { user_id: "lister" });

    const hashes = keyListResponseSchema.parse((await call("/key/list?user_id=lister&size=2&page=2")).body);
    const rows = keyListResponseSchema.parse((await call("/key/list?user_id=lister&return_full_object=true")).body);

    expect(hashes).toMatchObject({ total_count: 3, current_page: 2, total_pages: 2, keys: [expect.stringMatching(/^[0-9a-f]{64}$/)] });
    expect(rows.keys).toHaveLength(3);
    expect(rows.keys[0]).toMatchObject({ user_id: "lister" });
  });
});

describe("mistakes are answered as LiteLLM answers them", () => {
  test.each([
    ["/key/generate", { max_budget: "much" }, 422, "detail.0.loc", ["body", "max_budget"]],
    ["/key/generate", { duration: "30min" }, 400, "error.param", "duration"],
    ["/key/generate", { budget_duration: "yearly" }, 400, "error.param", "budget_duration"],
    ["/key/generate", { models: "all" }, 422, "detail.0.loc", ["body", "models"]],
    ["/key/generate", { aliases: { a: "b", b: "c" } }, 422, "detail.0.loc", ["body", "aliases"]],
    ["/key/generate", { aliases: { a: "a" } }, 422, "detail.0.loc", ["body", "aliases"]],
    ["/key/generate", { aliases: { a: "b*" } }, 422, "detail.0.loc", ["body", "aliases"]],
    ["/key/generate", { tags: [""] }, 422, "detail.0.loc", ["body", "tags", 0]],
    ["/team/new", { soft_budget: 2, max_budget: 2 }, 400, "error.param", "soft_budget"],
    ["/key/generate", { models: ["x".repeat(256)] }, 422, "detail.0.loc", ["body", "models", 0]],
    ["/key/generate", { models: ["*********"] }, 422, "detail.0.loc", ["body", "models", 0]],
    ["/key/generate", { models: Array.from({ length: 1_001 }, () => "a") }, 422, "detail.0.loc", ["body", "models"]],
    ["/key/generate", { key: "no-prefix" }, 400, "error.param", "key"],
    ["/key/delete", { keys: ["sk-never-minted-at-all"] }, 404, "error.code", "404"],
    ["/key/delete", {}, 422, "detail.0.loc", ["body", "keys"]],
    ["/key/update", { key: "sk-never-minted-at-all" }, 404, "error.type", "not_found_error"],
    ["/team/new", { team_id: 5 }, 422, "detail.0.loc", ["body", "team_id"]],
  ])("POST %s %j → %i", async (path, body, status, field, value) => {
    const answer = await call(path, body);

    expect(answer.status).toBe(status);
    expect(answer.body).toHaveProperty(field, value);
  });

  test("an alias that is taken, and a team that exists, say so in the words that clients look for", async () => {
    await call("/key/generate", { key_alias: "taken" });
    await call("/team/new", { team_id: "exists" });

    const alias = await call("/key/generate", { key_alias: "taken" });
    const team = await call("/team/new", { team_id: "exists" });

    expect(alias).toMatchObject({
      status: 400,
      body: { error: { type: "bad_request_error", param: "key_alias", code: "400", message: expect.stringContaining("already exists") } },
    });
    expect(team).toMatchObject({ status: 400, body: { error: { code: "400", message: expect.stringContaining("already exists") } } });
  });

  test("an unknown team is a 404 whose code is in the body, an unknown route and method name themselves", async () => {
    expect(await call("/team/info?team_id=nobody")).toMatchObject({
      status: 404,
      body: { error: { code: "404", message: expect.stringContaining("nobody") } },
    });
    expect(await call("/key/rename", {})).toMatchObject({ status: 404 });
    expect(await call("/key/generate")).toMatchObject({ status: 405 });
  });

  test("a body that is no JSON, or too large, changes nothing", async () => {
    expect((await sendText("/key/generate", "{")).status).toBe(400);
    expect((await sendText("/key/generate", `{"metadata":{"a":"${"x".repeat(1024 * 1024)}"}}`)).status).toBe(413);
  });
});

test("a budget with a window says when the window ends", async () => {
  // Not by the clock afterwards: a window that began before midnight may have ended by then.
  const before = Date.now();
  const { body: key } = await call("/key/generate", { max_budget: 1, budget_duration: "1d" });
  const { body: team } = await call("/team/new", { team_id: "windowed", max_budget: 1, budget_duration: "7d" });

  for (const answer of [key, team]) expect(Date.parse((answer as { budget_reset_at: string }).budget_reset_at)).toBeGreaterThan(before);
});

test("a team is answered with its keys, and without their hashes", async () => {
  await call("/team/new", { team_id: "with-keys", team_alias: "With keys", max_budget: 3 });
  await mintKey(stack.proxy, { team_id: "with-keys" });

  const info = teamInfoResponseSchema.parse((await call("/team/info?team_id=with-keys")).body);

  expect(info.team_info).toMatchObject({
    team_alias: "With keys",
    max_budget: 3,
    members_with_roles: [{ role: "admin", user_id: "default_user_id" }],
  });
  expect(info.keys).toHaveLength(1);
  expect(info.keys?.[0]).not.toHaveProperty("token");
});

/** The day, in UTC, of the one spend row of a key: the clock may be past midnight by now. */
async function dayOfRow(token: string): Promise<string> {
  const row = await stack.database.db
    .selectFrom("LiteLLM_SpendLogs")
    .select((eb) => eb.cast<string>("startTime", "text").as("startTime"))
    .where("api_key", "=", token)
    .executeTakeFirstOrThrow();
  return row.startTime.slice(0, 10);
}

test("spend is listed by time, and seen on the key", async () => {
  const { key, token } = await mintKey(stack.proxy);
  await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } });

  const day = await dayOfRow(token);
  const { body } = await call(`/spend/logs/v2?start_date=${day}&end_date=${day}%2023:59:59&api_key=${key}`);
  const { body: info } = await call(`/key/info?key=${key}`);

  const { data, total } = body as { data: { api_key: string; spend: number }[]; total: number };
  expect(total).toBe(1);
  expect(data[0]).toMatchObject({ api_key: token });
  expect((info as { info: { spend: number } }).info.spend).toBe(data[0]?.spend);
  expect((await call("/spend/logs/v2?start_date=yesterday&end_date=2026-01-01")).status).toBe(422);
});

test("the client of @proliferate/shared mints, resumes and revokes against it", async () => {
  const client = createLLMProxyClient({ adminUrl: stack.proxy.adminUrl, masterKey: MASTER_KEY, keyDuration: "1h" });
  const ask = async (key: string): Promise<number> =>
    (await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } })).status;

  await client.ensureTeamExists("org-of-shared");
  const first = await client.generateVirtualKey("session-of-shared", "org-of-shared");
  expect(await ask(first.key)).toBe(200);
  const second = await client.generateVirtualKey("session-of-shared", "org-of-shared");
  expect([await ask(first.key), await ask(second.key)]).toEqual([401, 200]);
  await client.revokeVirtualKey("session-of-shared");
  expect(await ask(second.key)).toBe(401);
});

test("of two processes that make one team at once, both succeed", async () => {
  const clients = [1, 2, 3, 4].map(() =>
    createLLMProxyClient({ adminUrl: stack.proxy.adminUrl, masterKey: MASTER_KEY, keyDuration: "1h" }),
  );

  const keys = await Promise.all(clients.map((client, index) => client.generateSessionAPIKey(`racer-${index}`, "org-of-racers")));

  expect(new Set(keys).size).toBe(4);
});

test.each([
  ["/key/generate", { team_id: "a\u0000b" }, "team_id"],
  ["/key/generate", { user_id: "\u0000" }, "user_id"],
  ["/key/generate", { metadata: { nested: ["\ud800"] } }, "metadata.nested.0"],
  ["/key/generate", { metadata: { "a\u0000": 1 } }, "metadata"],
  ["/key/update", { key: "sk-a\u0000bcdefgh", blocked: true }, "key"],
  ["/team/new", { team_alias: "\udc00" }, "team_alias"],
  ["/team/info?team_id=%00", undefined, "team_id"],
  ["/key/info?key=%00", undefined, "key"],
  ["/key/list?user_id=%00", undefined, "user_id"],
  ["/spend/logs/v2?start_date=2026-11-01&end_date=2026-11-02&team_id=%00", undefined, "team_id"],
])("hostile 16: what cannot be stored is the caller's mistake: %s %j", async (path, body, param) => {
  expect(await call(path, body)).toMatchObject({ status: 400, body: { error: { code: "400", param } } });
});

test.each(["9".repeat(400), 1e16, -1, "1e500"])("hostile 16: a budget that no column holds is a 422: %s", async (maxBudget) => {
  expect((await call("/key/generate", { max_budget: maxBudget })).status).toBe(422);
});

test("hostile 16: a body that nests without an end is refused", async () => {
  const answer = await sendText("/key/generate", `{"metadata":${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}}`);

  expect(answer.status).toBe(400);
});

test("hostile 17: what a caller does wrong is no failure of ours in the log", async () => {
  const before = stack.proxy.log().length;
  expect((await call("/key/generate", { max_budget: "lots" })).status).toBe(422);
  expect((await call("/key/generate", { key_alias: "-" })).status).toBe(400);

  expect(stack.proxy.log().slice(before)).not.toContain("management.failed");
});

describe("public bug 42, litellm 4, F4: what would not be kept is refused with its name", () => {
  test.each([
    ["tpd_limit", 5],
    ["allowed_routes", ["/key/generate"]],
    ["allowed_routes", ["/v1/messages", "management_routes"]],
    ["key_type", "management"],
    ["budget_id", "nope"],
    ["model_aliases", { a: "b" }],
    ["metadata", { tags: "a" }],
    ["metadata", { model_rpm_limit: { a: "1" } }],
    ["metadata", { rpm_limit: 1 }],
    ["modles", ["a"]],
    ["auto_rotate", true],
    ["guardrails", ["x"]],
    ["__proto__x", 1],
  ])("a key with %s %j", async (field, value) => {
    const { key } = await mintKey(stack.proxy, {});

    const minted = await call("/key/generate", { [field]: value });
    const updated = await call("/key/update", { key, [field]: value });

    for (const { status, body } of [minted, updated]) {
      expect(status).toBe(400);
      expect(JSON.stringify(body)).toContain(field);
    }
  });

  test.each([
    ["allowed_routes", ["/v1/messages"]],
    ["members_with_roles", [{ role: "user", user_id: "u" }]],
    ["aliases", { a: "b" }],
    ["budget_id", "nope"],
    ["organization_id", "o"],
    ["unheard_of", "x"],
  ])("a team with %s %j", async (field, value) => {
    const { status, body } = await call("/team/new", { team_id: `refused-${field}`, [field]: value });

    expect(status).toBe(400);
    expect(body).toMatchObject({ error: { param: field } });
    expect((await call(`/team/info?team_id=refused-${field}`)).status).toBe(404);
  });

  test("but a field that asks for nothing is taken, as LiteLLM's clients send it", async () => {
    const nothing = {
      rpm_limit: null,
      tpm_limit: null,
      max_parallel_requests: null,
      allowed_routes: [],
      aliases: {},
      config: {},
      permissions: {},
      model_max_budget: {},
      key_type: "default",
      spend: 0,
      tags: null,
      soft_budget: null,
      send_invite_email: false,
      metadata: {},
    };

    expect((await call("/key/generate", nothing)).status).toBe(200);
    expect((await call("/team/new", { ...nothing, members_with_roles: [], blocked: false })).status).toBe(200);
  });
});

test("public bug 43: an end date without a time includes its day, and one with a time ends there", async () => {
  const { key, token } = await mintKey(stack.proxy, {});
  await (await post(stack, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } })).text();
  const day = await dayOfRow(token);
  const total = async (end: string): Promise<unknown> =>
    ((await call(`/spend/logs/v2?start_date=${day}&end_date=${end}&api_key=${token}`)).body as { total: unknown }).total;

  expect(await total(day)).toBe(1);
  expect(await total(`${day}%2000:00:00`)).toBe(0);
});
