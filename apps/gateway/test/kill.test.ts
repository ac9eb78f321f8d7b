import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { settle } from "@proliferate/services/settlement";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { ScriptedSink } from "@proliferate/services/test/test-sink";
import {
  AGENT_LOG_PATH,
  agentAuthorization,
  createLocalSandboxProvider,
  type LocalSandboxProvider,
  probeAgent,
} from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { seededRandom } from "@proliferate/testing/test-random";
import { until } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, expect, test } from "vitest";
import { GatewayProcess, type ProcessAnswer } from "./gateway-process.ts";
import { STAND_IN_AGENT, sandboxFolders, takenPorts, untilNothingIsLeft } from "./sandbox-gateway.ts";

type Outcome = "ended" | "ready" | "paused";
type Action =
  | "launch"
  | "end"
  | "pause"
  | "resume"
  | "extend"
  | "launchUnheard"
  | "resumeUnheard"
  | "resumeLarger"
  | "agentLost"
  | "agentGivenUp";

/** Every step of every action at which the gateway may die, and what the session is once another one has looked at it. */
const STEPS: Readonly<Record<Action, Readonly<Record<string, Outcome>>>> = {
  launch: {
    claimed: "ended",
    minted: "ended",
    recorded: "ended",
    key_minted: "ended",
    creating: "ended",
    created: "ended",
    starting_agent: "ended",
    waiting_for_agent: "ready",
    ready: "ready",
  },
  end: { ending: "ended", keys_revoked: "ended", sandbox_removed: "ended", released: "ended" },
  pause: { pausing: "ready", snapshot_taken: "ready", snapshotted: "paused", pause_revoked: "paused", pause_released: "paused" },
  resume: {
    resuming: "paused",
    claimed: "paused",
    minted: "paused",
    recorded: "paused",
    key_minted: "paused",
    creating: "paused",
    created: "paused",
    starting_agent: "paused",
    waiting_for_agent: "ready",
    ready: "ready",
  },
  extend: { extending: "ready", key_extended: "ready" },
  // The caller waited for the agent, without an idempotency key: nobody knows the password.
  launchUnheard: { waiting_for_agent: "ended", ready: "ended" },
  resumeUnheard: { waiting_for_agent: "paused", ready: "paused" },
  // With a larger budget, as the former is spent.
  resumeLarger: {
    resuming: "paused",
    claimed: "paused",
    minted: "paused",
    recorded: "paused",
    created: "paused",
    waiting_for_agent: "ready",
  },
  // Killed by its test: started again, and given up where that was done before.
  agentLost: { agent_unreachable: "ready", agent_killed: "ready", agent_started: "ready", agent_restarted: "ready" },
  agentGivenUp: { giving_up: "paused", failed: "paused", snapshot_taken: "paused", snapshotted: "paused", pause_revoked: "paused" },
};

interface Scenario {
  readonly sessionId: string;
  readonly action: Action;
  readonly step: string;
  readonly outcome: Outcome;
}
const scenarios: readonly Scenario[] = Object.entries(STEPS).flatMap(([action, steps]) =>
  Object.entries(steps).map(([step, outcome]) => ({ sessionId: `${action}-${step}`, action: action as Action, step, outcome })),
);
const idsOf = (is: (scenario: Scenario) => boolean): readonly string[] =>
  scenarios
    .filter(is)
    .map(({ sessionId }) => sessionId)
    .sort();

let database: TestDatabase;
let proxy: LiteLLMStandIn;
let rootFolder: string;
let provider: LocalSandboxProvider;
const gateways: GatewayProcess[] = [];
beforeEach(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
  rootFolder = await mkdtemp(join(tmpdir(), "gateway-kill-"));
  provider = createLocalSandboxProvider({ rootFolder, detached: true });
});
afterEach(async () => {
  for (const gateway of gateways.splice(0)) await gateway.kill();
  for (const { id } of await provider.list()) await provider.terminate(id);
  await proxy.stop();
  await database.drop();
  await rm(rootFolder, { recursive: true, force: true });
});

async function start(holds: Readonly<Record<string, string>> = {}): Promise<GatewayProcess> {
  const variables = {
    DATABASE_URL: database.connectionString,
    LLM_PROXY_URL: proxy.url,
    LLM_PROXY_MASTER_KEY: proxy.masterKey,
    SANDBOX_LAUNCHERS: "local",
    SANDBOX_ROOT_FOLDER: rootFolder,
    OPENCODE_COMMAND: JSON.stringify(STAND_IN_AGENT),
  };
  const gateway = await GatewayProcess.start(variables, holds);
  gateways.push(gateway);
  return gateway;
}

/** The passwords of the agents, by session: only whoever started it is told. */
type Passwords = Map<string, string>;

async function launch(
  gateway: GatewayProcess,
  sessionId: string,
  passwords?: Passwords,
  headers: Readonly<Record<string, string>> = { "idempotency-key": `idempotency-key-of-${sessionId}` },
): Promise<void> {
  const { status, body } = await gateway.call(
    "POST",
    "/v1/sessions?wait=true",
    { session_id: sessionId, org_id: `org_${sessionId}`, launcher: "local", max_budget_usd: "1" },
    headers,
  );
  expect({ sessionId, status }).toEqual({ sessionId, status: 201 });
  passwords?.set(sessionId, body.agent.password);
}

async function pause(gateway: GatewayProcess, sessionId: string): Promise<void> {
  expect(await gateway.call("POST", `/v1/sessions/${sessionId}/pause`)).toMatchObject({ status: 200 });
}

/** A gateway that dies while each session stands at its step. */
async function killAtEveryStep(passwords: Passwords): Promise<void> {
  const gateway = await start();
  // In this order they are repaired, too.
  for (const action of ["pause", "resume", "resumeUnheard", "resumeLarger", "end", "extend", "agentLost", "agentGivenUp"]) {
    await Promise.all(idsOf((scenario) => scenario.action === action).map((sessionId) => launch(gateway, sessionId, passwords)));
  }
  await Promise.all(idsOf(({ action }) => action.startsWith("resume")).map((sessionId) => pause(gateway, sessionId)));
  await insertSpendRows(
    database.db,
    idsOf(({ action }) => action === "resumeLarger").map((sessionId) => ({
      requestId: `spent_${sessionId}`,
      orgId: `org_${sessionId}`,
      sessionId,
      spendUsd: "1",
    })),
  );
  const givenUp = idsOf(({ action }) => action === "agentGivenUp");
  await database.db.updateTable("gateway_sessions").set({ agent_restarts: 1 }).where("session_id", "in", givenUp).execute();
  await gateway.hold(Object.fromEntries(scenarios.map(({ sessionId, step }) => [sessionId, step])));
  const act: Readonly<Record<Action, (sessionId: string) => Promise<unknown>>> = {
    launch: (sessionId) => launch(gateway, sessionId),
    end: (sessionId) => gateway.call("DELETE", `/v1/sessions/${sessionId}`),
    pause: (sessionId) => pause(gateway, sessionId),
    resume: (sessionId) => gateway.call("POST", `/v1/sessions/${sessionId}/resume`, {}),
    extend: (sessionId) => gateway.call("POST", `/v1/sessions/${sessionId}/extend`, { max_budget_usd: "2" }),
    launchUnheard: (sessionId) => launch(gateway, sessionId, undefined, {}),
    resumeUnheard: (sessionId) => gateway.call("POST", `/v1/sessions/${sessionId}/resume?wait=true`, {}),
    resumeLarger: (sessionId) => gateway.call("POST", `/v1/sessions/${sessionId}/resume`, { max_budget_usd: "2" }),
    agentLost: killAgent,
    agentGivenUp: killAgentForGood,
  };
  const broken = Promise.allSettled(scenarios.map(({ sessionId, action }) => act[action](sessionId)));
  await until(() => gateway.held.size === scenarios.length);
  await gateway.kill();
  await broken;
}

/** As an agent dies that was ready; its gateway finds out by itself. */
async function killAgent(sessionId: string): Promise<void> {
  process.kill(Number(await readFile(join(rootFolder, "sandboxes", sessionId, "home", `${AGENT_LOG_PATH}.pid`), "utf8")), "SIGKILL");
}

/** One that was started again before, and has had its time to answer. */
async function killAgentForGood(sessionId: string): Promise<void> {
  await killAgent(sessionId);
  const { agent_url: url } = await database.db
    .selectFrom("gateway_sessions")
    .select("agent_url")
    .where("session_id", "=", sessionId)
    .executeTakeFirstOrThrow();
  await until(async () => (await probeAgent(url ?? "")) === "refused");
  await database.db
    .updateTable("gateway_sessions")
    .set({ agent_silent_since: new Date(0) })
    .where("session_id", "=", sessionId)
    .execute();
}

/** A gateway that dies in the middle of repairing what another one left: the first session that comes to the step. */
async function killWhileRepairing(step: string): Promise<void> {
  const gateway = await start(Object.fromEntries(scenarios.map(({ sessionId }) => [sessionId, step])));
  await until(() => gateway.held.size > 0);
  await gateway.kill();
}

async function states(): Promise<Readonly<Record<string, string>>> {
  const rows = await database.db.selectFrom("gateway_sessions").select(["session_id", "state", "sandbox_state"]).execute();
  return Object.fromEntries(rows.map((row) => [row.session_id, row.state === "active" ? (row.sandbox_state ?? "") : row.state]));
}

/** An end is answered within seconds, and goes on where that was too soon. */
async function areEnded(answers: readonly ProcessAnswer[]): Promise<void> {
  expect(answers.map(({ status }) => status).filter((status) => status !== 200 && status !== 202)).toEqual([]);
  await until(async () => Object.values(await states()).every((state) => state === "ended"));
}

const keysBySession = (): readonly unknown[] => [...proxy.keys.values()].map((key) => key.user_id).sort();

const spentBefore = (sessionId: string): string => (sessionId.startsWith("resumeLarger") ? "1.01" : "0.01");

test("sessions F2, F3: a gateway killed at any step of a launch, a pause, a resume, an extension, an end, or the rescue of an agent, and others killed while they repair that, leave what two more complete or clean up", async () => {
  const passwords: Passwords = new Map();
  await killAtEveryStep(passwords);
  for (const step of ["pause_revoked", "rested", "sandbox_removed"]) await killWhileRepairing(step);
  const [gateway] = await Promise.all([start(), start()]);
  await until(async () => Object.values(await states()).every((state) => ["ended", "ready", "paused"].includes(state)));
  await until(async () =>
    idsOf(({ action }) => action === "agentGivenUp").every(
      (
        (now) => (sessionId) =>
          now[sessionId] === "paused"
      )(await states()),
    ),
  );
  await until(
    async () =>
      (await readdir(join(rootFolder, "snapshots"))).length ===
      idsOf(({ action, outcome }) => outcome === "paused" || action.startsWith("resume")).length,
  );

  const ready = idsOf(({ outcome }) => outcome === "ready");
  expect(await states()).toEqual(Object.fromEntries(scenarios.map(({ sessionId, outcome }) => [sessionId, outcome])));
  expect([(await sandboxFolders(rootFolder)).toSorted(), (await takenPorts(rootFolder)).length, keysBySession()]).toEqual([
    ready,
    ready.length,
    ready,
  ]);
  for (const sessionId of ready.filter((id) => !id.startsWith("launch") && !id.startsWith("resume"))) {
    const { body } = await gateway.call("GET", `/v1/sessions/${sessionId}`);
    const health = (): Promise<number> =>
      fetch(`${body.sandbox.url}/global/health`, {
        headers: { authorization: agentAuthorization(passwords.get(sessionId) ?? ""), connection: "close" },
      }).then(
        ({ status }) => status,
        () => 0,
      );
    // An agent that was lost is on its way back.
    if (sessionId.startsWith("agentLost")) await until(async () => (await health()) === 200);
    expect({ sessionId, answer: await health() }).toEqual({ sessionId, answer: 200 });
  }

  const again = await Promise.all([
    gateway.call("POST", "/v1/sessions/pause-snapshotted/resume?wait=true", {}),
    gateway.call("POST", "/v1/sessions/extend-key_extended/extend", { max_budget_usd: "2" }),
  ]);
  const ended = await Promise.all(scenarios.map(({ sessionId }) => gateway.call("DELETE", `/v1/sessions/${sessionId}`)));
  expect(again.map(({ status }) => status)).toEqual([201, 200]);
  await areEnded(ended);
  // What a killed gateway had made and not recorded is found by the next one's upkeep, in its own time.
  await untilNothingIsLeft(rootFolder);
  expect(proxy.keys.size).toBe(0);

  await insertSpendRows(
    database.db,
    scenarios.map(({ sessionId }) => ({ requestId: `request_${sessionId}`, orgId: `org_${sessionId}`, sessionId, spendUsd: "0.01" })),
  );
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  await settle(database.db, { sink: new ScriptedSink() });
  const batches = await database.db.selectFrom("settlement_batches").select(["org_id", "spend_usd", "state"]).execute();
  expect(batches.map(({ org_id: orgId, spend_usd: spendUsd, state }) => `${orgId} ${Number(spendUsd)} ${state}`).sort()).toEqual(
    idsOf(() => true).map((sessionId) => `org_${sessionId} ${spentBefore(sessionId)} delivered`),
  );
});

test("a start that is repeated with its idempotency key after its gateway was killed is answered with the session that lives, or begins anew", async () => {
  const body = { org_id: "org_a", launcher: "local" };
  const [completed, lost] = [{ "idempotency-key": "11111111-completed" }, { "idempotency-key": "22222222-lost-key" }];
  const first = await start();
  const broken: Promise<unknown>[] = [];
  for (const [headers, step] of [
    [completed, "waiting_for_agent"],
    [lost, "created"],
  ] as const) {
    await first.hold({ "*": step });
    broken.push(first.call("POST", "/v1/sessions?wait=true", body, headers).catch(() => undefined));
    await until(() => first.held.size === broken.length);
  }
  const [completedId, lostId] = [...first.held];
  await first.kill();
  await Promise.all(broken);
  const second = await start();
  const repeat = async (headers: Readonly<Record<string, string>>): Promise<ProcessAnswer> => {
    const answer = await second.call("POST", "/v1/sessions?wait=true", body, headers);
    return answer.body.error?.code === "idempotency_in_progress" ? repeat(headers) : answer;
  };
  const answers = await Promise.all([completed, lost].map(repeat));
  const again = await Promise.all([completed, lost].map(repeat));
  expect(answers.map(({ status, body: { error } }) => error ?? status)).toEqual([201, 201]);
  const healthy = await Promise.all(
    answers.map(({ body: { agent } }) =>
      fetch(`${agent.url}/global/health`, { headers: { authorization: agentAuthorization(agent.password), connection: "close" } }),
    ),
  );

  expect(healthy.map(({ status }) => status)).toEqual([200, 200]);
  expect(again).toEqual(answers);
  expect([answers[0]?.body.session_id === completedId, answers[1]?.body.session_id === lostId, (await states())[lostId ?? ""]]).toEqual([
    true,
    false,
    "ended",
  ]);
  expect([(await provider.list()).length, keysBySession().length]).toEqual([2, 2]);
});

test("gateways killed at any moment while ten sessions start at once leave nothing that is neither ready nor gone", async () => {
  const random = seededRandom("kills of gateways");
  const sessionIds: string[] = [];
  for (const round of ["a", "b"]) {
    const gateway = await start();
    const eventsBefore = await countEvents();
    const begun = Array.from({ length: 10 }, (_, index) => `${round}${index}`);
    sessionIds.push(...begun);
    const broken = Promise.allSettled(begun.map((sessionId) => launch(gateway, sessionId)));
    // Six events each: the moment differs in each run, also within a step.
    const fatalEvent = eventsBefore + 5 + Math.floor(random() * 50);
    await until(async () => (await countEvents()) >= fatalEvent);
    await gateway.kill();
    await broken;
  }
  const [gateway] = await Promise.all([start(), start()]);
  await until(async () => Object.values(await states()).every((state) => ["ended", "ready"].includes(state)));
  const ready = Object.entries(await states())
    .filter(([, state]) => state === "ready")
    .map(([sessionId]) => sessionId)
    .sort();
  await until(async () => (await sandboxFolders(rootFolder)).length <= ready.length);

  expect([(await sandboxFolders(rootFolder)).toSorted(), (await takenPorts(rootFolder)).length, keysBySession()]).toEqual([
    ready,
    ready.length,
    ready,
  ]);
  const ended = await Promise.all(ready.map((sessionId) => gateway.call("DELETE", `/v1/sessions/${sessionId}`)));
  await areEnded(ended);
  // What a killed gateway had made and not recorded is found by the next one's upkeep, in its own time.
  await untilNothingIsLeft(rootFolder);
  expect(proxy.keys.size).toBe(0);
});

async function countEvents(): Promise<number> {
  return (await database.db.selectFrom("session_events").select("event_id").execute()).length;
}
