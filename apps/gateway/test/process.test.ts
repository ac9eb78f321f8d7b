import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TOKEN } from "./test-gateway.ts";

let database: TestDatabase;
let proxy: LiteLLMStandIn;
const children: ChildProcess[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
});
afterEach(() => children.splice(0).forEach((child) => child.kill("SIGKILL")));
afterAll(async () => {
  await proxy.stop();
  await database.drop();
});

const settings = (): Record<string, string> => ({
  DATABASE_URL: database.connectionString,
  GATEWAY_PORT: "0",
  GATEWAY_API_TOKEN: TOKEN,
  LLM_PROXY_URL: proxy.url,
  LLM_PROXY_MASTER_KEY: proxy.masterKey,
});

interface Started {
  readonly child: ChildProcess;
  /** Resolves with what the process tells its parent first. */
  readonly message: Promise<{ readonly type: string; readonly code?: string; readonly ports?: { readonly gateway: number } }>;
  readonly stderr: () => string;
}

function start(environment: Record<string, string>): Started {
  const child = spawn(process.execPath, [new URL("../src/main.ts", import.meta.url).pathname], {
    env: environment,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  children.push(child);
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  return { child, message: once(child, "message").then(([message]) => message as Awaited<Started["message"]>), stderr: () => stderr };
}

async function call(gateway: Started, method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const { ports } = await gateway.message;
  const answer = await fetch(`http://127.0.0.1:${ports?.gateway}${path}`, {
    method,
    headers: { "authorization": `Bearer ${TOKEN}`, "connection": "close", "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { ...((await answer.json()) as Record<string, unknown>), httpStatus: answer.status };
}

test("the process says when it is ready, mints through the proxy, and stops cleanly when told to", async () => {
  const gateway = start(settings());
  const { child, message, stderr } = gateway;
  const { type } = await message;
  const { api_key: apiKey, base_url: baseUrl, httpStatus } = await call(gateway, "POST", "/v1/sessions", { org_id: "org_a" });
  child.kill("SIGTERM");
  const [status] = await once(child, "exit");

  expect([type, httpStatus, status]).toEqual(["ready", 201, 0]);
  expect(proxy.accepts(String(apiKey))).toBe(true);
  expect(baseUrl).toBe(`${proxy.url}/v1`);
  expect(stderr()).not.toContain(apiKey);
  expect(stderr()).not.toContain(proxy.masterKey);
});

const countListening = async (): Promise<number> => {
  const activity = database.db.withSchema("pg_catalog").selectFrom("pg_stat_activity" as never);
  const rows = await activity
    .selectAll()
    .where("application_name" as never, "=", "llm-gateway notices" as never)
    .where("datname" as never, "=", new URL(database.connectionString).pathname.slice(1) as never)
    .execute();
  return rows.length;
};

test("code 18: a gateway hears of events on one connection, whoever reads, which it lets go when it stops", async () => {
  const { child, message } = start(settings());
  expect((await message).type).toBe("ready");

  expect(await until(countListening, (count) => count > 0)).toBe(1);
  child.kill("SIGTERM");
  await once(child, "exit");
  expect(await until(countListening, (count) => count === 0)).toBe(0);
});

test("a gateway that is killed between minting a key and recording it leaves a key that the next one revokes by the session", async () => {
  proxy.reset();
  proxy.failNext("/v1/models", { kind: "hang" });
  const first = start(settings());
  const lost = call(first, "POST", "/v1/sessions", { session_id: "s1", org_id: "org_a" }).catch(() => "cut off");
  await until(() => proxy.requests.some(({ path }) => path === "/v1/models"));
  first.child.kill("SIGKILL");
  await once(first.child, "exit");
  const leftAlive = proxy.keys.size;

  const second = start(settings());
  const found = await call(second, "GET", "/v1/sessions/s1");
  const ended = await call(second, "DELETE", "/v1/sessions/s1");

  expect([await lost, leftAlive]).toEqual(["cut off", 1]);
  expect([found, ended]).toMatchObject([{ state: "starting" }, { state: "ended" }]);
  expect(proxy.keys.size).toBe(0);
});

test.each([
  ["DATABASE_URL", "env_invalid"],
  ["GATEWAY_API_TOKEN", "env_invalid"],
  ["LLM_PROXY_URL", "proxy_not_configured"],
  ["LLM_PROXY_MASTER_KEY", "proxy_not_configured"],
])("without %s it ends with one line that names the variable", async (name, code) => {
  const { [name]: _left, ...environment } = settings();
  const { child, message, stderr } = start(environment);
  const exited = once(child, "exit");

  expect((await message).code).toBe(code);
  expect((await exited)[0]).toBe(1);
  expect(stderr()).toContain(name);
  expect(stderr().trim().split("\n")).toHaveLength(1);
});

test("a token that is short enough to guess is refused without being repeated", async () => {
  const { message, stderr, child } = start({ ...settings(), GATEWAY_API_TOKEN: `${TOKEN},hunter2` });
  const exited = once(child, "exit");

  expect((await message).code).toBe("env_invalid");
  await exited;
  expect(stderr()).toContain("GATEWAY_API_TOKEN");
  expect(stderr()).not.toContain("hunter2");
});

test("a taken port is named with the variable that changes it", async () => {
  const other = createServer().listen(0, "0.0.0.0");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const { message, stderr, child } = start({ ...settings(), GATEWAY_PORT: String(port) });
  const exited = once(child, "exit");

  expect((await message).code).toBe("port_in_use");
  await exited;
  other.close();
  expect(stderr()).toMatch(new RegExp(`${port}.*GATEWAY_PORT`));
});
