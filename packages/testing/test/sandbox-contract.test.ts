import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createModalSandboxProvider } from "@proliferate/shared/modal";
import {
  agentAuthorization,
  buildSandboxEnv,
  createLocalSandboxProvider,
  getOpencodeConfig,
  launchAgent,
  type LaunchAgentOptions,
  type LaunchProgress,
  type Sandbox,
  type SandboxProvider,
} from "@proliferate/shared/sandbox";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ModalStandIn, startModalStandIn } from "../src/modal-stand-in/server.ts";

/** Both launchers keep the same contract: the local one, and the real Modal SDK against a stand-in of Modal. */

const path = `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`;
const agent = fileURLToPath(new URL("../src/agent-stand-in/main.ts", import.meta.url));
const minuteMs = 60_000;
const newSession = (): string => `session-${randomBytes(6).toString("hex")}`;
const environment = (sessionId: string): Record<string, string> =>
  buildSandboxEnv({ sessionId, orgId: "org-1", apiKey: "sk-virtual-of-this-session", baseUrl: "http://127.0.0.1:4000/v1" });

const code = (expected: string) => expect.objectContaining({ name: "AppError", code: expected });

async function startLocal(): Promise<{ provider: SandboxProvider; stop: () => Promise<void> }> {
  const rootFolder = await mkdtemp(join(tmpdir(), "sandbox-contract-"));
  const provider = createLocalSandboxProvider({ rootFolder, path });
  return { provider, stop: async () => provider.close().then(() => rm(rootFolder, { recursive: true, force: true })) };
}

async function startModal(): Promise<{ provider: SandboxProvider; stop: () => Promise<void> }> {
  const standIn: ModalStandIn = await startModalStandIn({ path });
  process.env["MODAL_SERVER_URL"] = standIn.url;
  const { tokenId, tokenSecret } = standIn;
  const provider = createModalSandboxProvider({ tokenId, tokenSecret, image: { registryTag: "node:24" } });
  return { provider, stop: async () => provider.close().then(() => standIn.stop()) };
}

describe.each([
  ["local", startLocal],
  ["modal", startModal],
] as const)("the %s launcher", (_name, start) => {
  let provider: SandboxProvider;
  let stop: () => Promise<void>;

  beforeAll(async () => {
    ({ provider, stop } = await start());
  });
  afterAll(() => stop());

  async function withSandbox(work: (sandbox: Sandbox, sessionId: string) => Promise<void>): Promise<void> {
    const sessionId = newSession();
    const sandbox = await provider.create({
      sessionId,
      environment: environment(sessionId),
      timeoutMs: minuteMs,
      ports: [4096],
      files: { "notes/first.txt": "from the start" },
    });
    try {
      await work(sandbox, sessionId);
    } finally {
      await provider.terminate(sandbox.id);
      sandbox.release();
    }
  }

  const launch = (sessionId: string, added: Partial<LaunchAgentOptions> = {}, flags: readonly string[] = []) =>
    launchAgent(provider, {
      sessionId,
      environment: environment(sessionId),
      config: "{}",
      timeoutMs: minuteMs,
      command: ({ listenPort, listenHostname }) => [
        "node",
        agent,
        "serve",
        "--port",
        String(listenPort),
        "--hostname",
        listenHostname,
        ...flags,
      ],
      ...added,
    });

  it("awaits a command to its exit and tells status, stdout and stderr apart", async () => {
    await withSandbox(async (sandbox) => {
      const result = await sandbox.exec(["sh", "-c", "echo out; sleep 0.1; echo err >&2; exit 7"]);

      expect(result).toEqual({ status: 7, stdout: "out\n", stderr: "err\n", truncated: false });
    });
  });

  it("hands arguments to the program as they are, without a shell", async () => {
    await withSandbox(async (sandbox) => {
      const hostile = `$(id) \`id\` "; rm -rf ~ ' \n é`;

      expect((await sandbox.exec(["printf", "%s", hostile])).stdout).toBe(hostile);
    });
  });

  it("gives every command the variables of the sandbox and of the call, and nothing of ours", async () => {
    process.env["ANTHROPIC_API_KEY"] = "sk-ant-of-the-operator";
    await withSandbox(async (sandbox, sessionId) => {
      const { stdout } = await sandbox.exec(["env"], { environment: { ADDED: "yes" } });

      expect(stdout).toContain(`SESSION_ID=${sessionId}\n`);
      expect(stdout).toContain("ADDED=yes\n");
      expect(stdout).toContain("ANTHROPIC_API_KEY=sk-virtual-of-this-session\n");
      expect(stdout).not.toContain("sk-ant-of-the-operator");
    });
  });

  it("kills a command at its time-out and says so", async () => {
    await withSandbox(async (sandbox) => {
      await expect(sandbox.exec(["sh", "-c", "echo $$ >pid; exec sleep 30"], { timeoutMs: 1001 })).rejects.toThrow(
        code("sandbox_exec_timeout"),
      );
      await expect.poll(async () => (await sandbox.exec(["sh", "-c", "test -s pid && ! kill -0 $(cat pid)"])).status).toBe(0);
    });
  });

  it("keeps the first bytes of a long output and reads on, so that the program is not held up", async () => {
    await withSandbox(async (sandbox) => {
      const result = await sandbox.exec(["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo done >&2"], { maxOutputBytes: 1000 });

      expect([result.stdout.length, result.stderr, result.truncated, result.status]).toEqual([1000, "done\n", true, 0]);
    });
  });

  it("writes files before it returns, any bytes at any depth, and reads them back", async () => {
    await withSandbox(async (sandbox) => {
      const bytes = new Uint8Array(randomBytes(300_000));
      await sandbox.writeFiles({ "a/b/c.bin": bytes, "quote ' \" $HOME.txt": "text", "empty": "" });

      expect(new TextDecoder().decode(await sandbox.readFile("notes/first.txt"))).toBe("from the start");
      expect(Buffer.compare(await sandbox.readFile("a/b/c.bin"), bytes)).toBe(0);
      expect((await sandbox.exec(["cat", "quote ' \" $HOME.txt"])).stdout).toBe("text");
      expect((await sandbox.readFile("empty")).length).toBe(0);
      await expect(sandbox.readFile("missing")).rejects.toThrow(code("sandbox_file_not_found"));
    });
  });

  it.each(["../escape", "/etc/passwd", "a//b", "", "a/../../b"])("refuses the path %j", async (wrongPath) => {
    await withSandbox(async (sandbox) => {
      await expect(sandbox.writeFiles({ [wrongPath]: "x" })).rejects.toThrow(code("invalid_request"));
      await expect(sandbox.readFile(wrongPath)).rejects.toThrow(code("invalid_request"));
    });
  });

  it("finds the running sandbox of a session, refuses a second one, and lists both ends of its life", async () => {
    await withSandbox(async (sandbox, sessionId) => {
      const found = await provider.find(sessionId);

      expect([found.id, found.ports.get(4096)]).toEqual([sandbox.id, sandbox.ports.get(4096)]);
      expect((await found.exec(["cat", "notes/first.txt"])).stdout).toBe("from the start");
      found.release();
      await expect(provider.create({ sessionId, environment: {}, timeoutMs: minuteMs })).rejects.toThrow(code("sandbox_exists"));
      expect(await provider.list()).toContainEqual({ id: sandbox.id, name: sessionId });
      expect(await provider.checkSandboxes([sandbox.id, "sb-of-nobody"])).toEqual(
        new Map([
          [sandbox.id, "running"],
          ["sb-of-nobody", "ended"],
        ]),
      );
      await sandbox.terminate();
      expect(await provider.checkSandboxes([sandbox.id])).toEqual(new Map([[sandbox.id, "ended"]]));
      await expect(provider.find(sessionId)).rejects.toThrow(code("sandbox_not_found"));
    });
  });

  it("ends everything at once, also what left its process group, and ends it twice without complaint", async () => {
    await withSandbox(async (sandbox) => {
      await sandbox.start(["sh", "-c", "setsid sleep 1000 & sleep 1000"], { logPath: "log" });
      await sandbox.terminate();
      await sandbox.terminate();
      await provider.terminate(sandbox.id);

      await expect(sandbox.exec(["true"])).rejects.toThrow(code("sandbox_not_found"));
    });
  });

  it("tells another handle that the sandbox has ended", async () => {
    await withSandbox(async (sandbox, sessionId) => {
      const other = await provider.find(sessionId);
      await other.exec(["true"]);
      await sandbox.terminate();

      await expect(other.exec(["true"])).rejects.toThrow(code("sandbox_not_found"));
      await expect(other.writeFiles({ a: "b" })).rejects.toThrow(code("sandbox_not_found"));
      other.release();
    });
  });

  it("ends a sandbox by itself at its time-out", async () => {
    const sandbox = await provider.create({ sessionId: newSession(), environment: {}, timeoutMs: 1000 });

    await expect.poll(() => provider.checkSandboxes([sandbox.id])).toEqual(new Map([[sandbox.id, "ended"]]));
    sandbox.release();
  });

  it("resumes from a snapshot, which holds the files of that moment", async () => {
    const resumed = newSession();
    let snapshotId = "";
    await withSandbox(async (sandbox) => {
      await sandbox.exec(["sh", "-c", "echo kept > work.txt; ln -s work.txt link; mkfifo pipe; chmod 755 work.txt"]);
      snapshotId = await sandbox.snapshot();
      await sandbox.exec(["sh", "-c", "echo changed > work.txt"]);
    });
    const sandbox = await provider.create({
      sessionId: resumed,
      environment: environment(resumed),
      timeoutMs: minuteMs,
      snapshotId,
      files: { "notes/first.txt": "again" },
    });

    expect((await sandbox.exec(["sh", "-c", "cat link notes/first.txt; test -x work.txt; echo $?; echo $SESSION_ID"])).stdout).toBe(
      `kept\nagain0\n${resumed}\n`,
    );
    await sandbox.terminate();
    await provider.deleteSnapshot(snapshotId);
    await provider.deleteSnapshot(snapshotId);
    await expect(provider.create({ sessionId: resumed, environment: {}, timeoutMs: minuteMs, snapshotId })).rejects.toThrow(
      code("sandbox_snapshot_not_found"),
    );
  });

  it.each([
    [
      "its configuration is a link into a folder of links",
      "mkdir -p dotfiles .config/opencode; echo theirs >dotfiles/opencode.json; ln -sf ../../dotfiles/opencode.json .config/opencode/opencode.json",
    ],
    ["its configuration is a link that leads nowhere", "mkdir -p .config/opencode; ln -s /nowhere/else .config/opencode/opencode.json"],
    [
      "the folder above is a link out of the home",
      "mkdir /tmp/proliferate-test-$SESSION_ID; rm -rf .config; ln -s /tmp/proliferate-test-$SESSION_ID .config",
    ],
    ["the folder above is a link to another one in the home", "mkdir elsewhere; rm -rf .config; ln -s elsewhere .config"],
    ["the folder above is a file", "rm -rf .config; echo theirs >.config"],
    ["a folder stands in its place", "mkdir -p .config/opencode/opencode.json/inside"],
    ["a pipe stands in its place", "mkdir -p .config/opencode; mkfifo .config/opencode/opencode.json"],
    [
      "nothing above may be written",
      "mkdir -p .config/opencode; echo theirs >.config/opencode/opencode.json; chmod 400 .config/opencode/opencode.json; chmod 500 .config/opencode .config",
    ],
    ["the log is a folder", "mkdir .agent.log .agent.log.pid"],
    ["the log is a link out of the home", "ln -s /tmp/proliferate-test-log-$SESSION_ID .agent.log"],
  ])("sessions F2b: a session is launched again from its snapshot although %s", async (_case, mischief) => {
    const sessionId = newSession();
    const first = await launch(sessionId);
    // What the launch itself wrote is the agent's to move.
    await first.sandbox.exec(["sh", "-c", `rm -rf .agent.log .agent.log.pid .config; ${mischief}`]);
    const snapshotId = await first.sandbox.snapshot();
    await first.sandbox.terminate();
    const { sandbox } = await launch(sessionId, { snapshotId, config: '{"written":"anew"}', files: { "notes/a.txt": "a" } });
    const config = Buffer.from(await sandbox.readFile(".config/opencode/opencode.json")).toString();
    const outside = await sandbox.exec([
      "sh",
      "-c",
      "find /tmp/proliferate-test-$SESSION_ID /tmp/proliferate-test-log-$SESSION_ID -type f 2>/dev/null; rm -rf /tmp/proliferate-test-$SESSION_ID; find . -type f -exec grep -l theirs {} + | wc -l",
    ]);

    expect(config).toBe('{"written":"anew"}');
    // Nothing was written out of the home, and what was somebody's is still there.
    expect(outside.stdout.trim()).toBe(/theirs/.test(mischief) && !/chmod/.test(mischief) ? "1" : "0");
    await sandbox.terminate();
    await provider.deleteSnapshot(snapshotId);
  });

  it.each([
    { timeoutMs: 1500 },
    { timeoutMs: 0 },
    { ports: [0] },
    { ports: [80, 80] },
    { sessionId: "" },
    { environment: { "A B": "" } },
    { environment: { A: "a\0" } },
    { files: { "../x": "" } },
  ])("refuses %j and creates nothing", async (wrong) => {
    const before = await provider.list();

    await expect(provider.create({ sessionId: newSession(), environment: {}, timeoutMs: minuteMs, ...wrong } as never)).rejects.toThrow(
      code("invalid_request"),
    );
    expect(await provider.list()).toEqual(before);
  });

  it("launches an agent that answers to its password, and reports each step once, in order", async () => {
    const sessionId = newSession();
    const progress: LaunchProgress[] = [];
    const launched = await launch(sessionId, { onProgress: (step) => progress.push(step) });

    const answers = await Promise.all(
      [agentAuthorization(launched.password), "Basic d3Jvbmc="].map((authorization) =>
        fetch(`${launched.url}/global/health`, { headers: { authorization } }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 401]);
    expect(progress.map(({ step }) => step)).toEqual(["creating", "created", "starting_agent", "waiting_for_agent", "ready"]);
    expect(progress.at(-1)).toMatchObject({ sandboxId: launched.sandbox.id });
    expect(new TextDecoder().decode(await launched.sandbox.readFile(".config/opencode/opencode.json"))).toBe("{}");
    await launched.sandbox.terminate();
    await expect(fetch(launched.url)).rejects.toThrow("fetch failed");
  });

  it.each([
    ["ends at once", ["--exit", "3"], {}, "sandbox_not_ready", /status 3/],
    ["stays silent", ["--delay", "60000"], { readyTimeoutMs: 300 }, "sandbox_not_ready", /within 300 ms/],
    ["asks for no password", ["--open"], {}, "sandbox_not_ready", /without a password/],
    ["is no program", [], { command: () => ["no-such-program"] }, undefined, /no-such-program|status 127/],
  ] as const)("leaves nothing of a launch whose agent %s", async (_case, flags, added, expected, message) => {
    const sessionId = newSession();
    const steps: string[] = [];
    const error: unknown = await launch(sessionId, { ...added, onProgress: ({ step }) => steps.push(step) }, flags).catch(
      (caught: unknown) => caught,
    );

    expect(error).toMatchObject({ name: "AppError", message: expect.stringMatching(message) });
    expect([undefined, (error as { code: string }).code]).toContain(expected);
    expect(steps.at(-1)).toBe("failed");
    await expect(provider.find(sessionId)).rejects.toThrow(code("sandbox_not_found"));
  });

  it("leaves nothing of a launch that is cancelled, at any step", async () => {
    for (const when of ["creating", "created", "starting_agent", "waiting_for_agent"]) {
      const sessionId = newSession();
      const cancel = new AbortController();
      const launching = launch(sessionId, { signal: cancel.signal, onProgress: ({ step }) => step === when && cancel.abort() }, [
        "--delay",
        "60000",
      ]);

      await expect(launching).rejects.toThrow(code("sandbox_launch_cancelled"));
      await expect(provider.find(sessionId)).rejects.toThrow(code("sandbox_not_found"));
    }
  });

  // TEST_OPENCODE_FOLDER: the folder of an installed opencode program, which is too large to fetch for every run.
  it.runIf(process.env["TEST_OPENCODE_FOLDER"])(
    "launches the real OpenCode, which reads its configuration and asks for the password",
    async () => {
      const sessionId = newSession();
      const { sandbox, url, password } = await launchAgent(provider, {
        sessionId,
        environment: {
          ...environment(sessionId),
          PATH: `${process.env["TEST_OPENCODE_FOLDER"]}:${path}`,
          OPENCODE_DISABLE_MODELS_FETCH: "1",
        },
        config: getOpencodeConfig({ model: "anthropic/claude-sonnet-4-5", baseUrl: "http://127.0.0.1:4000/v1" }),
        timeoutMs: minuteMs,
        readyTimeoutMs: minuteMs,
      });

      const headers = { authorization: agentAuthorization(password) };
      expect(await (await fetch(`${url}/config`, { headers })).json()).toMatchObject({
        model: "anthropic/claude-sonnet-4-5",
        share: "disabled",
      });
      expect(
        (await fetch(`${url}/session`, { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: "{}" })).status,
      ).toBe(200);
      expect((await fetch(`${url}/config`)).status).toBe(401);
      await sandbox.terminate();
    },
  );

  it("refuses to launch an agent without a password", async () => {
    await expect(launch(newSession(), { environment: {} })).rejects.toThrow(code("invalid_request"));
  });
});
