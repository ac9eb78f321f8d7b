import { readFile } from "node:fs/promises";
import { onServer } from "@proliferate/db/test-database";
import { type LaunchDependencies, watchAgents, type WatchOptions } from "@proliferate/services/sessions";
import type { WatchResult } from "@proliferate/services/test/internals";
import { AGENT_LOG_PATH, agentAuthorization } from "@proliferate/shared/sandbox";
import { join } from "node:path";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type SandboxGateway, startSandboxGateway, untilNothingIsLeft } from "./sandbox-gateway.ts";

/** Agents that die or hang after they were ready. */

let gateway: SandboxGateway;
beforeAll(async () => {
  gateway = await startSandboxGateway();
});
beforeEach(async () => {
  for (const { id } of await gateway.provider.list()) await gateway.provider.terminate(id);
  for (const { id } of await gateway.provider.listSnapshots()) await gateway.provider.deleteSnapshot(id);
  gateway.agentArguments = [];
  gateway.proxy.reset();
  await onServer(gateway.database.connectionString, "truncate llm_gateway.gateway_sessions, llm_gateway.session_events");
});
afterAll(() => gateway.stop());

const launch = async (body: object = {}) =>
  (await gateway.call("POST", "/v1/sessions?wait=true", { session_id: "s1", org_id: "org_a", launcher: "local", ...body })).body;
const get = async () => (await gateway.call("GET", "/v1/sessions/s1")).body;
const dependencies = (): LaunchDependencies => ({
  db: gateway.database.db,
  keys: gateway.keys,
  sandboxes: gateway.launcher,
  instanceId: 999_999,
});
/** One pass of a gateway without patience, but for the answer of an agent that lives: it may be slow, as the machine is. */
const watch = (options: WatchOptions = {}): Promise<WatchResult> =>
  watchAgents(dependencies(), { everyMs: 0, probeTimeoutMs: patience(10_000), refusedMs: 0, silentMs: 0, readyTimeoutMs: 0, ...options });
/** A pass that meets an agent that is stopped, and will not answer however long it is waited for. */
const STOPPED: WatchOptions = { probeTimeoutMs: 500 };
const pidOfAgent = async (): Promise<number> =>
  Number(await readFile(join(gateway.rootFolder, `sandboxes/s1/home/${AGENT_LOG_PATH}.pid`), "utf8"));
const signal = async (name: NodeJS.Signals): Promise<void> => void process.kill(await pidOfAgent(), name);
const health = ({ url, password }: { url: string; password: string }): Promise<number> =>
  fetch(`${url}/global/health`, {
    headers: { authorization: agentAuthorization(password), connection: "close" },
    signal: AbortSignal.timeout(patience(500)),
  }).then(
    ({ status }) => status,
    () => 0,
  );
const until = (holds: () => Promise<boolean>): Promise<void> => expect.poll(holds).toBe(true);
async function events(): Promise<readonly string[]> {
  const rows = await gateway.database.db.selectFrom("session_events").select("type").orderBy("event_id").execute();
  return rows.map(({ type }) => type).slice(rows.findIndex(({ type }) => type === "ready"));
}

test.each([
  ["was killed", "SIGKILL"],
  ["stands still", "SIGSTOP"],
] as const)(
  "sessions F3: an agent that %s is started again in its sandbox, with its password and its files, and that is said",
  async (_what, name) => {
    const { agent, sandbox } = await launch({ files: { "history.txt": "what was said" } });
    const healthy = await watch();
    await signal(name);
    await until(async () => (await health(agent)) === 0);
    const result = await watch(STOPPED);
    await until(async () => (await health(agent)) === 200);
    const afterwards = await watch();

    expect([healthy, result, afterwards]).toEqual([
      { asked: 1, restarted: 0, failed: 0 },
      { asked: 1, restarted: 1, failed: 0 },
      { asked: 1, restarted: 0, failed: 0 },
    ]);
    expect(await events()).toEqual(["ready", "agent_unreachable", "agent_restarted"]);
    expect((await get()).sandbox).toMatchObject({ state: "ready", sandbox_id: sandbox.sandbox_id, url: agent.url });
    expect(Buffer.from(await (await gateway.provider.find("s1")).readFile("history.txt")).toString()).toBe("what was said");
  },
);

test("sessions F3: a session whose agent cannot be brought back rests with its files, its last words and no key, and comes back", async () => {
  gateway.agentArguments = ["--say", "$ORG_SECRET is what I know"];
  const { agent } = await launch({ secrets: { ORG_SECRET: "value-of-the-organization" }, files: { "work.txt": "half done" } });
  await signal("SIGKILL");
  await until(async () => (await health(agent)) === 0);
  await watch();
  await until(async () => (await health(agent)) === 200);
  await signal("SIGKILL");
  await until(async () => (await health(agent)) === 0);
  const result = await watch();
  const failed = await get();
  const told = await gateway.database.db
    .selectFrom("session_events")
    .select("facts")
    .where("type", "=", "failed")
    .executeTakeFirstOrThrow();
  const keys = gateway.proxy.keys.size;
  const resumed = await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  const work = Buffer.from(await (await gateway.provider.find("s1")).readFile("work.txt")).toString();

  expect(result).toEqual({ asked: 1, restarted: 0, failed: 1 });
  expect([failed.sandbox.state, failed.failure.code, keys]).toEqual(["paused", "agent_unreachable", 0]);
  expect(told.facts).toMatchObject({ code: "agent_unreachable", agent_log: expect.stringContaining("… is what I know") });
  expect(JSON.stringify(told.facts)).not.toContain("value-of-the-organization");
  expect([resumed.status, work, await health(resumed.body.agent), (await get()).failure]).toEqual([201, "half done", 200, null]);
});

test("sessions F3: an agent that is only busy is left alone as long as patience lasts", async () => {
  const { agent } = await launch();
  const pid = await pidOfAgent();
  await signal("SIGSTOP");
  const silent = await watch({ ...STOPPED, silentMs: 600_000 });
  const noted = await gateway.database.db.selectFrom("gateway_sessions").select("agent_silent_since").executeTakeFirstOrThrow();
  await signal("SIGCONT");
  await until(async () => (await health(agent)) === 200);
  await watch({ silentMs: 600_000 });
  const forgotten = await gateway.database.db.selectFrom("gateway_sessions").select("agent_silent_since").executeTakeFirstOrThrow();

  expect([silent.restarted, noted.agent_silent_since, forgotten.agent_silent_since]).toEqual([0, expect.any(Date), null]);
  expect([await pidOfAgent(), await events()]).toEqual([pid, ["ready"]]);
});

test("sessions F3: of several gateways one asks an agent, and one starts it again", async () => {
  const { agent } = await launch();
  await signal("SIGKILL");
  await until(async () => (await health(agent)) === 0);
  const asked = await Promise.all([1, 2, 3].map(() => watch({ everyMs: 60_000 })));
  const noticed = await Promise.all([1, 2, 3].map(() => watch()));
  await until(async () => (await health(agent)) === 200);

  // It had just been ready: nobody asks before its time.
  expect(asked.map((result) => result.asked)).toEqual([0, 0, 0]);
  expect(noticed.reduce((sum, { restarted }) => sum + restarted, 0)).toBe(1);
  expect((await events()).filter((type) => type === "agent_restarted")).toEqual(["agent_restarted"]);
});

test("sessions F3: where a session cannot be paused either it is ended, so that nobody pays for a dead agent", async () => {
  await launch();
  await gateway.database.db.updateTable("gateway_sessions").set({ agent_restarts: 1 }).execute();
  await signal("SIGKILL");
  // A file that its own user cannot read has no snapshot.
  await (await gateway.provider.find("s1")).exec(["sh", "-c", "echo x >closed; chmod 000 closed"]);
  const result = await watch();
  const session = await get();

  expect(result.failed).toBe(1);
  expect([session.state, session.failure.code, gateway.proxy.keys.size]).toEqual(["ended", "agent_unreachable", 0]);
  await untilNothingIsLeft(gateway.rootFolder);
});
