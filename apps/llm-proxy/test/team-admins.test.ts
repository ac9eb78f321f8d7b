import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { managementRoutes } from "../src/management/server.ts";
import { manage, mintKey } from "./proxy-process.ts";
import { startTestStack, type TestStack } from "./test-stack.ts";

/**
 * What a key of an admin of a team may manage, as a real LiteLLM 1.104 answered the same calls (recorded 2026-11-28 without a licence, with admins that
 * /team/new made): the team's keys and members, and nothing of another team or of the proxy.
 */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

interface Scene {
  readonly own: string;
  readonly other: string;
  readonly admin: string;
  readonly member: string;
  /** Their own keys. */
  readonly adminKey: string;
  readonly memberKey: string;
  /** Hashes of a key of each team. */
  readonly keyOfOwn: string;
  readonly keyOfOther: string;
}

let scene: Scene;
beforeEach(async () => {
  const [own, other, admin, member] = ["own", "other", "admin", "member"].map((name) => `${name}-${randomUUID()}`) as [
    string,
    string,
    string,
    string,
  ];
  for (const user_id of [admin, member]) await manage(stack.proxy, "/user/new", { user_id, auto_create_key: false });
  for (const team_id of [own, other]) await manage(stack.proxy, "/team/new", { team_id });
  const members = [
    { role: "admin", user_id: admin },
    { role: "user", user_id: member },
  ];
  await manage(stack.proxy, "/team/member_add", { team_id: own, member: members });
  scene = {
    ...{ own, other, admin, member },
    adminKey: (await mintKey(stack.proxy, { user_id: admin })).key,
    memberKey: (await mintKey(stack.proxy, { user_id: member })).key,
    keyOfOwn: (await mintKey(stack.proxy, { team_id: own, user_id: member })).token,
    keyOfOther: (await mintKey(stack.proxy, { team_id: other })).token,
  };
});

const by = async (key: string, path: string, body?: unknown): Promise<number> => (await manage(stack.proxy, path, body, key)).status;

/** Calls about a key of a team, or the team. */
const callsAbout = (team: string, key: string): readonly (readonly [path: string, body?: object])[] => [
  [`/key/info?key=${key}`],
  ["/v2/key/info", { keys: [key] }],
  [`/key/list?team_id=${team}`],
  [`/team/info?team_id=${team}`],
  ["/key/generate", { team_id: team, max_budget: 1 }],
  ["/key/update", { key, metadata: { seen: true } }],
  ["/key/block", { key }],
  ["/key/unblock", { key }],
  ["/team/member_add", { team_id: team, member: { role: "user", user_id: scene.admin.replace("admin", "none") } }],
  ["/team/member_update", { team_id: team, user_id: scene.member, role: "user" }],
  ["/team/member_delete", { team_id: team, user_id: scene.member }],
  [`/key/${key}/regenerate`, {}],
  ["/key/delete", { keys: [key] }],
];

test("issue 12: an admin manages the keys and the members of the team", async () => {
  const statuses: (readonly [path: string | undefined, status: number])[] = [];
  for (const [path, body] of callsAbout(scene.own, scene.keyOfOwn))
    statuses.push([path.split("?")[0], await by(scene.adminKey, path, body)]);

  expect(statuses.filter(([, status]) => status !== 200)).toEqual([["/team/member_add", 403]]);
  const { body } = await manage(stack.proxy, `/team/info?team_id=${scene.own}`);
  expect((body as { team_info: { members_with_roles: object[] } }).team_info.members_with_roles).toEqual([
    { user_id: "default_user_id", user_email: null, role: "admin" },
    { user_id: scene.admin, user_email: null, role: "admin" },
  ]);
});

test("issue 12: nothing of another team, and nothing as a mere member", async () => {
  for (const [key, team, about] of [
    [scene.adminKey, scene.other, scene.keyOfOther],
    [scene.memberKey, scene.own, scene.keyOfOwn],
    [scene.memberKey, scene.other, scene.keyOfOther],
  ] as const) {
    const refused: (readonly [path: string | undefined, status: number])[] = [];
    for (const [path, body] of callsAbout(team, about)) refused.push([path.split("?")[0], await by(key, path, body)]);
    expect(refused.filter(([, status]) => status !== 403)).toEqual([]);
  }
  expect(await by(stack.key, "/key/list")).toBe(401);
});

test("issue 12: what the proxy's admin alone may do stays his", async () => {
  const { own, other, adminKey, keyOfOwn, keyOfOther, member } = scene;
  const refused: readonly (readonly [path: string, body?: object])[] = [
    ["/key/generate", {}],
    ["/key/generate", { team_id: own, user_id: member }],
    ["/key/generate", { team_id: own, budget_id: "shared" }],
    ["/key/update", { key: keyOfOwn, max_budget: 1_000 }],
    ["/key/update", { key: keyOfOwn, max_budget: null }],
    ["/key/update", { key: keyOfOwn, team_id: other }],
    ["/key/update", { key: keyOfOwn, user_id: scene.admin }],
    ["/key/regenerate", { key: keyOfOwn, budget_duration: "1s" }],
    [`/key/${keyOfOwn}/regenerate`, { key: keyOfOther }],
    ["/key/delete", { keys: [keyOfOwn, keyOfOther] }],
    ["/key/delete", { key_aliases: ["any"] }],
    ["/key/list"],
    [`/key/list?team_id=${own}&team_id=${other}`],
    [`/key/info?key=${keyOfOwn}&key=${keyOfOther}`],
    ["/team/member_add", { team_id: own, member: { role: "user", user_id: "nobody-that-is-known" } }],
    [
      "/team/member_add",
      {
        team_id: own,
        member: [
          { role: "user", user_id: member },
          { role: "user", user_id: "nobody-that-is-known" },
        ],
      },
    ],
  ];
  const statuses: (readonly [path: string, body: object | undefined, status: number])[] = [];
  for (const [path, body] of refused) statuses.push([path, body, await by(adminKey, path, body)]);

  expect(statuses.filter(([, , status]) => status !== 403)).toEqual([]);
  expect(await by(adminKey, `/key/info?key=${keyOfOwn}`)).toBe(200);
});

describe("issue 12: is no key of an admin", () => {
  test.each([
    ["a key of the team, whose user_id may be a session's", async () => ({ user_id: scene.admin, team_id: scene.own })],
    ["a key for some routes of the data plane", async () => ({ user_id: scene.admin, allowed_routes: ["llm_api_routes"] })],
    ["a key that is blocked", async () => ({ user_id: scene.admin, blocked: true })],
    ["a key of LiteLLM's id for the master key", async () => ({ user_id: "default_user_id" })],
  ])("%s", async (_, fieldsOf) => {
    const { key } = await mintKey(stack.proxy, await fieldsOf());

    expect(await by(key, `/team/info?team_id=${scene.own}`)).toBeOneOf([401, 403]);
    expect(await by(key, "/key/update", { key: scene.keyOfOwn, metadata: {} })).toBeOneOf([401, 403]);
  });

  test("one whose user was taken out of the team, or deleted and made again", async () => {
    const info = `/team/info?team_id=${scene.own}`;
    expect(await by(scene.adminKey, info)).toBe(200);
    await manage(stack.proxy, "/team/member_update", { team_id: scene.own, user_id: scene.admin, role: "user" });
    expect(await by(scene.adminKey, info)).toBe(403);
    await manage(stack.proxy, "/team/member_update", { team_id: scene.own, user_id: scene.admin, role: "admin" });
    await manage(stack.proxy, "/user/delete", { user_ids: [scene.admin] });
    const { key } = await mintKey(stack.proxy, { user_id: scene.admin });
    expect(await by(key, info)).toBe(403);
  });
});

const OPEN = managementRoutes({} as never).filter(({ teamAdmin }) => teamAdmin !== undefined);
const CLOSED = managementRoutes({} as never).filter(({ teamAdmin }) => teamAdmin === undefined);

test("issue 12: an admin of a team may call these routes, and no others", () => {
  expect(OPEN.map(({ path }) => path).toSorted()).toEqual(
    [
      "/key/block /key/delete /key/generate /key/info /key/list /key/regenerate /key/unblock /key/update /key/{key}/regenerate",
      "/team/info /team/member_add /team/member_delete /team/member_update /v2/key/info",
    ].flatMap((line) => line.split(" ")),
  );
});

test.each(CLOSED.map(({ method, path }) => [method, path] as const))(
  "issue 12: %s %s is closed to an admin of a team",
  async (method, path) => {
    const { status, body } = await manage(stack.proxy, path, method === "POST" ? {} : undefined, scene.adminKey);

    expect(status).toBe(401);
    expect(JSON.stringify(body)).toContain("Only proxy admin");
  },
);

describe("issue 12: members", () => {
  const member = { role: "user", user_id: "m" };

  test.each([
    ["added to no team", "/team/member_add", { team_id: "nobody's", member }, 404, "Team doesn't exist in db"],
    ["added with another role", "/team/member_add", { team_id: "TEAM", member: { ...member, role: "owner" } }, 422, "member"],
    ["added without a name", "/team/member_add", { team_id: "TEAM", member: { role: "user" } }, 422, "user_id or user_email"],
    [
      "added by an address of nobody",
      "/team/member_add",
      { team_id: "TEAM", member: { role: "user", user_email: "x@example.org" } },
      404,
      "POST /user/new",
    ],
    ["added with a budget of their own", "/team/member_add", { team_id: "TEAM", member, max_budget_in_team: 5 }, 400, "max_budget_in_team"],
    ["deleted who are none", "/team/member_delete", { team_id: "TEAM", user_id: "nobody" }, 400, "User not found in team"],
    ["deleted without a name", "/team/member_delete", { team_id: "TEAM" }, 422, "user_id or user_email"],
    ["changed who are none", "/team/member_update", { team_id: "TEAM", user_id: "nobody", role: "admin" }, 404, "is not a member of team"],
  ])("are not %s", async (_, path, body, status, says) => {
    const answer = await manage(stack.proxy, path, JSON.parse(JSON.stringify(body).replace("TEAM", scene.own)));

    expect([answer.status, JSON.stringify(answer.body)]).toEqual([status, expect.stringContaining(says)]);
  });

  test("are added once, also by their address, and changed by it", async () => {
    const user_email = `${randomUUID()}@example.org`;
    const { body } = await manage(stack.proxy, "/user/new", { user_email, auto_create_key: false });
    const { user_id } = body as { user_id: string };
    const add = { team_id: scene.other, member: [{ role: "user", user_email }] };

    expect((await manage(stack.proxy, "/team/member_add", add)).body).toMatchObject({
      members_with_roles: [{ role: "admin" }, { role: "user", user_id, user_email }],
    });
    expect(await manage(stack.proxy, "/team/member_add", add)).toMatchObject({
      status: 400,
      body: { error: { message: expect.stringContaining("User already in team") } },
    });
    const change = { team_id: scene.other, user_email: user_email.toUpperCase(), role: "admin" };
    expect((await manage(stack.proxy, "/team/member_update", change)).body).toMatchObject({
      user_id,
      team_id: scene.other,
      max_budget_in_team: null,
    });
    const { key } = await mintKey(stack.proxy, { user_id });
    expect(await by(key, `/key/info?key=${scene.keyOfOther}`)).toBe(200);
  });
});
