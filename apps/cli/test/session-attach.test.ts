import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { createLocalSandboxProvider } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const TOKEN = "token-of-the-attach-test";
const CLI = fileURLToPath(new URL("../src/main.ts", import.meta.url));
/** The folder of an installed opencode program, which is too large to fetch for every run. */
const opencodeFolder = process.env["TEST_OPENCODE_FOLDER"];

describe.skipIf(opencodeFolder === undefined)("session start --attach with the real OpenCode", () => {
  const opencode = ["env", "OPENCODE_DISABLE_MODELS_FETCH=1", join(opencodeFolder ?? "", "opencode")];
  let database: TestDatabase;
  let proxy: LiteLLMStandIn;
  let folder: string;
  let gateway: ChildProcess;
  let url: string;
  beforeAll(async () => {
    database = await createTestDatabase();
    proxy = await startLiteLLMStandIn();
    folder = await mkdtemp(join(tmpdir(), "cli-attach-"));
    gateway = fork(new URL("../../gateway/src/main.ts", import.meta.url), [], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      env: {
        DATABASE_URL: database.connectionString,
        GATEWAY_PORT: "0",
        GATEWAY_API_TOKEN: TOKEN,
        LLM_PROXY_URL: proxy.url,
        LLM_PROXY_MASTER_KEY: proxy.masterKey,
        SANDBOX_LAUNCHERS: "local",
        SANDBOX_LIFETIME_MS: "300000",
        SANDBOX_ROOT_FOLDER: join(folder, "sandboxes"),
        SANDBOX_PATH: process.env["PATH"] ?? "",
        OPENCODE_COMMAND: JSON.stringify(opencode),
      },
    });
    const [{ ports }] = (await once(gateway, "message")) as [{ ports: { gateway: number } }];
    url = `http://127.0.0.1:${ports.gateway}`;
  });
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

  it("opens its screen, and what is typed there makes the agent in the sandbox ask its model", async () => {
    // A terminal program wants a terminal: `script` gives it one.
    const command = `${process.execPath} ${CLI} session start --org org_a --id s1 --attach`;
    const terminal = spawn("script", ["--quiet", "--flush", "--return", "--command", command, "/dev/null"], {
      detached: true,
      stdio: ["pipe", "pipe", "ignore"],
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: folder,
        TERM: "xterm-256color",
        GATEWAY_URL: url,
        GATEWAY_API_TOKEN: TOKEN,
        OPENCODE_COMMAND: JSON.stringify(opencode),
      },
    });
    let screen = "";
    terminal.stdout.on("data", (chunk: Buffer) => (screen += chunk.toString()));
    const ended = once(terminal, "close");
    try {
      await until(() => screen.includes("Ask anything"));
      terminal.stdin.write("hello");
      await until(() => screen.includes("hello"));
      terminal.stdin.write("\r");
      await expect.poll(() => proxy.requests.map(({ path }) => path)).toContain("/v1/messages");
    } finally {
      if (terminal.pid !== undefined) process.kill(-terminal.pid, "SIGKILL");
      await ended;
    }
  });
});
