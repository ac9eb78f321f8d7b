import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { settle } from "@proliferate/services/settlement";
import { syncSpend } from "@proliferate/services/billing";
import { ScriptedSink } from "@proliferate/services/test/test-sink";
import { priceUsage } from "@proliferate/metering/pricing";
import { findPrice } from "@proliferate/metering/test/find-price";
import { addDecimals, compareDecimals, decimalFromPicoUsd, multiplyDecimals } from "@proliferate/shared/money";
import { createLocalSandboxProvider } from "@proliferate/shared/sandbox";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Engine, startEngine } from "./engine.ts";
import { GatewayProcess } from "./gateway-process.ts";
import { STAND_IN_AGENT, untilNothingIsLeft } from "./sandbox-gateway.ts";

/** Where each session stands when its gateway is killed, while its agent calls the model without a pause; and what it is afterwards. */
const SESSIONS = {
  "launch-waiting_for_agent": "ready",
  "launch-ready": "ready",
  "running-nothing": "ready",
  "end-ending": "ended",
  "end-keys_revoked": "ended",
  "end-sandbox_removed": "ended",
  "pause-snapshot_taken": "ready",
  "pause-snapshotted": "paused",
  "pause-pause_revoked": "paused",
} as const;
const sessionIds = Object.keys(SESSIONS) as (keyof typeof SESSIONS)[];
const stepOf = (sessionId: string): string => sessionId.replace(/^\w+-/, "");
const orgOf = (sessionId: string): string => `org_${sessionId}`;
const idsOf = (action: string): readonly string[] => sessionIds.filter((sessionId) => sessionId.startsWith(action));

let engine: Engine;
let rootFolder: string;
const gateways: GatewayProcess[] = [];
beforeAll(async () => {
  engine = await startEngine({ frameGapMs: 5 });
  rootFolder = await mkdtemp(join(tmpdir(), "gateway-kill-"));
});
afterAll(async () => {
  for (const gateway of gateways) await gateway.kill();
  const provider = createLocalSandboxProvider({ rootFolder, detached: true });
  for (const { id } of await provider.list()) await provider.terminate(id);
  await engine.stop();
  await rm(rootFolder, { recursive: true, force: true });
});

async function start(): Promise<GatewayProcess> {
  const { url, adminUrl, masterKey } = engine.settings;
  const gateway = await GatewayProcess.start({
    DATABASE_URL: engine.database.connectionString,
    LLM_PROXY_URL: url,
    LLM_PROXY_ADMIN_URL: adminUrl,
    LLM_PROXY_MASTER_KEY: masterKey,
    GATEWAY_DEFAULT_MODEL: "claude-haiku-4-5",
    SANDBOX_LAUNCHERS: "local",
    SANDBOX_ROOT_FOLDER: rootFolder,
    OPENCODE_COMMAND: JSON.stringify([...STAND_IN_AGENT, "--ask", "100000"]),
  });
  gateways.push(gateway);
  return gateway;
}

const launch = (gateway: GatewayProcess, sessionId: string) =>
  gateway.call(
    "POST",
    "/v1/sessions?wait=true",
    { session_id: sessionId, org_id: orgOf(sessionId), launcher: "local", max_budget_usd: "5" },
    { "idempotency-key": `idempotency-key-of-${sessionId}` },
  );

async function callsOf(sessionId: string): Promise<number> {
  const rows = await engine.database.db.selectFrom("LiteLLM_SpendLogs").select("request_id").where("user", "=", sessionId).execute();
  return rows.length;
}

/** Each of them makes some calls from now on. */
async function letThemWork(ids: readonly string[]): Promise<void> {
  const before = await Promise.all(ids.map(callsOf));
  await until(async () => (await Promise.all(ids.map(callsOf))).every((calls, index) => calls >= (before[index] ?? 0) + 3));
}

async function stateOf(sessionId: string): Promise<string> {
  const row = await engine.database.db
    .selectFrom("gateway_sessions")
    .select(["state", "sandbox_state"])
    .where("session_id", "=", sessionId)
    .executeTakeFirstOrThrow();
  return row.state === "active" ? (row.sandbox_state ?? "") : row.state;
}

async function killWhileAllWork(): Promise<void> {
  const gateway = await start();
  const existing = sessionIds.filter((sessionId) => !sessionId.startsWith("launch"));
  expect((await Promise.all(existing.map((sessionId) => launch(gateway, sessionId)))).map(({ status }) => status)).toEqual(
    existing.map(() => 201),
  );
  await letThemWork(existing);
  await gateway.hold(Object.fromEntries(sessionIds.map((sessionId) => [sessionId, stepOf(sessionId)])));
  const broken = Promise.allSettled([
    ...idsOf("launch").map((sessionId) => launch(gateway, sessionId)),
    ...idsOf("end").map((sessionId) => gateway.call("DELETE", `/v1/sessions/${sessionId}`)),
    ...idsOf("pause").map((sessionId) => gateway.call("POST", `/v1/sessions/${sessionId}/pause`)),
  ]);
  await until(() => gateway.held.size === sessionIds.length - 1);
  await letThemWork(["running-nothing", "end-ending", "pause-snapshot_taken", "pause-snapshotted", ...idsOf("launch")]);
  await gateway.kill();
  await broken;
}

test("agents that call a model while their gateway is killed at any step are billed for exactly what the provider served", async () => {
  await killWhileAllWork();
  const gateway = await start();
  await until(async () =>
    (await Promise.all(sessionIds.map(async (sessionId) => (await stateOf(sessionId)) === SESSIONS[sessionId]))).every(Boolean),
  );
  await letThemWork(sessionIds.filter((sessionId) => SESSIONS[sessionId] === "ready"));
  const ended = await Promise.all(sessionIds.map((sessionId) => gateway.call("DELETE", `/v1/sessions/${sessionId}`)));
  expect(ended.map(({ status }) => status).filter((status) => status !== 200 && status !== 202)).toEqual([]);
  await until(async () => (await Promise.all(sessionIds.map(stateOf))).every((state) => state === "ended"));
  const { db } = engine.database;
  await until(async () => (await db.selectFrom("request_attempts").select("attempt_id").execute()).length === 0);
  // What a killed gateway had made and not recorded is found by the next one's upkeep, in its own time.
  await untilNothingIsLeft(rootFolder);
  expect(await db.selectFrom("LiteLLM_VerificationToken").select("token").execute()).toEqual([]);

  // What the provider served, and the spend rows: one for each call, exact where the call came to its end. An agent makes one
  // call at a time, so at most one of each was cut off, and is estimated by what was seen of it.
  const rows = await db.selectFrom("LiteLLM_SpendLogs").selectAll().execute();
  const served = engine.provider.requests.filter(({ route }) => route === "messages");
  const price = findPrice("anthropic", "claude-haiku-4-5-20251001", new Date());
  if (!price) throw new Error("the model of this test has no price");
  const wholeCost = new Map(served.map((entry) => [entry.responseId, entry.usage && decimalFromPicoUsd(priceUsage(price, entry.usage))]));
  const [cutOff, whole] = [true, false].map((estimated) => rows.filter((row) => row.metadata["estimated"] === estimated));
  expect(rows.length).toBe(served.length);
  expect(whole?.map((row) => row.spend)).toEqual(whole?.map((row) => wholeCost.get(String(row.metadata["provider_response_id"]))));
  expect(cutOff?.length).toBeLessThanOrEqual(sessionIds.length);
  expect(
    cutOff?.filter((row) => compareDecimals(row.spend, wholeCost.get(String(row.metadata["provider_response_id"])) ?? row.spend) > 0),
  ).toEqual([]);

  await syncSpend(db, { rate: { markup: "3", creditsPerUsd: "100" } });
  await settle(db, { sink: new ScriptedSink() });
  const batches = await db.selectFrom("settlement_batches").select(["org_id", "spend_usd", "credits", "state"]).execute();
  const spentBy = (orgId: string): string => addDecimals(...rows.filter((row) => row.team_id === orgId).map((row) => row.spend));
  expect(batches.map((batch) => batch.org_id).sort()).toEqual(sessionIds.map(orgOf).sort());
  for (const { org_id: orgId, spend_usd: spendUsd, state } of batches) {
    expect([orgId, compareDecimals(spendUsd, spentBy(orgId)), state]).toEqual([orgId, 0, "delivered"]);
  }
  const events = await db.selectFrom("billing_events").select("credits").execute();
  expect(
    compareDecimals(
      addDecimals(...events.map(({ credits }) => credits)),
      multiplyDecimals(addDecimals(...rows.map((row) => row.spend)), "300"),
    ),
  ).toBe(0);
});
