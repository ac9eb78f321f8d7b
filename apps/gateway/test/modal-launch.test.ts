import { dirname } from "node:path";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { SessionLauncher } from "@proliferate/services/sessions/session-launcher";
import { opencodeServeArguments } from "@proliferate/shared";
import { createModalSandboxProvider } from "@proliferate/shared/modal";
import { agentAuthorization, type SandboxPort, type SandboxProvider } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { type ModalStandIn, startModalStandIn } from "@proliferate/testing/modal-stand-in/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { STAND_IN_AGENT } from "./sandbox-gateway.ts";
import { serveGateway, type TestGateway } from "./test-gateway.ts";

const command = ({ listenPort, listenHostname }: SandboxPort): readonly string[] => [...STAND_IN_AGENT, ...opencodeServeArguments({ port: listenPort, hostname: listenHostname })];

let database: TestDatabase;
let proxy: LiteLLMStandIn;
let modal: ModalStandIn;
let provider: SandboxProvider;
let launcher: SessionLauncher;
let gateway: Pick<TestGateway, "call" | "stop">;
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
  modal = await startModalStandIn({ path: `${dirname(process.execPath)}:/usr/bin:/bin` });
  process.env["MODAL_SERVER_URL"] = modal.url;
  provider = createModalSandboxProvider({ tokenId: modal.tokenId, tokenSecret: modal.tokenSecret, image: { registryTag: "node:24" } });
  launcher = new SessionLauncher({ db: database.db, providers: new Map([["modal", provider]]), command });
  gateway = await serveGateway(database.db, { adminUrl: proxy.url, baseUrl: "https://llm.example.com/v1", masterKey: proxy.masterKey }, undefined, launcher);
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

test("a session in a sandbox at Modal is launched, paused, resumed and ended, and leaves nothing", { timeout: 30_000 }, async () => {
  const started = await gateway.call("POST", "/v1/sessions?wait=true", { session_id: "s1", org_id: "org_a", launcher: "modal", files: { "a.txt": "kept" } });
  expect(started.status).toBe(201);
  const answered = await fetch(`${started.body.agent.url}/global/health`, { headers: { authorization: agentAuthorization(started.body.agent.password), connection: "close" } });
  const paused = await gateway.call("POST", "/v1/sessions/s1/pause");
  const whilePaused = [(await provider.list()).length, proxy.keys.size];
  const resumed = await gateway.call("POST", "/v1/sessions/s1/resume?wait=true", {});
  const sandbox = await provider.find("s1");
  const file = Buffer.from(await sandbox.readFile("a.txt")).toString();
  sandbox.release();
  const ended = await gateway.call("DELETE", "/v1/sessions/s1");

  expect([answered.status, paused.status, resumed.status, ended.status, file]).toEqual([200, 200, 201, 200, "kept"]);
  expect([whilePaused, (await provider.list()).length, proxy.keys.size]).toEqual([[0, 0], 0, 0]);
});
