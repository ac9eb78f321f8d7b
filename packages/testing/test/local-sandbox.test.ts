import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSandboxEnv, createLocalSandboxProvider, isSandboxUser, launchAgent, PORT_CLAIMS_FOLDER } from "@proliferate/shared/sandbox";
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
const processesIn = (root: string): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && environmentAndArguments(name).includes(root))
    .map(Number);

const sandboxesOnDisk = async (): Promise<string[]> => [
  ...(await readdir(join(rootFolder, "sandboxes"))),
  ...(await readdir(join(rootFolder, "staging"))),
];

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

    await expect.poll(() => processesIn(rootFolder)).toEqual([]);
    await expect.poll(sandboxesOnDisk).toEqual([]);
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

    await expect.poll(() => processesIn(rootFolder)).toEqual([]);
    expect(await sandboxesOnDisk()).toEqual([]);
  });

  it("is cleaned up and replaced when its keeper was killed", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const first = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    await first.start(["sleep", "1000"], { logPath: "log" });
    const { keeper } = JSON.parse(await readFile(join(rootFolder, "sandboxes/session-1/sandbox.json"), "utf8")) as {
      keeper: { pid: number };
    };
    process.kill(keeper.pid, "SIGKILL");
    await expect.poll(() => provider.checkSandboxes([first.id])).toEqual(new Map([[first.id, "ended"]]));

    await expect(first.exec(["true"])).rejects.toThrow(code("sandbox_not_found"));
    const second = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    expect((await second.exec(["pwd"])).status).toBe(0);
    process.kill(
      (JSON.parse(await readFile(join(rootFolder, "sandboxes/session-1/sandbox.json"), "utf8")) as { keeper: { pid: number } }).keeper.pid,
      "SIGKILL",
    );
    await expect.poll(() => provider.checkSandboxes([second.id])).toEqual(new Map([[second.id, "ended"]]));
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

/** Where this process may give sandboxes users of their own, both ways are tried. */
const USERS = process.platform === "linux" && process.getuid?.() === 0 ? (["same", "own"] as const) : (["same"] as const);

/** Empty for a process that is gone, or that only waits to be taken off the list. */
const commandOf = (pid: number): string => (existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, "latin1") : "");

async function launchOwn(provider = createLocalSandboxProvider({ rootFolder, user: "own" }), sessionId = "session-1") {
  return {
    provider,
    sandbox: await provider.create({
      sessionId,
      environment: { OWN: "value-of-this-sandbox" },
      timeoutMs: minuteMs,
      ports: [4096],
      files: { mine: "mine" },
    }),
  };
}

describe.runIf(USERS.length > 1)("a local sandbox with a user of its own", () => {
  it("hostile 14: reads neither the variables nor the memory of the process that launched it, nor its secrets, nor another sandbox", async () => {
    process.env["PROVIDER_KEY_OF_THE_LAUNCHER"] = "sk-ant-of-the-launcher";
    const secrets = join(rootFolder, "secrets.json");
    await writeFile(secrets, "master key of the stack", { mode: 0o600 });
    const { provider, sandbox } = await launchOwn();
    const { sandbox: other } = await launchOwn(provider, "session-2");
    const neighbour = join(rootFolder, "sandboxes/session-2");
    const tried = [
      "cat",
      ...["environ", "mem", "maps"].map((file) => `/proc/${process.pid}/${file}`),
      secrets,
      join(neighbour, "sandbox.json"),
      join(neighbour, "home/mine"),
      join(rootFolder, "sandboxes/session-1/sandbox.json"),
    ];
    const results = await Promise.all(tried.slice(1).map((file) => sandbox.exec(["cat", file])));
    const listed = await Promise.all(
      [join(rootFolder, "sandboxes"), join(rootFolder, "snapshots"), neighbour, join(neighbour, "home")].map((folder) =>
        sandbox.exec(["ls", folder]),
      ),
    );
    const environments = await sandbox.exec(["sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"]);

    expect(results.map(({ status, stdout }) => [status, stdout])).toEqual(results.map(() => [1, ""]));
    expect(listed.map(({ status }) => status === 0)).toEqual(listed.map(() => false));
    expect([environments.stdout.includes("OWN=value-of-this-sandbox"), environments.stdout.includes("of-the-launcher")]).toEqual([
      true,
      false,
    ]);
    expect((await other.exec(["cat", "mine"])).stdout).toBe("mine");
    await provider.close();
    expect([processesIn(rootFolder), await sandboxesOnDisk()]).toEqual([[], []]);
  });

  it("hostile 14: is another user than its neighbour and than ours, in no other group, and can kill neither", async () => {
    const { provider, sandbox } = await launchOwn();
    const { sandbox: other } = await launchOwn(provider, "session-2");
    await other.start(["sleep", "1000"], { logPath: "log" });
    const identities = await Promise.all([sandbox, other].map((one) => one.exec(["sh", "-c", "id -u; id -G"])));
    const [mine, theirs] = identities.map(({ stdout }) => stdout.trim().split("\n"));
    const kills = await sandbox.exec([
      "sh",
      "-c",
      `kill -9 ${process.pid}; echo $?; kill -9 ${Number(Buffer.from(await other.readFile("log.pid")).toString())}; echo $?`,
    ]);

    expect([mine, theirs].map((identity) => [isSandboxUser(Number(identity?.[0])), identity?.[1] === identity?.[0]])).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(mine?.[0]).not.toBe(theirs?.[0]);
    expect(kills.stdout).toBe("1\n1\n");
    await provider.close();
  });

  it("hostile 14: is snapshotted and restored as its own user, so that links in it show nothing of ours", async () => {
    const secret = join(rootFolder, "secrets.json");
    await writeFile(secret, "master key of the stack", { mode: 0o600 });
    const { provider, sandbox } = await launchOwn();
    await sandbox.exec(["sh", "-c", `ln -s ${secret} stolen; mkdir -m 555 closed; echo kept >kept; chmod 400 kept`]);
    const snapshotId = await sandbox.snapshot();
    await sandbox.terminate();
    const resumed = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs, snapshotId });
    const seen = await resumed.exec(["sh", "-c", "cat kept; stat -c %a closed kept; readlink stolen; cat stolen; find . ! -user $(id -u)"]);

    expect(seen.stdout).toBe(`kept\n555\n400\n${secret}\n`);
    await provider.close();
  });

  it("hostile 14: takes what has wiped its variables and left its group with it when it ends", async () => {
    const { provider, sandbox } = await launchOwn();
    await sandbox.exec(["sh", "-c", "env -i setsid sh -c 'echo $$ >pid; exec sleep 1000' >/dev/null 2>&1 &"]);
    await expect.poll(async () => (await sandbox.exec(["test", "-s", "pid"])).status).toBe(0);
    const pid = Number(Buffer.from(await sandbox.readFile("pid")).toString());
    const before = commandOf(pid);
    await sandbox.terminate();

    expect([before, commandOf(pid)]).toEqual(["sleep\u00001000\0", ""]);
    await provider.close();
  });

  it("hostile 14: is not to be had below a folder that other users cannot pass through, and with programs that they cannot read; that is said", async () => {
    await chmod(rootFolder, 0o755);
    const closed = join(rootFolder, "closed");
    await mkdir(closed, { mode: 0o700 });
    await writeFile(join(closed, "agent"), "#!/bin/sh\n", { mode: 0o755 });
    const below = createLocalSandboxProvider({ rootFolder: join(closed, "sandboxes") });
    const unreadable = createLocalSandboxProvider({ rootFolder: join(rootFolder, "open"), command: [join(closed, "agent")] });
    const insisting = createLocalSandboxProvider({ rootFolder: join(closed, "sandboxes"), user: "own" });

    expect(await below.sandboxUser()).toEqual({ isOwn: false, why: expect.stringContaining("cannot pass through") });
    expect(await unreadable.sandboxUser()).toEqual({ isOwn: false, why: expect.stringContaining("cannot read") });
    await expect(insisting.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs })).rejects.toThrow(
      code("sandbox_refused"),
    );
    const sandbox = await below.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    expect((await sandbox.exec(["id", "-u"])).stdout).toBe("0\n");
    await below.close();
  });
});

describe("what a local sandbox may reach", () => {
  it.each([
    ["same", ["755", "700", "700", "700", "700", "700", "600", "600"]],
    ...(process.getuid?.() === 0 ? [["own", ["755", "711", "700", "711", "700", "700", "600", "600"]] as const] : []),
  ] as const)("lies in folders that only its user can read (%s user)", async (user, expected) => {
    await chmod(rootFolder, 0o755);
    await mkdir(join(rootFolder, "snapshots"), { mode: 0o755 });
    const provider = createLocalSandboxProvider({ rootFolder, path, user });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs, files: { "folder/file": "x" } });

    const modes = await Promise.all(
      [
        "",
        "sandboxes",
        "snapshots",
        "sandboxes/session-1",
        "sandboxes/session-1/home",
        "sandboxes/session-1/home/folder",
        "sandboxes/session-1/sandbox.json",
        "sandboxes/session-1/home/folder/file",
      ].map(async (part) => (await stat(join(rootFolder, part))).mode & 0o777),
    );
    expect(modes.map((mode) => mode.toString(8))).toEqual(expected);
    await sandbox.terminate();
  });

  it("does not lie in a folder that somebody else laid as a link", async () => {
    await mkdir(join(rootFolder, "elsewhere"));
    await symlink(join(rootFolder, "elsewhere"), join(rootFolder, "sandboxes"));
    const provider = createLocalSandboxProvider({ rootFolder, path });

    await expect(provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs })).rejects.toThrow(
      code("sandbox_refused"),
    );
    expect(processesIn(rootFolder)).toEqual([]);
  });

  it("holds no key but its own, in the environment of any of its processes and anywhere on its disk", async () => {
    const operatorKeys = {
      ANTHROPIC_API_KEY: "sk-ant-provider-key-of-the-operator",
      OPENAI_API_KEY: "sk-proj-provider-key-of-the-operator",
      LLM_PROXY_MASTER_KEY: "sk-master-key-of-the-operator",
    };
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
    const [first] = await Promise.all([
      launch("session-1", "org-1", "sk-virtual-key-of-org-1"),
      launch("session-2", "org-2", "sk-virtual-key-of-org-2"),
    ]);

    const environments = processesIn(join(rootFolder, "sandboxes/session-1")).map((pid) => readFileSync(`/proc/${pid}/environ`, "latin1"));
    const folder = join(rootFolder, "sandboxes/session-1");
    const paths = await readdir(folder, { recursive: true, withFileTypes: true });
    const contents = await Promise.all(
      paths.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name), "latin1")),
    );
    const everything = [...environments, ...contents, (await first.sandbox.exec(["sh", "-c", "env; cat /proc/self/environ"])).stdout].join(
      "\n",
    );
    expect([environments.length, contents.length]).toEqual([
      expect.toSatisfy((count: number) => count >= 1),
      expect.toSatisfy((count: number) => count >= 3),
    ]);
    expect(everything).toContain("sk-virtual-key-of-org-1");
    for (const foreign of [...Object.values(operatorKeys), "sk-virtual-key-of-org-2", "of-the-operator"])
      expect(everything).not.toContain(foreign);
    await provider.close();
  });

  it.each(USERS)("sessions F2b: cannot make the writing of a file wait, by pipes at the names that it may pass (%s user)", async (user) => {
    const provider = createLocalSandboxProvider({ rootFolder, path, user });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    // The numbers of the processes that come next, as far as anybody can guess them.
    await sandbox.exec(["sh", "-c", 'seq "$$" "$(($$ + 4000))" | sed "s/^/config.new-/" | xargs mkfifo']);

    await sandbox.writeFiles({ config: "written" });

    expect(Buffer.from(await sandbox.readFile("config")).toString()).toBe("written");
    await sandbox.terminate();
  });

  it.each(USERS)("cannot have a file read or written for it through a link that leads out (%s user)", async (user) => {
    const provider = createLocalSandboxProvider({ rootFolder, path, user });
    const sandbox = await provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs });
    const home = join(rootFolder, "sandboxes/session-1/home");
    await symlink("/etc", join(home, "etc"));
    await symlink("/etc/hostname", join(home, "hostname"));
    await symlink(join(rootFolder, "written"), join(home, "out"));

    for (const leads of ["etc/hostname", "hostname"]) await expect(sandbox.readFile(leads)).rejects.toThrow(code("invalid_request"));
    await sandbox.writeFiles({ "etc/x": "x", "out": "y" });
    expect([existsSync(join(rootFolder, "written")), existsSync("/etc/x")]).toEqual([false, false]);
    expect([await sandbox.readFile("etc/x"), await sandbox.readFile("out")].map((bytes) => Buffer.from(bytes).toString())).toEqual([
      "x",
      "y",
    ]);
    await sandbox.terminate();
  });
});

describe("many at once", () => {
  it("gives one of two launches for a session the sandbox, and the other a clear no", async () => {
    const provider = createLocalSandboxProvider({ rootFolder, path });
    const outcomes = await Promise.allSettled(
      [1, 2, 3, 4].map(() => provider.create({ sessionId: "session-1", environment: {}, timeoutMs: minuteMs })),
    );

    expect(
      outcomes.map((outcome) => (outcome.status === "rejected" ? (outcome.reason as { code?: string }).code : "created")).toSorted(),
    ).toEqual(["created", "sandbox_exists", "sandbox_exists", "sandbox_exists"]);
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
    expect([...(await provider.checkSandboxes(launched.map(({ sandbox }) => sandbox.id))).values()]).toEqual(
      Array.from({ length: 50 }, () => "running"),
    );
    await Promise.all(launched.map(({ sandbox }) => sandbox.terminate()));
    expect([processesIn(rootFolder), await sandboxesOnDisk()]).toEqual([[], []]);
  });
});
