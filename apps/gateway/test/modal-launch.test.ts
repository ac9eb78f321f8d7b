import { dirname } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { SessionLauncher } from "@proliferate/services/sessions";
import { opencodeServeArguments } from "@proliferate/shared";
import { createModalSandboxProvider } from "@proliferate/shared/modal";
import { agentAuthorization, type SandboxPort, type SandboxProvider } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { type ModalStandIn, startModalStandIn } from "@proliferate/testing/modal-stand-in/server";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectLLMProxy } from "../src/llm-proxy.ts";
import { STAND_IN_AGENT } from "./sandbox-gateway.ts";
import { serveGateway, type TestGateway } from "./test-gateway.ts";

const command = ({ listenPort, listenHostname }: SandboxPort): readonly string[] => [
  ...STAND_IN_AGENT,
  ...opencodeServeArguments({ port: listenPort, hostname: listenHostname }),
];

let database: TestDatabase;
let proxy: LiteLLMStandIn;
let modal: ModalStandIn;
let provider: SandboxProvider;
let launcher: SessionLauncher;
let gateway: Pick<TestGateway, "call" | "stop">;
const settings = () => ({ adminUrl: proxy.url, baseUrl: "https://llm.example.com/v1", masterKey: proxy.masterKey });
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
  modal = await startModalStandIn({ path: `${dirname(process.execPath)}:/usr/bin:/bin` });
  process.env["MODAL_SERVER_URL"] = modal.url;
  provider = createModalSandboxProvider({
    tokenId: modal.tokenId,
    tokenSecret: modal.tokenSecret,
    image: { registryTag: "node:24" },
    callTimeoutMs: 5000,
    createTimeoutMs: 5000,
  });
  launcher = new SessionLauncher({ db: database.db, providers: new Map([["modal", provider]]), command });
  gateway = await serveGateway(database.db, settings(), undefined, launcher);
});
afterAll(async () => {
  delete process.env["MODAL_SERVER_URL"];
  await gateway.stop();
  await launcher.stop();
  await provider.close();
  await modal.stop();
  await proxy.stop();
  await database.drop();
});

test("a session in a sandbox at Modal is launched, paused, resumed and ended, and leaves nothing", async () => {
  const started = await gateway.call("POST", "/v1/sessions?wait=true", {
    session_id: "s1",
    org_id: "org_a",
    launcher: "modal",
    files: { "a.txt": "kept" },
  });
  expect(started.status).toBe(201);
  const answered = await fetch(`${started.body.agent.url}/global/health`, {
    headers: { authorization: agentAuthorization(started.body.agent.password), connection: "close" },
  });
  const paused = await gateway.call("POST", "/v1/sessions/s1/pause");
  const whilePaused = [(await provider.list()).length, proxy.keys.size];
  // As a gateway leaves one that dies between mint and record.
  await connectLLMProxy(settings()).keys.mint({ sessionId: "s1", orgId: "org_a", models: [], metadata: {} });
  const before = proxy.requests.length;
  const resumed = await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  const changes = proxy.requests
    .slice(before)
    .map(({ path }) => path)
    .filter((path) => /generate|delete/.test(path));
  const keys = [...proxy.keys.keys()];
  const { key_hash: keyHash } = (await gateway.call("GET", "/v1/sessions/s1")).body;
  const sandbox = await provider.find("s1");
  const file = Buffer.from(await sandbox.readFile("a.txt")).toString();
  sandbox.release();
  const ended = await gateway.call("DELETE", "/v1/sessions/s1");

  expect([answered.status, paused.status, resumed.status, ended.status, file]).toEqual([200, 200, 201, 200, "kept"]);
  expect([changes, keys]).toEqual([["/key/generate", "/key/delete"], [keyHash]]);
  expect([whilePaused, (await provider.list()).length, proxy.keys.size]).toEqual([[0, 0], 0, 0]);
});

test("sessions F4: a session whose creation hangs at Modal is ended at once, and a sandbox that comes late is ended when it comes", async () => {
  modal.clear();
  modal.fail("SandboxCreateV2", { code: "HANG", times: 9 });
  const starting = gateway.call("POST", "/v1/sessions?wait=true", { session_id: "hanging", org_id: "org_a", launcher: "modal" });
  await expect.poll(() => modal.calls.includes("SandboxCreateV2")).toBe(true);
  const began = performance.now();
  const ended = await gateway.call("DELETE", "/v1/sessions/hanging");
  const tookMs = performance.now() - began;
  modal.clear();

  expect([ended.status, ended.body.state, (await starting).body.error.code]).toEqual([200, "ended", "sandbox_launch_cancelled"]);
  expect(tookMs).toBeLessThan(patience(4_000));
  expect([await modal.running(), proxy.keys.size]).toEqual([[], 0]);
});

test("sessions F4: an end that the launcher does not answer is answered within seconds, and goes on", async () => {
  await gateway.call("POST", "/v1/sessions?wait=true", { session_id: "slow-end", org_id: "org_a", launcher: "modal" });
  modal.fail("SandboxTerminateV2", { code: "HANG" });
  const began = performance.now();
  const ending = await gateway.call("DELETE", "/v1/sessions/slow-end");
  const tookMs = performance.now() - began;
  modal.clear();
  const again = await gateway.call("DELETE", "/v1/sessions/slow-end");

  expect([ending.status, ending.body.state, again.status, again.body.state]).toEqual([202, "ending", 200, "ended"]);
  expect(tookMs).toBeLessThan(patience(8_000));
  expect([await modal.running(), proxy.keys.size]).toEqual([[], 0]);
});

test.each([
  ["SandboxCreateV2", { code: "RESOURCE_EXHAUSTED" }, 503, "sandbox_provider_unavailable"],
  ["SandboxCreateV2", { code: "HANG", times: 9, when: "after" }, 502, "sandbox_create_failed"],
  ["TaskExecStart", { code: "FAILED_PRECONDITION", skip: 1 }, 502, "sandbox_exec_failed"],
] as const)("a launch that Modal fails at %s with %j leaves no sandbox and no key, and says why", async (rpc, fault, status, code) => {
  modal.fail(rpc, fault);
  const sessionId = `failed-${rpc}-${fault.code}`;
  const failed = await gateway.call("POST", "/v1/sessions?wait=true", { session_id: sessionId, org_id: "org_a", launcher: "modal" });
  modal.clear();
  const session = await gateway.call("GET", `/v1/sessions/${sessionId}`);

  expect([failed.status, failed.body.error.code, session.body.state, session.body.failure.code]).toEqual([status, code, "ended", code]);
  await expect.poll(async () => [await modal.running(), proxy.keys.size]).toEqual([[], 0]);
});
