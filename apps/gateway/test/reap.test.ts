import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { ReapOptions, ReapResult } from "@proliferate/services/test/internals";
import { reapSessions, SessionLauncher, type StepListener } from "@proliferate/services/sessions";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { withDeadline } from "@proliferate/shared/sandbox";
import { serveGateway } from "./test-gateway.ts";
import { type RepositoryServer, serveSilence } from "./repository-server.ts";
import { leftBehind, type SandboxGateway, startSandboxGateway, untilNothingIsLeft } from "./sandbox-gateway.ts";

/** Gateways that are dead: nobody holds the process locks of these ids. */
const DEAD = [900_001, 900_002, 900_003, 900_004] as const;

let gateway: SandboxGateway;
beforeAll(async () => {
  gateway = await startSandboxGateway();
});
beforeEach(async () => {
  for (const { id } of await gateway.provider.list()) await gateway.provider.terminate(id);
  gateway.proxy.reset();
  for (const table of ["gateway_sessions", "session_events"] as const) await gateway.database.db.deleteFrom(table).execute();
});
afterAll(() => gateway.stop());

const launch = (sessionId: string) =>
  gateway.call(
    "POST",
    "/v1/sessions?wait=true",
    { session_id: sessionId, org_id: "org_a", launcher: "local" },
    { "idempotency-key": randomUUID() },
  );
const stateOf = async (sessionId: string): Promise<string> => {
  const { body } = await gateway.call("GET", `/v1/sessions/${sessionId}`);
  return body.state === "active" ? body.sandbox.state : body.state;
};

/** One pass of a gateway of its own. */
function reap(options: ReapOptions = {}, onStep?: StepListener): Promise<ReapResult> {
  const { db } = gateway.database;
  const sandboxes = new SessionLauncher({ db, providers: new Map([["local", gateway.provider]]), onStep });
  return reapSessions({ db, keys: gateway.keys, sandboxes, instanceId: 999_999 }, options);
}

/** As a gateway leaves a session when it dies at this step of its launch. */
const leaveAt = (sessionId: string, step: string, instanceId: number): Promise<unknown> =>
  gateway.database.db
    .updateTable("gateway_sessions")
    .set({ sandbox_state: "launching", sandbox_step: step, instance_id: instanceId })
    .where("session_id", "=", sessionId)
    .execute();

test("a session that one gateway has completed is not ended by another that had listed it before", async () => {
  // As many as a pass repairs at once, so that the last one is listed and not yet looked at.
  const first = ["s1", "s2", "s3"];
  for (const sessionId of [...first, "s4"]) await launch(sessionId);
  for (const [index, sessionId] of first.entries()) await leaveAt(sessionId, "created", DEAD[index] ?? 0);
  await leaveAt("s4", "waiting_for_agent", DEAD[3]);
  const held = new Set<string>();
  const goOn = Promise.withResolvers<void>();
  const slow = reap({}, async (step, sessionId) => {
    if (step !== "keys_revoked") return;
    held.add(sessionId);
    await goOn.promise;
  });
  await expect.poll(() => held.size).toBe(first.length);
  const quick = await reap();
  goOn.resolve();
  await slow;

  expect(quick).toMatchObject({ completed: 1, ended: 0 });
  expect(await Promise.all([...first, "s4"].map(stateOf))).toEqual(["ended", "ended", "ended", "ready"]);
});

test("an end whose gateway died goes on at once, and one whose gateway lives is left to it", async () => {
  for (const sessionId of ["s1", "s2"]) await launch(sessionId);
  const [{ instance_id: alive } = { instance_id: null }] = await gateway.database.db
    .selectFrom("gateway_sessions")
    .select("instance_id")
    .execute();
  expect(alive).toBeNull();
  await gateway.database.db
    .updateTable("gateway_sessions")
    .set({ state: "ending", instance_id: DEAD[0] })
    .where("session_id", "=", "s1")
    .execute();
  await gateway.database.db
    .updateTable("gateway_sessions")
    .set({ state: "ending", instance_id: 999_999 })
    .where("session_id", "=", "s2")
    .execute();
  const result = await reap();

  expect(result).toMatchObject({ ended: 1 });
  expect([await stateOf("s1"), await stateOf("s2")]).toEqual(["ended", "ending"]);
  expect(await reap({ abandonedMs: 0 })).toMatchObject({ ended: 1 });
});

test("a launch whose gateway died while its key was minted is ended when no mint can be under way any more", async () => {
  await launch("s1");
  await leaveAt("s1", "claimed", DEAD[0]);
  const tooEarly = await reap();
  await gateway.database.db
    .updateTable("gateway_sessions")
    .set({ changed_at: new Date(Date.now() - 6_000) })
    .where("session_id", "=", "s1")
    .execute();
  const result = await reap();

  expect([tooEarly.ended, result.ended, await stateOf("s1"), gateway.proxy.keys.size]).toEqual([0, 1, "ended", 0]);
});

test("half-made sandboxes and forgotten snapshots of sessions that are over are removed, those of living sessions are kept", async () => {
  await launch("s1");
  await gateway.call("POST", "/v1/sessions/s1/pause");
  await launch("s2");
  await gateway.database.db
    .updateTable("gateway_sessions")
    .set({ sandbox_state: "pausing", instance_id: 999_999 })
    .where("session_id", "=", "s2")
    .execute();
  const random = "0123456789abcdef";
  for (const folder of [
    `staging/gone~${random}`,
    `snapshots/gone~snapshot-${random}${random}`,
    `snapshots/s1~snapshot-${random}${random}`,
    `snapshots/s2~snapshot-${random}${random}`,
  ]) {
    await mkdir(join(gateway.rootFolder, folder), { recursive: true });
  }
  const result = await reap();

  expect(result).toMatchObject({ sandboxes: 1, snapshots: 2 });
  expect(
    (await leftBehind(gateway.rootFolder))
      .filter((file) => /^(snapshots|staging)/.test(file))
      .map((file) => file.replace(/-[0-9a-f]+$/, ""))
      .sort(),
  ).toEqual(["snapshots/s1~snapshot", "snapshots/s2~snapshot"]);
});

const expire = (...sessionIds: readonly string[]): Promise<unknown> =>
  gateway.database.db
    .updateTable("gateway_sessions")
    .set({ expires_at: new Date(0) })
    .where("session_id", "in", sessionIds)
    .execute();

test("sessions F4b: ends that hang delay nobody's", async () => {
  const hanging = ["s1", "s2", "s3"];
  for (const sessionId of [...hanging, "s4"]) await launch(sessionId);
  await expire(...hanging, "s4");
  const goOn = Promise.withResolvers<void>();
  const pass = reap({}, (step, sessionId) => (step === "keys_revoked" && hanging.includes(sessionId) ? goOn.promise : undefined));
  await expect.poll(() => stateOf("s4")).toBe("ended");
  const whileTheyHang = await Promise.all(hanging.map(stateOf));
  goOn.resolve();
  await pass;

  expect(whileTheyHang).toEqual(["ending", "ending", "ending"]);
  expect(await Promise.all(hanging.map(stateOf))).toEqual(["ended", "ended", "ended"]);
});

test("sessions F4b: sessions of a tenant whose repository's server stays silent are ended beside those of another", async () => {
  const silent: RepositoryServer = await serveSilence();
  const hanging = ["s1", "s2", "s3"];
  const starts = hanging.map((sessionId) =>
    gateway.call("POST", "/v1/sessions?wait=true", {
      session_id: sessionId,
      org_id: "org_x",
      launcher: "local",
      repo: { url: silent.url },
    }),
  );
  await launch("s4");
  await expect.poll(() => silent.requests.length).toBeGreaterThanOrEqual(3);
  await expire(...hanging, "s4");
  // The gateway that launches them reaps, too.
  const { db } = gateway.database;
  const began = performance.now();
  await withDeadline(reapSessions({ db, keys: gateway.keys, sandboxes: gateway.launcher, instanceId: 999_999 }), 20_000);
  const tookMs = performance.now() - began;
  await Promise.all(starts);
  await silent.stop();

  expect(await Promise.all([...hanging, "s4"].map(stateOf))).toEqual(["ended", "ended", "ended", "ended"]);
  expect(tookMs).toBeLessThan(patience(10_000));
  await untilNothingIsLeft(gateway.rootFolder);
});

test("sessions F5: a gateway without a session's launcher neither ends, pauses nor resumes it, and changes nothing", async () => {
  for (const sessionId of ["s1", "s2"]) await launch(sessionId);
  await gateway.call("POST", "/v1/sessions/s2/pause");
  const { db } = gateway.database;
  const rows = (): Promise<unknown> => db.selectFrom("gateway_sessions").selectAll().orderBy("session_id").execute();
  const before = await rows();
  const keysBefore = [...gateway.proxy.keys.keys()];
  const other = await serveGateway(db, {
    adminUrl: gateway.proxy.url,
    baseUrl: "https://llm.example.com/v1",
    masterKey: gateway.proxy.masterKey,
  });
  const answers = [
    await other.call("DELETE", "/v1/sessions/s1"),
    await other.call("POST", "/v1/sessions/s1/pause"),
    await other.call("POST", "/v1/sessions/s2/resume", {}),
    await other.call("DELETE", "/v1/sessions/s2"),
  ];
  await other.stop();

  expect(answers.map(({ status, body }) => [status, body.error.code])).toEqual(answers.map(() => [400, "launcher_not_configured"]));
  expect([await rows(), [...gateway.proxy.keys.keys()]]).toEqual([before, keysBefore]);
  expect((await gateway.call("DELETE", "/v1/sessions/s1")).status).toBe(200);
});

test("sessions F5: the repairs of a gateway without a session's launcher leave it to one that has it", async () => {
  for (const sessionId of ["s1", "s2", "s3"]) await launch(sessionId);
  const { db } = gateway.database;
  await leaveAt("s1", "created", DEAD[0]);
  await db.updateTable("gateway_sessions").set({ state: "ending", instance_id: DEAD[1] }).where("session_id", "=", "s2").execute();
  await expire("s3");
  const rows = (): Promise<unknown> => db.selectFrom("gateway_sessions").selectAll().orderBy("session_id").execute();
  const before = await rows();
  const problems: unknown[] = [];
  const result = await reapSessions(
    { db, keys: gateway.keys, sandboxes: new SessionLauncher({ db, providers: new Map() }), instanceId: 999_998 },
    { abandonedMs: 0, onProblem: (problem) => problems.push(problem) },
  );

  expect([result.ended, problems, await rows()]).toEqual([0, [], before]);
  expect(await reap()).toMatchObject({ ended: 3 });
});
