import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { createModalSandboxProvider, type ModalSandboxProviderOptions } from "@proliferate/shared/modal";
import { buildSandboxEnv, launchAgent, type Sandbox, type SandboxProvider } from "@proliferate/shared/sandbox";
import * as modal from "modal";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { patience } from "../src/test-patience.ts";
import { type ModalStandIn, startModalStandIn } from "../src/modal-stand-in/server.ts";

/** The real SDK against the stand-in: what Modal is asked for, and what is left when it fails. */

const agent = fileURLToPath(new URL("../src/agent-stand-in/main.ts", import.meta.url));
const apiKey = "sk-virtual-of-this-session";
const code = (expected: string) => expect.objectContaining({ name: "AppError", code: expected });

let standIn: ModalStandIn;
let provider: SandboxProvider;
let sessions = 0;

const connect = (options: Partial<ModalSandboxProviderOptions> = {}): SandboxProvider =>
  createModalSandboxProvider({ tokenId: standIn.tokenId, tokenSecret: standIn.tokenSecret, image: { registryTag: "node:24" }, ...options });

beforeAll(async () => {
  standIn = await startModalStandIn({ path: `${dirname(process.execPath)}:/usr/bin:/bin` });
  process.env["MODAL_SERVER_URL"] = standIn.url;
  provider = connect();
});
afterEach(() => standIn.clear());
afterAll(async () => {
  await provider.close();
  await standIn.stop();
});

function launch(launcher = provider) {
  sessions += 1;
  const sessionId = `session-${sessions}`;
  return launchAgent(launcher, {
    sessionId,
    environment: buildSandboxEnv({ sessionId, orgId: "org-1", apiKey, baseUrl: "http://127.0.0.1:4000/v1" }),
    config: "{}",
    timeoutMs: 60_000,
    command: ({ listenPort, listenHostname }) => ["node", agent, "serve", "--port", String(listenPort), "--hostname", listenHostname],
  });
}

it("is the SDK of Modal Labs that is installed, not the package that npm's latest names", () => {
  expect(modal.ModalClient).toBeTypeOf("function");
  expect(new modal.ModalClient({ tokenId: "ak-x", tokenSecret: "as-x" }).version()).toBe("0.11.1");
});

describe("a launch at Modal", () => {
  it("asks for the session's variables, its life and an encrypted port, and for no secret object", async () => {
    const { sandbox, url } = await launch();

    const { environment, timeoutMs } = standIn.created(sandbox.id);
    expect(environment).toMatchObject({ ANTHROPIC_API_KEY: apiKey, HOME: "/root", SESSION_ID: sandbox.name });
    expect(timeoutMs).toBe(60_000);
    expect(url).toBe(sandbox.ports.get(4096)?.url);
    expect(standIn.calls).toEqual(
      expect.arrayContaining(["AuthTokenGet", "AppGetOrCreate", "SandboxCreateV2", "TaskExecStart", "TaskExecStdinWriteStream"]),
    );
    expect(standIn.calls).not.toContain("SecretGetOrCreate");
    await sandbox.terminate();
    expect(await standIn.running()).toEqual([]);
  });

  it("holds no key of ours in its variables, its processes or its files", async () => {
    const operatorKeys = {
      ANTHROPIC_API_KEY: "sk-ant-of-the-operator",
      OPENAI_API_KEY: "sk-proj-of-the-operator",
      LLM_PROXY_MASTER_KEY: "sk-master-of-the-operator",
      MODAL_TOKEN_SECRET: "as-of-the-operator",
    };
    Object.assign(process.env, operatorKeys);
    const { sandbox } = await launch();

    const { stdout } = await sandbox.exec([
      "sh",
      "-c",
      `env; cat /proc/self/environ; grep -raF -e of-the-operator -e ${standIn.tokenSecret} . && echo FOUND; find . -type f`,
    ]);
    expect(stdout).toContain(apiKey);
    expect(stdout).toContain(".config/opencode/opencode.json");
    expect(`${JSON.stringify(standIn.created(sandbox.id))}${stdout}`).not.toMatch(/-of-the-operator|FOUND/);
    await sandbox.terminate();
  });

  it("lists more sandboxes than a page holds", async () => {
    const sandboxes = await Promise.all(
      Array.from({ length: 5 }, (_, index) => provider.create({ sessionId: `many-${index}`, environment: {}, timeoutMs: 60_000 })),
    );

    expect((await provider.list()).map(({ name }) => name).toSorted()).toEqual(sandboxes.map(({ name }) => name).toSorted());
    expect(standIn.calls.filter((call) => call === "SandboxListV2").length).toBeGreaterThan(2);
    await Promise.all(sandboxes.map((sandbox) => sandbox.terminate()));
  });

  it("can be found again by a client that did not create it", async () => {
    const { sandbox } = await launch();
    sandbox.release();
    const restarted = connect();

    const found = await restarted.find(sandbox.name);
    expect([found.id, found.ports.get(4096)?.url]).toEqual([sandbox.id, sandbox.ports.get(4096)?.url]);
    expect((await found.exec(["sh", "-c", "echo $SESSION_ID"])).stdout).toBe(`${sandbox.name}\n`);
    await found.terminate();
    await restarted.close();
  });
});

describe("a token that is not taken", () => {
  it.each([
    ["swapped", { tokenId: "as-x", tokenSecret: "ak-x" }, /swapped/],
    ["no id", { tokenId: "", tokenSecret: "as-x" }, /MODAL_TOKEN_ID must begin with ak-/],
    ["a secret with a blank", { tokenId: "ak-x", tokenSecret: "as-x " }, /MODAL_TOKEN_SECRET must begin with as- and have no blanks/],
  ])("is refused before anything is sent: %s", async (_case, token, message) => {
    await expect(launch(connect(token))).rejects.toThrow(
      expect.objectContaining({ code: "sandbox_provider_unauthorized", message: expect.stringMatching(message) }),
    );
    expect(standIn.calls).toEqual([]);
  });

  it("is told from every other failure, without being repeated", async () => {
    const error: unknown = await launch(connect({ tokenSecret: "as-wrong-secret" })).catch((caught: unknown) => caught);

    expect(error).toEqual(code("sandbox_provider_unauthorized"));
    expect(JSON.stringify([error, (error as Error).message])).not.toContain("wrong-secret");
    expect(standIn.calls).toEqual(["AuthTokenGet"]);
  });

  it("is tried again when it was put right", async () => {
    const launcher = connect();
    standIn.fail("AuthTokenGet", { code: "UNAUTHENTICATED" });
    await expect(launch(launcher)).rejects.toThrow(code("sandbox_provider_unauthorized"));

    const { sandbox } = await launch(launcher);
    await sandbox.terminate();
    await launcher.close();
  });
});

describe("a call that Modal never answers", () => {
  // Every other call of the launch must be answered within it, however busy the machine is.
  const inTime = { callTimeoutMs: patience(1_500), createTimeoutMs: patience(2_000) };

  it.each([
    ["AuthTokenGet", {}, "sandbox_provider_unavailable"],
    ["AppGetOrCreate", {}, "sandbox_provider_unavailable"],
    ["EnvironmentGetOrCreate", {}, "sandbox_create_failed"],
    ["ImageGetOrCreate", {}, "sandbox_create_failed"],
    ["SandboxCreateV2", {}, "sandbox_create_failed"],
    ["SandboxCreateV2", { when: "after" }, "sandbox_create_failed"],
    ["TaskExecStart", {}, "sandbox_exec_failed"],
    ["TaskExecStdinWriteStream", {}, "sandbox_exec_failed"],
    ["TaskExecWait", {}, "sandbox_exec_failed"],
    ["TaskExecStart", { skip: 1 }, "sandbox_exec_failed"],
  ] as const)("at %s %j ends the launch with a clear error and leaves no sandbox", async (rpc, fault, expected) => {
    const launcher = connect(inTime);
    standIn.fail(rpc, { code: "HANG", times: 99, ...fault });

    const error: unknown = await launch(launcher).catch((caught: unknown) => caught);

    expect(error).toEqual(code(expected));
    expect((error as Error).message).toContain("DEADLINE_EXCEEDED");
    await expect.poll(() => standIn.running()).toEqual([]);
    await launcher.close();
  });

  it.each([
    ["SandboxGetFromNameV2", "sandbox_provider_unavailable", (launcher: SandboxProvider, { name }: Sandbox) => launcher.find(name)],
    ["SandboxListV2", "sandbox_provider_unavailable", (launcher: SandboxProvider) => launcher.list()],
    ["SandboxTagsGetV2", "sandbox_provider_unavailable", (launcher: SandboxProvider) => launcher.list()],
    ["SandboxListV2", "sandbox_provider_unavailable", (launcher: SandboxProvider, { id }: Sandbox) => launcher.checkSandboxes([id])],
    ["TaskSnapshotFilesystem", "sandbox_snapshot_failed", (_launcher: SandboxProvider, sandbox: Sandbox) => sandbox.snapshot()],
    ["ImageDelete", "sandbox_provider_unavailable", (launcher: SandboxProvider) => launcher.deleteSnapshot("im-1")],
    ["SandboxTerminateV2", "sandbox_terminate_failed", (launcher: SandboxProvider, { id }: Sandbox) => launcher.terminate(id)],
    ["SandboxWaitV2", "sandbox_terminate_failed", (launcher: SandboxProvider, { id }: Sandbox) => launcher.terminate(id)],
  ] as const)("at %s is given up with %s", async (rpc, expected, call) => {
    const launcher = connect(inTime);
    const { sandbox } = await launch(launcher);
    standIn.fail(rpc, { code: "HANG", times: 99 });

    await expect(call(launcher, sandbox)).rejects.toThrow(code(expected));

    standIn.clear();
    await launcher.terminate(sandbox.id);
    expect(await standIn.running()).toEqual([]);
    await launcher.close();
  });
});

describe("a failure of Modal", () => {
  it.each([
    ["AppGetOrCreate", { code: "INTERNAL", times: 9 }, "sandbox_provider_unavailable"],
    ["EnvironmentGetOrCreate", { code: "RESOURCE_EXHAUSTED" }, "sandbox_provider_unavailable"],
    ["ImageGetOrCreate", { code: "INVALID_ARGUMENT", details: "no such tag" }, "sandbox_refused"],
    ["SandboxCreateV2", { code: "RESOURCE_EXHAUSTED" }, "sandbox_provider_unavailable"],
    ["SandboxCreateV2", { code: "UNAVAILABLE", times: 9 }, "sandbox_provider_unavailable"],
    ["SandboxCreateV2", { code: "UNAVAILABLE", times: 9, when: "after" }, "sandbox_provider_unavailable"],
    ["SandboxCreateV2", { code: "FAILED_PRECONDITION", when: "after" }, "sandbox_create_failed"],
    // The SDK tells a failure of its file operations without the status.
    ["TaskExecStart", { code: "FAILED_PRECONDITION" }, "sandbox_exec_failed", "opencode.json could not be written"],
    ["TaskExecStdinWriteStream", { code: "INVALID_ARGUMENT" }, "sandbox_exec_failed", "opencode.json could not be written"],
    ["TaskExecWait", { code: "ABORTED" }, "sandbox_exec_failed", "opencode.json could not be written"],
    ["TaskExecStart", { code: "FAILED_PRECONDITION", skip: 1 }, "sandbox_exec_failed"],
    ["TaskExecStart", { code: "RESOURCE_EXHAUSTED", skip: 1, when: "after" }, "sandbox_provider_unavailable"],
  ] as const)("at %s %j leaves no sandbox and says what failed", async (rpc, fault, expected, told: string = fault.code) => {
    const launcher = connect();
    standIn.fail(rpc, fault);

    const error: unknown = await launch(launcher).catch((caught: unknown) => caught);

    expect(error).toEqual(code(expected));
    expect((error as Error).message).toContain(told);
    expect((error as Error).message).not.toContain(apiKey);
    expect(await standIn.running()).toEqual([]);
    await launcher.close();
  });

  it.each([
    "AuthTokenGet",
    "AppGetOrCreate",
    "ImageGetOrCreate",
    "SandboxCreateV2",
    "TaskExecStart",
    "TaskExecStdinWriteStream",
    "TaskExecWait",
    "SandboxTerminateV2",
    "SandboxWaitV2",
  ])("that passes, at %s, passes unnoticed and makes nothing twice", async (rpc) => {
    const launcher = connect();
    for (const when of ["before", "after"] as const) {
      standIn.fail(rpc, { code: "UNAVAILABLE", when });
      const { sandbox } = await launch(launcher);

      expect(await standIn.running()).toEqual([sandbox.id]);
      await sandbox.terminate();
      expect(await standIn.running()).toEqual([]);
    }
    await launcher.close();
  });

  it("says which sandbox is left when it cannot be ended, and ends it when asked again", async () => {
    standIn.fail("TaskExecStart", { code: "FAILED_PRECONDITION" });
    standIn.fail("SandboxTerminateV2", { code: "INTERNAL", times: 9 });

    const error: unknown = await launch().catch((caught: unknown) => caught);

    const [left = ""] = await standIn.running();
    expect(error).toMatchObject({ code: "sandbox_terminate_failed", message: expect.stringContaining(left), details: { sandboxId: left } });
    standIn.clear();
    await provider.terminate(left);
    expect(await standIn.running()).toEqual([]);
  });

  it("does not end the running sandbox of the session whose second launch fails", async () => {
    const { sandbox } = await launch();
    standIn.fail("SandboxCreateV2", { code: "UNAVAILABLE", times: 9 });

    await expect(provider.create({ sessionId: sandbox.name, environment: {}, timeoutMs: 60_000 })).rejects.toThrow(
      code("sandbox_provider_unavailable"),
    );
    standIn.clear();
    await expect(provider.create({ sessionId: sandbox.name, environment: {}, timeoutMs: 60_000 })).rejects.toThrow(code("sandbox_exists"));
    expect(await standIn.running()).toEqual([sandbox.id]);
    await sandbox.terminate();
  });

  it("is never taken for a sandbox that is gone", async () => {
    const { sandbox } = await launch();

    standIn.fail("SandboxGetFromNameV2", { code: "INTERNAL", times: 9 });
    await expect(provider.find(sandbox.name)).rejects.toThrow(code("sandbox_provider_unavailable"));
    standIn.fail("SandboxListV2", { code: "INTERNAL", times: 9 });
    await expect(provider.checkSandboxes([sandbox.id])).rejects.toThrow(code("sandbox_provider_unavailable"));
    standIn.fail("TaskExecStdioRead", { code: "PERMISSION_DENIED", times: 2 });
    await expect(sandbox.readFile("file")).rejects.toThrow(code("sandbox_exec_failed"));
    await expect(sandbox.exec(["echo"])).rejects.toThrow(code("sandbox_provider_unauthorized"));
    standIn.fail("SandboxWaitV2", { code: "INTERNAL", times: 9 });
    await expect(provider.terminate(sandbox.id)).rejects.toThrow(code("sandbox_terminate_failed"));
    standIn.clear();
    await sandbox.terminate();
  });

  it("hides the values of the environment that an answer repeats", async () => {
    standIn.fail("SandboxCreateV2", { code: "INVALID_ARGUMENT", details: `bad value ${apiKey} in env` });

    await expect(launch()).rejects.toThrow(expect.objectContaining({ message: expect.stringContaining("bad value … in env") }));
  });
});
