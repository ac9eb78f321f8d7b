import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { createTestDatabase } from "@proliferate/db/test-database";
import { compareDecimals, multiplyDecimals } from "@proliferate/shared/money";
import { patience } from "@proliferate/testing/test-patience";
import { afterEach, beforeEach, expect, test } from "vitest";
import { spawnChild } from "./child-process.ts";

/** The real command, started as `dev-start.sh` starts it, with everything that it starts. */
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

let folder: string;
const started: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp("/var/tmp/llm-gateway-dev-stack-");
  await chmod(folder, 0o755);
});
afterEach(async () => {
  for (const child of started.splice(0)) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true, maxRetries: 20 });
});

interface RunningStack {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  stdout(): string;
  stderr(): string;
  waitFor(text: string): Promise<void>;
}

function startStack(argv: readonly string[], environment: Record<string, string>): RunningStack {
  const child = spawn(process.execPath, ["scripts/dev-stack/main.ts", ...argv], {
    cwd: ROOT,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", DEV_STATE_FOLDER: folder, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => (text.stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (text.stderr += String(chunk)));
  const ended = new Promise<number | null>((done) => child.once("close", done));
  const waitFor = async (expected: string): Promise<void> => {
    while (!text.stdout.includes(expected)) {
      if (child.exitCode !== null) throw new Error(`ended before "${expected}":\n${text.stdout}\n${text.stderr}`);
      await delay(20);
    }
  };
  return { process: child, ended, stdout: () => text.stdout, stderr: () => text.stderr, waitFor };
}

async function freePorts(): Promise<Record<string, string>> {
  const names = ["LLM_PROXY_PORT", "LLM_PROXY_ADMIN_PORT", "GATEWAY_PORT", "WORKER_PORT"];
  const servers = await Promise.all(
    names.map(
      () =>
        new Promise<ReturnType<typeof createServer>>((done) => {
          const server = createServer().listen(0, "127.0.0.1", () => done(server));
        }),
    ),
  );
  const ports = servers.map((server) => String((server.address() as { port: number }).port));
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return Object.fromEntries(names.map((name, index) => [name, ports[index] ?? ""]));
}

/** Every process below this one, read from /proc. */
async function descendants(root: number): Promise<readonly number[]> {
  const parents = new Map<number, number>();
  for (const entry of await readdir("/proc")) {
    const stat = /^\d+$/.test(entry) ? await readFile(`/proc/${entry}/stat`, "utf8").catch(() => undefined) : undefined;
    const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields) parents.set(Number(entry), Number(fields[1]));
  }
  const found: number[] = [];
  for (let layer = [root]; layer.length > 0;) {
    layer = [...parents].filter(([, parent]) => layer.includes(parent)).map(([pid]) => pid);
    found.push(...layer);
  }
  return found;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilGone(pids: readonly number[], withinMs: number): Promise<readonly number[]> {
  const deadline = Date.now() + patience(withinMs);
  while (pids.some(isAlive) && Date.now() < deadline) await delay(20);
  return pids.filter(isAlive);
}

function lastJson(stack: RunningStack): Record<string, string> {
  return JSON.parse(stack.stdout().trim().split("\n").at(-1) ?? "") as Record<string, string>;
}

test("two stacks run at once on different ports; Ctrl-C ends each within 5 s and leaves no process", async () => {
  const stacks = [startStack([], await freePorts()), startStack([], await freePorts())];
  await Promise.all(stacks.map((stack) => stack.waitFor("Everything is up")));
  const children = (await Promise.all(stacks.map((stack) => descendants(stack.process.pid ?? 0)))).flat();
  expect(children.length).toBeGreaterThanOrEqual(2 * 6);

  const signalledAt = Date.now();
  for (const stack of stacks) stack.process.kill("SIGINT");
  const statuses = await Promise.all(stacks.map((stack) => stack.ended));

  expect(statuses).toEqual([0, 0]);
  expect(Date.now() - signalledAt).toBeLessThan(patience(5_000));
  expect(await untilGone(children, 1_000)).toEqual([]);
  for (const stack of stacks) expect(stack.stdout()).toContain("exact: $");
});

test("a stack that was killed with SIGKILL leaves no process, and the next start bills to the last digit", async () => {
  const ports = await freePorts();
  const first = startStack([], ports);
  await first.waitFor("Everything is up");
  const children = await descendants(first.process.pid ?? 0);

  first.process.kill("SIGKILL");
  await first.ended;
  expect(await untilGone(children, 20_000)).toEqual([]);
  const second = startStack(["--once", "--json"], ports);

  expect(await second.ended).toBe(0);
  const report = lastJson(second);
  expect(compareDecimals(report["credits"] ?? "", multiplyDecimals(report["spend_usd"] ?? "", "300"))).toBe(0);
  expect(report["autumn_deducted"]).toBe(report["credits"]);
});

test("a taken port is named with the variable that moves it, and nothing is left running", async () => {
  const ports = await freePorts();
  const holder = createServer().listen(Number(ports["GATEWAY_PORT"]), "0.0.0.0");

  const stack = startStack(["--once"], ports);

  expect(await stack.ended).toBe(1);
  expect(stack.stderr()).toContain(`Port ${ports["GATEWAY_PORT"]} is taken by another program; set GATEWAY_PORT to another one.`);
  expect(await untilGone(await descendants(stack.process.pid ?? 0), 5_000)).toEqual([]);
  await new Promise((done) => holder.close(done));
});

test("a second start on the same ports is refused with what to do", async () => {
  const ports = await freePorts();
  const first = startStack([], ports);
  await first.waitFor("Everything is up");

  const second = startStack(["--once"], ports);

  expect(await second.ended).toBe(1);
  expect(second.stderr()).toMatch(/runs already \(pid \d+\).*LLM_PROXY_PORT/s);
  first.process.kill("SIGINT");
  expect(await first.ended).toBe(0);
});

test("with LLM_PROXY_URL and DATABASE_URL another engine takes the requests, and the trail is as exact", async () => {
  const database = await createTestDatabase();
  const provider = spawnChild({
    name: "provider",
    entry: join(ROOT, "packages/testing/src/provider-stand-in/main.ts"),
    environment: { PROVIDER_STAND_IN_API_KEY: "provider-key" },
    logFile: join(folder, "provider.log"),
  });
  const { provider: providerPort } = await provider.ready;
  const engine = spawnChild({
    name: "engine",
    entry: join(ROOT, "apps/llm-proxy/src/main.ts"),
    environment: {
      DATABASE_URL: database.connectionString,
      LITELLM_MASTER_KEY: "sk-master-of-the-remote-engine-1",
      ANTHROPIC_API_KEY: "provider-key",
      ANTHROPIC_API_BASE: `http://127.0.0.1:${providerPort}`,
      LLM_PROXY_PORT: "0",
      LLM_PROXY_ADMIN_PORT: "0",
    },
    logFile: join(folder, "engine.log"),
  });
  const { dataPlane, management } = await engine.ready;

  const stack = startStack(["--once", "--json"], {
    ...(await freePorts()),
    DATABASE_URL: database.connectionString,
    LLM_PROXY_URL: `http://127.0.0.1:${dataPlane}`,
    LLM_PROXY_ADMIN_URL: `http://127.0.0.1:${management}`,
    LLM_PROXY_MASTER_KEY: "sk-master-of-the-remote-engine-1",
  });

  expect(await stack.ended).toBe(0);
  expect(lastJson(stack)).toMatchObject({ ok: true, engine: "external" });
  await engine.stop();
  await provider.stop();
  await database.drop();
});

test.each([
  [{ LLM_PROXY_URL: "http://127.0.0.1:1" }, "LLM_PROXY_MASTER_KEY is not", 2],
  [{ LLM_PROXY_URL: "http://127.0.0.1:1", LLM_PROXY_MASTER_KEY: "sk-12345678" }, "DATABASE_URL is not", 2],
  [{ GATEWAY_PORT: "eighty" }, "GATEWAY_PORT", 2],
  [{ DATABASE_URL: "postgresql://app@127.0.0.1:1/app" }, "PostgreSQL cannot be reached", 1],
])("settings %j are refused at the start, and the message names what is wrong", async (environment, message, status) => {
  const stack = startStack(["--once"], { ...(await freePorts()), ...environment });

  expect(await stack.ended).toBe(status);
  expect(stack.stderr()).toContain(message);
});

test("an unknown argument is refused by name", async () => {
  const stack = startStack(["--onec"], {});

  expect(await stack.ended).toBe(2);
  expect(stack.stderr()).toContain("--onec");
});
