import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type ReapOptions, reapSessions, type ReapResult } from "@proliferate/services/sessions/reap-sessions";
import { SessionLauncher, type StepListener } from "@proliferate/services/sessions/session-launcher";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { leftBehind, type SandboxGateway, startSandboxGateway } from "./sandbox-gateway.ts";

/** Gateways that are dead: nobody holds the process locks of these ids. */
const DEAD = [900_001, 900_002] as const;

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

const launch = (sessionId: string) => gateway.call("POST", "/v1/sessions?wait=true", { session_id: sessionId, org_id: "org_a", launcher: "local" }, { "idempotency-key": randomUUID() });
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
  gateway.database.db.updateTable("gateway_sessions").set({ sandbox_state: "launching", sandbox_step: step, instance_id: instanceId }).where("session_id", "=", sessionId).execute();

test("a session that one gateway has completed is not ended by another that had listed it before", async () => {
  for (const sessionId of ["s1", "s2"]) await launch(sessionId);
  await leaveAt("s1", "created", DEAD[0]);
  await leaveAt("s2", "waiting_for_agent", DEAD[1]);
  const held = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const slow = reap({}, async (step) => {
    if (step !== "keys_revoked") return;
    held.resolve();
    await goOn.promise;
  });
  await held.promise;
  const quick = await reap();
  goOn.resolve();
  await slow;

  expect(quick).toMatchObject({ completed: 1, ended: 0 });
  expect([await stateOf("s1"), await stateOf("s2")]).toEqual(["ended", "ready"]);
});

test("an end whose gateway died goes on at once, and one whose gateway lives is left to it", async () => {
  for (const sessionId of ["s1", "s2"]) await launch(sessionId);
  const [{ instance_id: alive } = { instance_id: null }] = await gateway.database.db.selectFrom("gateway_sessions").select("instance_id").execute();
  expect(alive).toBeNull();
  await gateway.database.db.updateTable("gateway_sessions").set({ state: "ending", instance_id: DEAD[0] }).where("session_id", "=", "s1").execute();
  await gateway.database.db.updateTable("gateway_sessions").set({ state: "ending", instance_id: 999_999 }).where("session_id", "=", "s2").execute();
  const result = await reap();

  expect(result).toMatchObject({ ended: 1 });
  expect([await stateOf("s1"), await stateOf("s2")]).toEqual(["ended", "ending"]);
  expect(await reap({ abandonedMs: 0 })).toMatchObject({ ended: 1 });
});

test("a launch whose gateway died while its key was minted is ended when no mint can be under way any more", async () => {
  await launch("s1");
  await leaveAt("s1", "claimed", DEAD[0]);
  const tooEarly = await reap();
  await gateway.database.db.updateTable("gateway_sessions").set({ changed_at: new Date(Date.now() - 6_000) }).where("session_id", "=", "s1").execute();
  const result = await reap();

  expect([tooEarly.ended, result.ended, await stateOf("s1"), gateway.proxy.keys.size]).toEqual([0, 1, "ended", 0]);
});

test("half-made sandboxes and forgotten snapshots of sessions that are over are removed, those of living sessions are kept", async () => {
  await launch("s1");
  await gateway.call("POST", "/v1/sessions/s1/pause");
  await launch("s2");
  await gateway.database.db.updateTable("gateway_sessions").set({ sandbox_state: "pausing", instance_id: 999_999 }).where("session_id", "=", "s2").execute();
  const random = "0123456789abcdef";
  for (const folder of [`staging/gone~${random}`, `snapshots/gone~snapshot-${random}${random}`, `snapshots/s1~snapshot-${random}${random}`, `snapshots/s2~snapshot-${random}${random}`]) {
    await mkdir(join(gateway.rootFolder, folder), { recursive: true });
  }
  const result = await reap();

  expect(result).toMatchObject({ sandboxes: 1, snapshots: 2 });
  expect((await leftBehind(gateway.rootFolder)).filter((file) => /^(snapshots|staging)/.test(file)).map((file) => file.replace(/-[0-9a-f]+$/, "")).sort()).toEqual(["snapshots/s1~snapshot", "snapshots/s2~snapshot"]);
});
