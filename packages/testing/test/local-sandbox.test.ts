import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSandboxEnv, createLocalSandboxProvider, launchAgent, PORT_CLAIMS_FOLDER } from "@proliferate/shared/sandbox";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const path = `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`;
const agent = fileURLToPath(new URL("../src/agent-stand-in/main.ts", import.meta.url));
const owner = fileURLToPath(new URL("./local-sandbox-owner.ts", import.meta.url));
const minuteMs = 60_000;
const code = (expected: string) => expect.objectContaining({ name: "AppError", code: expected });

let rootFolder: string;
beforeEach(async () => {
  rootFolder = await mkdtemp(join(tmpdir(), "local-sandbox-"));
});
afterEach(() => rm(rootFolder, { recursive: true, force: true }));

function environmentAndArguments(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1") + readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}

/** Pids that name this root: a sandbox's processes have their HOME there, its keeper has it among its arguments. */
const processesIn = (root: string): number[] => readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && environmentAndArguments(name).includes(root)).map(Number);

const sandboxesOnDisk = async (): Promise<string[]> => [...(await readdir(join(rootFolder, "sandboxes"))), ...(await readdir(join(rootFolder, "staging")))];

/** A process that creates a sandbox with a running program, tells its id, and waits to be killed. */
async function startOwner(detached: boolean): Promise<{ owner: ChildProcess; id: string }> {
  const child = spawn(process.execPath, [owner, rootFolder, path, String(detached)], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { owner: child, id: line.toString().trim() };
}

async function killOwner(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

describe("a local sandbox and its owner", () => {
  it("ends with its owner, even one that is killed, and leaves no process and no file", async () => {
    const { owner: child } = await startOwner(false);
    expect(processesIn(rootFolder).length).toBeGreaterThanOrEqual(2);

    await killOwner(child);

    await expect.poll(() => processesIn(rootFolder), { timeout: 10_000 }).toEqual([]);
    await expect.poll(sandboxesOnDisk, { timeout: 5000 }).toEqual([]);
  });

  it("outlives its owner when it is detached, and is found, used and ended by the next one", async () => {
    const { owner: child, id } = await startOwner(true);
    await killOwner(child);
    const next = createLocalSandboxProvider({ rootFolder, path, detached: true });

    const found = await next.find("session-of-owner");
    expect(found.id).toBe(id);
    expect((await found.exec(["sh", "-c", "echo $TOLD; cat file"])).stdout).toBe("by-the-owner\ncontent");
    expect(await next.checkSandboxes([id])).toEqual(new Map([[id, "running"]]));
    await found.terminate();
    expect([processesIn(rootFolder), await sandboxesOnDisk()]).toEqual([[], []]);
  });

  it("ends at its time-out when it is detached and nobody is left to end it", async () => {
    const { owner: child } = await startOwner(true);
    await killOwner(child);

    await expect.poll(() => processesIn(rootFolder), { timeout: 10_000 }).toEqual([]);
    expect(await sandboxesOnDisk()).toEqual([]);
  });

  it("is cleaned up and replaced when its keeper was killed", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const first = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    await first.start(["sleep", "1000"], { logPath: "log" });
    const { keeper } = JSON.parse(await readFile(join(rootFolder, "sandboxes/session-1/sandbox.json"), "utf8")) as { keeper: { pid: number } };
    process.kill(keeper.pid, "SIGKILL");
    await expect.poll(() => provider.checkSandboxes([first.id]), { timeout: 5000 }).toEqual(new Map([[first.id, "ended"]]));

    await expect(first.exec(["true"])).rejects.toThrow(code("sandbox_not_found"));
    const second = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    expect((await second.exec(["pwd"])).status).toBe(0);
    process.kill((JSON.parse(await readFile(join(rootFolder, "sandboxes/session-1/sandbox.json"), "utf8")) as { keeper: { pid: number } }).keeper.pid, "SIGKILL");
    await expect.poll(() => provider.checkSandboxes([second.id]), { timeout: 5000 }).toEqual(new Map([[second.id, "ended"]]));
    expect([await provider.removeLeftovers(), await provider.removeLeftovers()]).toEqual([1, 0]);
    expect([processesIn(rootFolder), await sandboxesOnDisk()]).toEqual([[], []]);
  });

  it("ends with close, and takes nothing from a sandbox of another session", async () => {
    const [ours, other] = [createLocalSandboxProvider({ rootFolder, path }), createLocalSandboxProvider({ rootFolder, path })];
    await ours.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    const kept = await other.create({ sessionId: "session-2", environment: {}, timeoutMs: minuteMs });

    await ours.close();

    expect((await other.list()).map(({ id }) => id)).toEqual([kept.id]);
    await other.close();
    expect(await sandboxesOnDisk()).toEqual([]);
  });
});

describe("what is left of a local sandbox", () => {
  it("is listed and ended by its session also when its creator died in the middle", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const id = "session-1~0123456789abcdef";
    await mkdir(join(rootFolder, "staging", id, "home"), { recursive: true });
    const orphan = spawn("sleep", ["1000"], { env: { PROLIFERATE_SANDBOX_ID: id }, detached: true, stdio: "ignore" });
    const ended = once(orphan, "exit");

    expect(await provider.list()).toEqual([{ id, name: "session-1" }]);
    await provider.terminateSession("session-2");
    expect(await provider.list()).toHaveLength(1);
    await provider.terminateSession("session-1");
    await ended;
    expect([await provider.list(), await readdir(join(rootFolder, "staging"))]).toEqual([[], []]);
  });

  it("has its port for itself on the whole machine until it ends", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs, ports: [4096] });
    const claim = join(PORT_CLAIMS_FOLDER, String(sandbox.ports.get(4096)?.listenPort));

    expect(await readlink(claim)).toContain(rootFolder);
    await sandbox.terminate();
    await expect(readlink(claim)).rejects.toThrow("ENOENT");
  });

  it("includes snapshots, each under the sandbox that it was taken of, until they are deleted", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    const snapshotId = await sandbox.snapshot();
    await sandbox.terminate();

    expect(await provider.listSnapshots()).toEqual([{ id: snapshotId, name: "session-1" }]);
    await provider.deleteSnapshot(snapshotId);
    expect(await provider.listSnapshots()).toEqual([]);
  });
});

describe("what a local sandbox may reach", () => {
  it("lies in folders that only its user can read", async () => {
    await chmod(rootFolder, 0o755);
    await mkdir(join(rootFolder, "snapshots"), { mode: 0o755 });
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs, files: { "folder/file": "x" } });

    const modes = await Promise.all(["", "sandboxes", "snapshots", "sandboxes/session-1", "sandboxes/session-1/home", "sandboxes/session-1/home/folder", "sandboxes/session-1/sandbox.json", "sandboxes/session-1/home/folder/file"].map(async (part) => (await stat(join(rootFolder, part))).mode & 0o777));
    expect(modes.map((mode) => mode.toString(8))).toEqual(["755", "700", "700", "700", "700", "700", "600", "600"]);
    await sandbox.terminate();
  });

  it("does not lie in a folder that somebody else laid as a link", async () => {
    await mkdir(join(rootFolder, "elsewhere"));
    await symlink(join(rootFolder, "elsewhere"), join(rootFolder, "sandboxes"));
    const provider = createLocalSandboxProvider({ rootFolder, path });

    await expect(provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs })).rejects.toThrow(code("sandbox_refused"));
    expect(processesIn(rootFolder)).toEqual([]);
  });

  it("holds no key but its own, in the environment of any of its processes and anywhere on its disk", async () => {
    const operatorKeys = { ANTHROPIC_API_KEY: "sk-ant-provider-key-of-the-operator", OPENAI_API_KEY: "sk-proj-provider-key-of-the-operator", LLM_PROXY_MASTER_KEY: "sk-master-key-of-the-operator" };
    Object.assign(process.env, operatorKeys);
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const launch = (sessionId: string, orgId: string, apiKey: string) =>
      launchAgent(provider, {
        sessionId,
        environment: buildSandboxEnv({ sessionId, orgId, apiKey, baseUrl: "http://127.0.0.1:4000/v1" }),
        config: "{}",
        timeoutMs: minuteMs,
        command: ({ listenPort, listenHostname }) => ["node", agent, "serve", "--port", String(listenPort), "--hostname", listenHostname],
      });
    const [first] = await Promise.all([launch("session-1", "org-1", "sk-virtual-key-of-org-1"), launch("session-2", "org-2", "sk-virtual-key-of-org-2")]);

    const environments = processesIn(join(rootFolder, "sandboxes/session-1")).map((pid) => readFileSync(`/proc/${pid}/environ`, "latin1"));
    const folder = join(rootFolder, "sandboxes/session-1");
    const paths = await readdir(folder, { recursive: true, withFileTypes: true });
    const contents = await Promise.all(paths.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), "latin1")));
    const everything = [...environments, ...contents, (await first.sandbox.exec(["sh", "-c", "env; cat /proc/self/environ"])).stdout].join("\n");
    expect([environments.length, contents.length]).toEqual([expect.toSatisfy((count: number) => count >= 1), expect.toSatisfy((count: number) => count >= 3)]);
    expect(everything).toContain("sk-virtual-key-of-org-1");
    for (const foreign of [...Object.values(operatorKeys), "sk-virtual-key-of-org-2", "of-the-operator"]) expect(everything).not.toContain(foreign);
    await provider.close();
  });

  it("cannot have a file read or written for it through a link that leads out", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    const home = join(rootFolder, "sandboxes/session-1/home");
    await symlink("/etc", join(home, "etc"));
    await symlink("/etc/hostname", join(home, "hostname"));
    await symlink(join(rootFolder, "written"), join(home, "out"));

    for (const leads of ["etc/hostname", "hostname"]) await expect(sandbox.readFile(leads)).rejects.toThrow(code("invalid_request"));
    await expect(sandbox.writeFiles({ "etc/x": "x" })).rejects.toThrow(code("invalid_request"));
    await expect(sandbox.writeFiles({ out: "x" })).rejects.toThrow(code("sandbox_exec_failed"));
    expect(existsSync(join(rootFolder, "written"))).toBe(false);
    await sandbox.terminate();
  });
});

describe("many at once", () => {
  it("gives one of two launches for a session the sandbox, and the other a clear no", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const outcomes = await Promise.allSettled([1, 2, 3, 4].map(() => provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs })));

    expect(outcomes.map((outcome) => (outcome.status === "rejected" ? (outcome.reason as { code?: string }).code : "created")).toSorted()).toEqual(["created", "sandbox_exists", "sandbox_exists", "sandbox_exists"]);
    expect(await provider.list()).toHaveLength(1);
    await provider.close();
    expect([processesIn(rootFolder), await sandboxesOnDisk()]).toEqual([[], []]);
  });

  it("has fifty agents ready, each on its own port with its own password, and then nothing left", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const launch = (sessionId: string) =>
      launchAgent(provider, {
        sessionId,
        environment: buildSandboxEnv({ sessionId, orgId: "org-1", apiKey: `sk-${sessionId}`, baseUrl: "http://127.0.0.1:4000/v1" }),
        timeoutMs: minuteMs,
        command: ({ listenPort, listenHostname }) => ["node", agent, "serve", "--port", String(listenPort), "--hostname", listenHostname],
      });

    const launched = await Promise.all(Array.from({ length: 50 }, (_, index) => launch(`session-${index}`)));

    expect(new Set(launched.map(({ url }) => url)).size).toBe(50);
    expect([...(await provider.checkSandboxes(launched.map(({ sandbox }) => sandbox.id))).values()]).toEqual(Array.from({ length: 50 }, () => "running"));
    await Promise.all(launched.map(({ sandbox }) => sandbox.terminate()));
    expect([processesIn(rootFolder), await sandboxesOnDisk()]).toEqual([[], []]);
  });
});
