import { onServer } from "@proliferate/db/test-database";
import { reapSessions, SessionLauncher } from "@proliferate/services/sessions";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { agentAuthorization } from "@proliferate/shared/sandbox";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { sandboxFolders, type SandboxGateway, startSandboxGateway } from "./sandbox-gateway.ts";
import { serveGateway, TOKEN } from "./test-gateway.ts";

let gateway: SandboxGateway;
beforeAll(async () => {
  gateway = await startSandboxGateway();
});
beforeEach(async () => {
  for (const { id } of await gateway.provider.list()) await gateway.provider.terminate(id);
  gateway.agentArguments = [];
  gateway.proxy.reset();
  await onServer(
    gateway.database.connectionString,
    "truncate llm_gateway.gateway_sessions, llm_gateway.session_events, llm_gateway.session_requests",
  );
});
afterAll(() => gateway.stop());

const launch = (body: object = {}, headers = {}) =>
  gateway.call("POST", "/v1/sessions?wait=true", { session_id: "s1", org_id: "org_a", launcher: "local", ...body }, headers);
const get = async (sessionId = "s1") => (await gateway.call("GET", `/v1/sessions/${sessionId}`)).body;
const end = (sessionId = "s1") => gateway.call("DELETE", `/v1/sessions/${sessionId}`);
const eventTypes = async (path = "/v1/sessions/s1/events"): Promise<readonly string[]> =>
  [...String((await gateway.call("GET", path)).body).matchAll(/^event: (.*)$/gm)].map(([, type]) => type ?? "");
const health = (url: string, password: string): Promise<Response> =>
  fetch(`${url}/global/health`, { headers: { authorization: agentAuthorization(password), connection: "close" } });
const nothingIsLeft = async (): Promise<void> => {
  expect([await sandboxFolders(gateway.rootFolder), gateway.proxy.keys.size]).toEqual([[], 0]);
};
const reap = () =>
  reapSessions({ db: gateway.database.db, keys: gateway.keys, sandboxes: gateway.launcher, instanceId: 999_999 }, { abandonedMs: 0 });

test("a session with a launcher is answered when its agent answers, and its end leaves nothing", async () => {
  const started = await launch({ files: { "notes/hello.txt": "hello" } });
  const { agent, sandbox } = started.body;
  const answered = await health(agent.url, agent.password);
  const refused = await health(agent.url, "wrong");
  const file = await (await gateway.provider.find("s1")).readFile("notes/hello.txt");
  const ended = await end();

  expect([started.status, sandbox.state, started.body.state]).toEqual([201, "ready", "active"]);
  expect(started.body.api_key).toBeUndefined();
  expect([answered.status, refused.status, Buffer.from(file).toString()]).toEqual([200, 401, "hello"]);
  expect([ended.body.state, ended.body.sandbox.state]).toEqual(["ended", "gone"]);
  await nothingIsLeft();
});

test("without wait the answer comes at once, and the events tell how the launch goes until the end", async () => {
  gateway.agentArguments = ["--delay", "300"];
  const started = await gateway.call("POST", "/v1/sessions", { session_id: "s1", org_id: "org_a", launcher: "local" });
  const whileLaunching = await eventTypes("/v1/sessions/s1/events?until=ready");
  const { state } = (await get()).sandbox;
  await end();
  const all = await gateway.call("GET", "/v1/sessions/s1/events");
  const ids = [...String(all.body).matchAll(/^id: (.*)$/gm)].map(([, id]) => id);
  const rest = await gateway.call("GET", "/v1/sessions/s1/events", undefined, { "last-event-id": ids.at(-2) ?? "" });
  const nothing = await gateway.call("GET", "/v1/sessions/s1/events", undefined, { "last-event-id": ids.at(-1) ?? "" });

  expect([started.status, started.body.sandbox.state, started.body.agent.url]).toEqual([202, "launching", null]);
  expect(whileLaunching).toEqual(["key_minted", "creating", "created", "starting_agent", "waiting_for_agent", "ready"]);
  expect(state).toBe("ready");
  expect(rest.body).toMatch(/^event: ended\ndata: .*\nid: \d+\n\n$/);
  expect([nothing.status, nothing.body]).toEqual([204, undefined]);
});

test("a launch that fails says why, ends its session and leaves neither sandbox nor key", async () => {
  gateway.agentArguments = ["--exit", "3"];
  const failed = await launch();
  const session = await get();

  expect([failed.status, failed.body.error.code]).toEqual([504, "sandbox_not_ready"]);
  expect(session).toMatchObject({ state: "ended", failure: { code: "sandbox_not_ready" }, sandbox: { state: "gone" } });
  expect(await eventTypes()).toEqual(expect.arrayContaining(["failed", "ended"]));
  await nothingIsLeft();
});

test("what an agent writes is read while it runs, and its last words stay with a launch that failed, without what it was given", async () => {
  gateway.agentArguments = ["--say", "$ORG_SECRET and a line\nanother line"];
  await launch({ secrets: { ORG_SECRET: "value-of-the-organization" } });
  const log = await gateway.call("GET", "/v1/sessions/s1/log");
  const short = await gateway.call("GET", "/v1/sessions/s1/log?bytes=5");
  await end();
  const gone = await gateway.call("GET", "/v1/sessions/s1/log");
  gateway.agentArguments = ["--say", "$ORG_SECRET is wrong", "--exit", "3"];
  await launch({ session_id: "s2", secrets: { ORG_SECRET: "value-of-the-organization" } });
  const events = String((await gateway.call("GET", "/v1/sessions/s2/events")).body);

  expect([log.status, log.body, short.body]).toEqual([200, "value-of-the-organization and a line\nanother line\n", "line\n"]);
  expect([gone.status, gone.body.error.code]).toEqual([409, "session_not_ready"]);
  expect(events).toContain('"agent_log":"… is wrong"');
  expect(events).not.toContain("value-of-the-organization");
});

test("a session that is ended while it is launched leaves nothing", async () => {
  gateway.agentArguments = ["--delay", "10000"];
  const starting = launch();
  await until(async () => (await get())?.sandbox?.step === "waiting_for_agent");
  const ended = await end();
  const started = await starting;

  expect([ended.status, started.body.error.code]).toEqual([200, "sandbox_launch_cancelled"]);
  expect((await get()).failure).toBeNull();
  await nothingIsLeft();
});

test("sessions F4: a launch that takes longer than a launch may is ended, and says so", async () => {
  gateway.agentArguments = ["--delay", "600000"];
  const { db } = gateway.database;
  // Longer than a test may take: nothing but the launch's own deadline can end it.
  const launcher = new SessionLauncher({
    db,
    providers: new Map([["local", gateway.provider]]),
    command: gateway.launcher.command,
    readyTimeoutMs: 600_000,
    launchTimeoutMs: 1_500,
  });
  const hasty = await serveGateway(
    db,
    { adminUrl: gateway.proxy.url, baseUrl: "https://llm.example.com/v1", masterKey: gateway.proxy.masterKey },
    undefined,
    launcher,
  );
  const failed = await hasty.call("POST", "/v1/sessions?wait=true", { session_id: "s1", org_id: "org_a", launcher: "local" });
  await hasty.stop();

  expect([failed.status, failed.body.error.code]).toEqual([504, "sandbox_launch_timeout"]);
  expect(await get()).toMatchObject({ state: "ended", failure: { code: "sandbox_launch_timeout" } });
  await nothingIsLeft();
});

test("a paused session has no sandbox and no key, and comes back with its files and new ones of both", async () => {
  const first = (await launch()).body;
  await (await gateway.provider.find("s1")).writeFiles({ "work.txt": "half done" });
  const paused = await gateway.call("POST", "/v1/sessions/s1/pause");
  await nothingIsLeft();
  const resumed = await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  const file = await (await gateway.provider.find("s1")).readFile("work.txt");
  const again = await gateway.call("POST", "/v1/sessions/s1/resume", {});

  expect([paused.status, paused.body.sandbox.state, paused.body.state]).toEqual([200, "paused", "active"]);
  expect([resumed.status, resumed.body.resumed, Buffer.from(file).toString()]).toEqual([201, true, "half done"]);
  expect(resumed.body.agent.password).not.toBe(first.agent.password);
  expect([again.status, again.body.error.code]).toEqual([409, "session_not_ready"]);
  expect(gateway.proxy.keys.size).toBe(1);
  await end();
  await nothingIsLeft();
});

test("a resumed session has its new key before one that a dead gateway left goes, and only the new one afterwards", async () => {
  await launch();
  await gateway.call("POST", "/v1/sessions/s1/pause");
  const left = await gateway.keys.mint({ sessionId: "s1", orgId: "org_a", models: [], metadata: {} });
  const before = gateway.proxy.requests.length;
  await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  const changes = gateway.proxy.requests
    .slice(before)
    .map(({ path }) => path)
    .filter((path) => /generate|delete/.test(path));

  expect(changes).toEqual(["/key/generate", "/key/delete"]);
  expect([gateway.proxy.keys.size, gateway.proxy.keys.has(left.keyHash), gateway.proxy.keys.has((await get()).key_hash)]).toEqual([
    1,
    false,
    true,
  ]);
});

test("a resume that fails leaves the session paused, without a key, and can be tried again", async () => {
  await launch();
  await gateway.call("POST", "/v1/sessions/s1/pause");
  gateway.agentArguments = ["--exit", "3"];
  const failed = await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  await until(async () => (await get()).sandbox.state === "paused");
  await nothingIsLeft();
  gateway.agentArguments = [];
  const resumed = await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});

  expect([failed.status, resumed.status]).toEqual([504, 201]);
});

/** As a session's requests leave it. */
const spend = (usd: string, sessionId = "s1") => insertSpendRows(gateway.database.db, [{ orgId: "org_a", sessionId, spendUsd: usd }]);
const pause = () => gateway.call("POST", "/v1/sessions/s1/pause");
const extend = (body: object) => gateway.call("POST", "/v1/sessions/s1/extend", body);
const resume = (body: object) => gateway.call("POST", "/v1/sessions/s1/resume?wait=true", body);

test("sessions F2: a paused session whose budget is spent comes back with its files, a larger budget and more time", async () => {
  await launch({ max_budget_usd: "1", files: { "work.txt": "half done" } });
  await pause();
  await spend("1.25");
  const spent = await resume({});
  const tooSmall = await resume({ max_budget_usd: "1.25" });
  const stillPaused = (await get()).sandbox.state;
  const began = Date.now();
  const resumed = await resume({ max_budget_usd: "3", duration: "2h" });
  const tookMs = Date.now() - began;
  const [key] = [...gateway.proxy.keys.values()] as { max_budget?: number }[];
  const file = await (await gateway.provider.find("s1")).readFile("work.txt");

  expect([spent, tooSmall].map(({ status, body }) => [status, body.error.code, body.error.param])).toEqual([
    [402, "budget_exceeded", "max_budget_usd"],
    [402, "budget_exceeded", "max_budget_usd"],
  ]);
  expect([stillPaused, resumed.status, key?.max_budget, Buffer.from(file).toString()]).toEqual(["paused", 201, 1.75, "half done"]);
  expect((await get()).max_budget_usd).toBe("3");
  // Two hours from some moment of that call, by two clocks of one machine.
  expect(Date.parse(resumed.body.expires_at) - began).toBeGreaterThan(7_199_000);
  expect(Date.parse(resumed.body.expires_at) - began).toBeLessThan(7_201_000 + tookMs);
});

test("sessions F2: a paused session is given its budget beforehand, but no time, of which none runs", async () => {
  await launch({ max_budget_usd: "1" });
  await pause();
  await spend("1.25");
  const [time, tooSmall, extended] = [
    await extend({ duration: "2h", max_budget_usd: "3" }),
    await extend({ max_budget_usd: "1" }),
    await extend({ max_budget_usd: "3" }),
  ];
  const resumed = await resume({});

  expect([time.status, time.body.error.param, tooSmall.body.error.code]).toEqual([400, "duration", "budget_exceeded"]);
  expect([extended.status, extended.body.max_budget_usd, extended.body.sandbox.state, resumed.status]).toEqual([200, "3", "paused", 201]);
});

test("an extension gives the same key more time and another budget", async () => {
  await launch({ duration: "10m", max_budget_usd: "1" });
  const before = await get();
  const extended = await gateway.call("POST", "/v1/sessions/s1/extend", { duration: "2h", max_budget_usd: "3" });
  const tooLong = await gateway.call("POST", "/v1/sessions/s1/extend", { duration: "25h" });
  const [key] = [...gateway.proxy.keys.values()] as { max_budget?: number }[];

  expect(Date.parse(extended.body.expires_at) - Date.parse(before.expires_at)).toBeGreaterThan(6_000_000);
  expect([extended.body.max_budget_usd, key?.max_budget, extended.body.key_hash === before.key_hash]).toEqual(["3", 3, true]);
  expect([tooLong.status, tooLong.body.error.param]).toEqual([400, "duration"]);
});

test("the id of a launched session is not resumed by a start, so its sandbox keeps its key", async () => {
  await launch();
  const launched = await launch();
  const plain = await gateway.call("POST", "/v1/sessions", { session_id: "s1", org_id: "org_a" });

  expect([launched.status, launched.body.error.code, plain.status]).toEqual([409, "session_conflict", 409]);
  expect(gateway.proxy.keys.size).toBe(1);
});

test.each([
  [{ launcher: "modal" }, 400, "launcher_not_configured"],
  [{ secrets: { ANTHROPIC_BASE_URL: "https://elsewhere.example.com" } }, 400, "reserved_variable"],
  [{ secrets: { ANTHROPIC_API_KEY: "sk-ant-api03-1234567890" } }, 400, "provider_key_exposure"],
  [{ repo: { url: "https://user:token@example.com/a.git" } }, 400, "invalid_request"],
  [{ repo: { url: "https://example.com/a.git", ref: "--upload-pack=x" } }, 400, "invalid_request"],
])("%j is refused before there is a session or a key", async (body, status, code) => {
  const refused = await launch(body);

  expect([refused.status, refused.body.error.code]).toEqual([status, code]);
  expect((await gateway.call("GET", "/v1/sessions/s1")).status).toBe(404);
  await nothingIsLeft();
});

test("files, repo and secrets without a launcher are refused, as nobody would put them anywhere", async () => {
  const refused = await gateway.call("POST", "/v1/sessions", { org_id: "org_a", files: { a: "b" } });

  expect([refused.status, refused.body.error.param]).toEqual([400, "launcher"]);
});

test("the same idempotency key and body are answered the same, secrets included, and start one session", async () => {
  const key = { "idempotency-key": "5b0d7c9e-6a0f-4f0e-9d5c-1b2a3c4d5e6f" };
  const body = { org_id: "org_a", launcher: "local" };
  const first = await gateway.call("POST", "/v1/sessions?wait=true", body, key);
  const second = await gateway.call("POST", "/v1/sessions?wait=true", body, key);
  const other = await gateway.call("POST", "/v1/sessions", { ...body, user_id: "ann" }, key);
  const stored = JSON.stringify(await gateway.database.db.selectFrom("session_requests").selectAll().execute());

  expect([first.status, second.status, second.body]).toEqual([201, 201, first.body]);
  expect([other.status, other.body.error.code]).toEqual([409, "idempotency_conflict"]);
  expect((await gateway.provider.list()).length).toBe(1);
  expect(stored).not.toContain(key["idempotency-key"]);
  expect(stored).not.toContain(first.body.agent.password);
});

test("of two requests at once with one idempotency key the second waits its turn, and a failed one is forgotten", async () => {
  const key = { "idempotency-key": "aaaaaaaa-6a0f-4f0e-9d5c-1b2a3c4d5e6f" };
  gateway.agentArguments = ["--exit", "3"];
  const failed = await launch({}, key);
  gateway.agentArguments = [];
  const both = await Promise.all([
    launch({ session_id: "s2" }, { "idempotency-key": "bbbbbbbb-6a0f-4f0e-9d5c-1b2a3c4d5e6f" }),
    launch({ session_id: "s2" }, { "idempotency-key": "bbbbbbbb-6a0f-4f0e-9d5c-1b2a3c4d5e6f" }),
  ]);
  const again = await launch({}, key);

  expect(failed.status).toBe(504);
  expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  // The id was the caller's, and its session has ended.
  expect(again.body.error.code).toBe("session_conflict");
});

test("the reaper ends what only one side knows: a sandbox without session, and a session without sandbox", async () => {
  await launch();
  await launch({ session_id: "s2" });
  await onServer(gateway.database.connectionString, "delete from llm_gateway.gateway_sessions where session_id = 's2'");
  await gateway.provider.terminate((await get()).sandbox.sandbox_id);
  const result = await reap();

  expect(result).toMatchObject({ sandboxes: 1, ended: 1 });
  expect(await get()).toMatchObject({ state: "ended", sandbox: { state: "gone" } });
  expect(await sandboxFolders(gateway.rootFolder)).toEqual([]);
});

test("the reaper ends a session whose time is over, though its sandbox could live on", async () => {
  await launch();
  await onServer(gateway.database.connectionString, "update llm_gateway.gateway_sessions set expires_at = now()");
  await reap();

  expect((await get()).state).toBe("ended");
  await nothingIsLeft();
});

test("the token is never answered", async () => {
  expect(JSON.stringify((await launch()).body)).not.toContain(TOKEN);
});
