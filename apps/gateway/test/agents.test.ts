import { reapSessions } from "@proliferate/services/sessions";
import { addDecimals, compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Engine, startEngine } from "./engine.ts";
import { serveSandboxes, type ServedSandboxes, untilNothingIsLeft } from "./sandbox-gateway.ts";

/** Agents in local sandboxes that call a model through our own engine. */

let engine: Engine;
let gateway: ServedSandboxes;
beforeAll(async () => {
  engine = await startEngine();
  gateway = await serveSandboxes(engine.database.db, engine.settings);
});
afterAll(async () => {
  await gateway.stop();
  await engine.stop();
});

const launch = (sessionId: string, body: object = {}) =>
  gateway.call("POST", "/v1/sessions?wait=true", {
    session_id: sessionId,
    org_id: "org_a",
    model: "claude-haiku-4-5",
    launcher: "local",
    ...body,
  });
const rowsOf = (sessionId: string) =>
  engine.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().where("user", "=", sessionId).execute();
const keysOf = (sessionId: string) =>
  engine.database.db.selectFrom("LiteLLM_VerificationToken").selectAll().where("user_id", "=", sessionId).execute();
const attemptsOf = (sessionId: string) =>
  engine.database.db.selectFrom("request_attempts").selectAll().where("user_id", "=", sessionId).execute();

test("a pause takes the key away at once, settles the call that is under way by what was seen of it, and a resume goes on within what is left", async () => {
  gateway.agentArguments = ["--ask", "2"];
  // The second call is a stream that comes to no end by itself.
  engine.provider.scriptNext({}, { fault: { kind: "hang_mid_stream", afterFrames: 6 }, usage: { inputTokens: 1000 } });
  await launch("s1", { max_budget_usd: "0.5" });
  const hanging = await engine.provider.waitFor(({ framesSent, stream }) => stream && framesSent === 6);
  const during = (await gateway.call("GET", "/v1/sessions/s1/cost")).body;
  const paused = await gateway.call("POST", "/v1/sessions/s1/pause");
  const keysWhilePaused = await keysOf("s1");
  await until(async () => (await attemptsOf("s1")).length === 0);
  const rows = await rowsOf("s1");
  const spentUsd = addDecimals(...rows.map(({ spend }) => spend));
  const after = (await gateway.call("GET", "/v1/sessions/s1/cost")).body;
  gateway.agentArguments = [];
  await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  const [key] = await keysOf("s1");

  expect([paused.status, hanging.outcome, keysWhilePaused]).toEqual([200, "client_gone", []]);
  expect(rows.map(({ metadata }) => metadata["estimated"]).sort()).toEqual([false, true]);
  // 1,000 tokens in at a millionth of a dollar, and what was seen of the answer.
  const cutOff = rows.find(({ metadata }) => metadata["estimated"] === true);
  expect([compareDecimals(cutOff?.spend ?? "0", "0.001") >= 0, compareDecimals(cutOff?.spend ?? "1", "0.0011") < 0]).toEqual([true, true]);
  expect(during).toMatchObject({ requests: 1, by_model: [expect.objectContaining({ requests: 1 })] });
  expect(compareDecimals(during.reserved_usd, "0")).toBe(1);
  expect(after).toMatchObject({ requests: 2, spend_usd: spentUsd, reserved_usd: "0" });
  expect(key?.max_budget).toBe(subtractDecimals("0.5", spentUsd));
  await gateway.call("DELETE", "/v1/sessions/s1");
  await untilNothingIsLeft(gateway.rootFolder);
});

test("a key that was minted for a session after its end is revoked", async () => {
  await launch("s2");
  await gateway.call("DELETE", "/v1/sessions/s2");
  await gateway.keys.mint({ sessionId: "s2", orgId: "org_a", models: [], metadata: {} });
  const { db } = engine.database;
  await db
    .updateTable("gateway_sessions")
    .set({ ended_at: new Date(Date.now() - 61_000) })
    .where("session_id", "=", "s2")
    .execute();
  expect(await keysOf("s2")).toHaveLength(1);
  const result = await reapSessions({ db, keys: gateway.keys, sandboxes: gateway.launcher, instanceId: 999_999 });

  expect([result.keys, await keysOf("s2")]).toEqual([1, []]);
});
