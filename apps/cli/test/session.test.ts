import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { agentAuthorization, createLocalSandboxProvider } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type CliResult, runCli } from "./cli-process.ts";

const TOKEN = "token-of-the-session-commands";
const STAND_IN_AGENT = fileURLToPath(new URL("../../../packages/testing/src/agent-stand-in/main.ts", import.meta.url));

let database: TestDatabase;
let proxy: LiteLLMStandIn;
let gateway: ChildProcess;
let folder: string;
let url: string;
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startLiteLLMStandIn();
  folder = await mkdtemp(join(tmpdir(), "cli-sessions-"));
  await startGateway("0");
});

async function startGateway(port: string): Promise<void> {
  gateway = fork(new URL("../../gateway/src/main.ts", import.meta.url), [], {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: {
      DATABASE_URL: database.connectionString,
      GATEWAY_PORT: port,
      GATEWAY_API_TOKEN: TOKEN,
      LLM_PROXY_URL: proxy.url,
      LLM_PROXY_MASTER_KEY: proxy.masterKey,
      SANDBOX_LAUNCHERS: "local",
      SANDBOX_LIFETIME_MS: "300000",
      SANDBOX_ROOT_FOLDER: join(folder, "sandboxes"),
      OPENCODE_COMMAND: `${process.execPath} ${STAND_IN_AGENT}`,
    },
  });
  const [{ ports }] = (await once(gateway, "message")) as [{ ports: { gateway: number } }];
  url = `http://127.0.0.1:${ports.gateway}`;
}

afterAll(async () => {
  const exited = once(gateway, "exit");
  gateway.kill("SIGTERM");
  await exited;
  const provider = createLocalSandboxProvider({ rootFolder: join(folder, "sandboxes"), detached: true });
  for (const { id } of await provider.list()) await provider.terminate(id);
  await proxy.stop();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

const session = (
  argv: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  onOutput?: (stdout: string) => void,
): Promise<CliResult> => runCli(argv, { GATEWAY_URL: url, GATEWAY_API_TOKEN: TOKEN, ...environment }, "session", onOutput);

test("a session is started, listed, told of, priced and ended, for programs as JSON and for people as text", async () => {
  const started = await session(["start", "--org", "org_a", "--id", "s1", "--budget", "2.50", "--json"]);
  const { agent, sandbox } = JSON.parse(started.stdout) as { agent: { url: string; password: string }; sandbox: { state: string } };
  const answered = await fetch(`${agent.url}/global/health`, {
    headers: { authorization: agentAuthorization(agent.password), connection: "close" },
  });
  await insertSpendRows(database.db, [{ requestId: "r1", orgId: "org_a", sessionId: "s1", spendUsd: "0.01" }]);
  const listed = await session(["list", "--org", "org_a"]);
  const cost = await session(["cost", "s1"]);
  const log = await session(["logs", "s1", "--agent", "--json"]);
  const ended = await session(["end", "s1"]);
  const logs = await session(["logs", "s1", "--json"]);

  expect([started.status, sandbox.state, answered.status]).toEqual([0, "ready", 200]);
  expect(listed.stdout).toMatch(/ready +local +\S+ +s1\n/);
  expect(cost.stdout).toContain("$0.01 in 1 requests, of $2.50");
  expect(JSON.parse(log.stdout)).toEqual({ session_id: "s1", log: "" });
  expect([ended.status, ended.stdout]).toEqual([0, "Session s1 has ended.\n"]);
  expect(
    logs.stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { type: string }).type),
  ).toEqual(["key_minted", "creating", "created", "starting_agent", "waiting_for_agent", "ready", "ended"]);
});

test("logs --follow goes on where it was when the gateway is killed and started again", async () => {
  const port = new URL(url).port;
  await session(["start", "--org", "org_a", "--id", "s3"]);
  const shown = Promise.withResolvers<void>();
  const following = session(["logs", "s3", "--follow", "--json"], {}, (stdout) => stdout.includes('"ready"') && shown.resolve());
  await shown.promise;
  const killed = once(gateway, "exit");
  gateway.kill("SIGKILL");
  await killed;
  await startGateway(port);
  await session(["end", "s3"]);
  const followed = await following;
  const types = followed.stdout
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { type: string }).type);

  expect([followed.status, types]).toEqual([
    0,
    ["key_minted", "creating", "created", "starting_agent", "waiting_for_agent", "ready", "ended"],
  ]);
});

test("--attach opens OpenCode on the agent, with the password in its environment and not in its arguments", async () => {
  const program = join(folder, "opencode");
  await writeFile(program, `#!/bin/sh\nprintf '%s|%s|%s' "$*" "$#" "$OPENCODE_SERVER_PASSWORD" > ${join(folder, "attached")}\n`);
  await chmod(program, 0o700);
  const started = await session(["start", "--org", "org_a", "--attach"], { OPENCODE_COMMAND: program });
  const [argv = "", count, password = ""] = (await readFile(join(folder, "attached"), "utf8")).split("|");
  const answered = await fetch(`${argv.replace("attach ", "")}/global/health`, {
    headers: { authorization: agentAuthorization(password), connection: "close" },
  });

  expect([started.status, count, answered.status]).toEqual([0, "2", 200]);
  expect(started.stdout).toMatch(/waiting_for_agent[^]*password +\S+ \(shown this once\)/);
});

test("users 01: without --org the organization of the stack is meant; without any, it says what to give", async () => {
  expect(await session(["list"], { DEV_ORG_ID: "org_without_sessions" })).toMatchObject({
    status: 0,
    stdout: "org_without_sessions has no sessions.\n",
  });
  expect(await session(["start"])).toMatchObject({ status: 2, stderr: expect.stringContaining("Give --org ID") });
});

test("users 01: a program that --attach does not find is named with three ways to bring it, and the session that runs on with how to end it", async () => {
  const failed = await session(["start", "--org", "org_a", "--id", "s9", "--attach"], {
    OPENCODE_COMMAND: join(folder, "no-such-program"),
  });

  expect(failed).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/npm install -g opencode-ai.*OPENCODE_COMMAND.*--opencode.*session end s9/),
  });
  expect((await session(["end", "s9"])).status).toBe(0);
});

test.each([
  [["end", "nothing"], {}, 3, "no session nothing"],
  [["start", "--org", "org_a", "--launcher", "modal"], {}, 2, "no launcher modal"],
  [["start", "--org", "org_a", "--budget", "much"], {}, 2, "max_budget_usd"],
  [["list", "--org", "org_a"], { GATEWAY_API_TOKEN: "wrong-token-0123456789" }, 1, "bearer token is not one"],
  [["list", "--org", "org_a"], { GATEWAY_URL: "http://127.0.0.1:1" }, 1, "GATEWAY_URL"],
  [["list", "--org", "org_a"], { GATEWAY_API_TOKEN: "" }, 2, "GATEWAY_API_TOKEN not set"],
] as const)("%j with %j ends with status %i and one line that says why", async (argv, environment, status, reason) => {
  const failed = await session(argv, environment);

  expect([failed.status, failed.stdout]).toEqual([status, ""]);
  expect(failed.stderr).toContain(reason);
  expect(failed.stderr.trim().split("\n")).toHaveLength(1);
});
