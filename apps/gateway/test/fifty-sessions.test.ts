import { afterAll, beforeAll, expect, test } from "vitest";
import { sandboxFolders, type SandboxGateway, startSandboxGateway } from "./sandbox-gateway.ts";

const SESSIONS = Array.from({ length: 50 }, (_, index) => `s${index + 1}`);

let gateway: SandboxGateway;
beforeAll(async () => {
  gateway = await startSandboxGateway();
});
afterAll(() => gateway.stop());

test("fifty sessions that start at once are all ready, each within its budget, and all end without a trace", { timeout: 120_000 }, async () => {
  const started = await Promise.all(SESSIONS.map((sessionId) => gateway.call("POST", "/v1/sessions?wait=true", { session_id: sessionId, org_id: "org_a", launcher: "local", max_budget_usd: "0.5" })));
  const addresses = new Set(started.map(({ body }) => body.agent?.url));
  const passwords = new Set(started.map(({ body }) => body.agent?.password));
  const budgets = new Set([...gateway.proxy.keys.values()].map((key) => key.max_budget));
  const [running, keys] = [(await gateway.provider.list()).length, gateway.proxy.keys.size];
  const ended = await Promise.all(SESSIONS.map((sessionId) => gateway.call("DELETE", `/v1/sessions/${sessionId}`)));

  expect(started.map(({ status, body }) => `${status} ${body.sandbox?.state ?? body.error?.message}`)).toEqual(SESSIONS.map(() => "201 ready"));
  expect([running, keys, addresses.size, passwords.size, ...budgets]).toEqual([50, 50, 50, 50, 0.5]);
  expect(ended.map(({ status, body }) => `${status} ${body.state}`)).toEqual(SESSIONS.map(() => "200 ended"));
  expect([await gateway.provider.list(), await sandboxFolders(gateway.rootFolder), gateway.proxy.keys.size]).toEqual([[], [], 0]);
});
