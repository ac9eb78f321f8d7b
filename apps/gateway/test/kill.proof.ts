import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { settle } from "@proliferate/services/billing/settlement";
import { syncSpend } from "@proliferate/services/billing/spend-sync";
import { insertSpendRows } from "@proliferate/services/billing/test-ledger";
import { ScriptedSink } from "@proliferate/services/billing/test-sink";
import { createLocalSandboxProvider, type LocalSandboxProvider } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { STAND_IN_AGENT, sandboxFolders } from "./sandbox-gateway.ts";
import { TOKEN } from "./test-gateway.ts";

/** Where a gateway is killed, and what the session is once another one has looked at it. */
const STEPS = {
  key_minted: "ended",
  creating: "ended",
  created: "ended",
  starting_agent: "ended",
  waiting_for_agent: "ready",
  ready: "ready",
  pausing: "ready",
  snapshotted: "paused",
} as const;
type Step = keyof typeof STEPS;
const steps = Object.keys(STEPS) as Step[];

let database: TestDatabase;
let proxy: LiteLLMStandIn;
let rootFolder: string;
let provider: LocalSandboxProvider;
const children: ChildProcess[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
  rootFolder = await mkdtemp(join(tmpdir(), "gateway-kill-"));
  provider = createLocalSandboxProvider({ rootFolder, detached: true });
});
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  for (const { id } of await provider.list()) await provider.terminate(id);
  await proxy.stop();
  await database.drop();
  await rm(rootFolder, { recursive: true, force: true });
});

interface Gateway {
  readonly exited: Promise<unknown>;
  call(method: string, path: string, body?: object): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
}

/** A real process; it dies at the step of the session. */
async function start(step = "", sessionId = ""): Promise<Gateway> {
  const variables = {
    DATABASE_URL: database.connectionString,
    GATEWAY_PORT: "0",
    GATEWAY_API_TOKEN: TOKEN,
    LLM_PROXY_URL: proxy.url,
    LLM_PROXY_MASTER_KEY: proxy.masterKey,
    SANDBOX_LAUNCHERS: "local",
    SANDBOX_ROOT_FOLDER: rootFolder,
    OPENCODE_COMMAND: STAND_IN_AGENT.join(" "),
  };
  const child = fork(new URL("./killed-gateway.ts", import.meta.url), [JSON.stringify(variables), step, sessionId], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
  children.push(child);
  const exited = once(child, "exit");
  const [{ ports }] = (await once(child, "message")) as [{ ports: { gateway: number } }];
  return {
    exited,
    call: async (method, path, body) => {
      const answer = await fetch(`http://127.0.0.1:${ports.gateway}${path}`, {
        method,
        headers: { authorization: `Bearer ${TOKEN}`, connection: "close", "content-type": "application/json" },
        ...(body && { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    },
  };
}

async function killAt(step: Step): Promise<void> {
  const gateway = await start(step, step);
  const isPause = step === "pausing" || step === "snapshotted";
  const started = await gateway.call("POST", "/v1/sessions?wait=true", { session_id: step, org_id: `org_${step}`, launcher: "local" }).catch(() => undefined);
  expect({ step, answered: started?.status }).toEqual({ step, answered: isPause ? 201 : undefined });
  if (isPause) await gateway.call("POST", `/v1/sessions/${step}/pause`).catch(() => undefined);
  await gateway.exited;
}

const stateOf = async (sessionId: string): Promise<string> => {
  const row = await database.db.selectFrom("gateway_sessions").select(["state", "sandbox_state"]).where("session_id", "=", sessionId).executeTakeFirstOrThrow();
  return row.state === "active" ? (row.sandbox_state ?? "") : row.state;
};

// Not in every run, because it fails in about half of them. Seen: a session stays `ending` for a minute when the gateway that
// repairs it is killed in turn (by design: `abandonedMs`); a sandbox folder of the killed creation is left until the next
// reaping; and once the session killed at `ready` was ended instead of kept, which is not explained yet.
test("a gateway that is killed at any step of a launch or a pause leaves what the next one completes or cleans up, and nothing is left or unbilled", { timeout: 180_000 }, async () => {
  // Two at once: each start of a process costs this machine a second.
  for (let begin = 0; begin < steps.length; begin += 2) await Promise.all(steps.slice(begin, begin + 2).map(killAt));
  await insertSpendRows(database.db, steps.map((step) => ({ requestId: `request_${step}`, orgId: `org_${step}`, sessionId: step, spendUsd: "0.01" })));
  const next = await start();
  await vi.waitUntil(async () => (await Promise.all(steps.map(stateOf))).every((state) => ["ended", "ready", "paused"].includes(state)), { timeout: 60_000, interval: 200 });
  const states = Object.fromEntries(await Promise.all(steps.map(async (step) => [step, await stateOf(step)] as const)));
  const alive = steps.filter((step) => STEPS[step] === "ready");

  expect(states).toEqual(STEPS);
  expect((await provider.list()).map(({ name }) => name).sort()).toEqual([...alive].sort());
  expect([...proxy.keys.values()].map((key) => key.user_id).sort()).toEqual([...alive].sort());

  const resumed = await next.call("POST", "/v1/sessions/snapshotted/resume?wait=true", {});
  const ended = await Promise.all(steps.map((step) => next.call("DELETE", `/v1/sessions/${step}`)));
  expect([resumed.status, ...ended.map(({ status }) => status)]).toEqual([201, ...steps.map(() => 200)]);
  expect([await sandboxFolders(rootFolder), proxy.keys.size]).toEqual([[], 0]);

  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const sink = new ScriptedSink();
  await settle(database.db, { sink });
  const batches = await database.db.selectFrom("settlement_batches").select(["org_id", "spend_usd", "state"]).execute();
  expect(batches.map(({ org_id: orgId, spend_usd: spendUsd, state }) => `${orgId} ${Number(spendUsd)} ${state}`).sort()).toEqual(steps.map((step) => `org_${step} 0.01 delivered`).sort());
});
