import { execFile } from "node:child_process";
import { access, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/** The scripts as a stranger types them: from a shell, with what a machine has on which nothing was installed. */

const ROOT = fileURLToPath(new URL("../", import.meta.url));

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, argv: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((done) => {
    execFile(
      program,
      [...argv],
      { cwd: ROOT, env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...environment } },
      (error, stdout, stderr) => {
        done({ status: error === null ? 0 : Number(error.code), stdout, stderr });
      },
    );
  });
}

// Every one that begins with the Bash line.
const SHELL_SCRIPTS = (await readdir(join(ROOT, "scripts"), { withFileTypes: true }))
  .filter((entry) => entry.isFile() && !/\.(ts|json)$/.test(entry.name) && entry.name !== "toolchain.sh" && entry.name !== "metrics.sh")
  .map(({ name }) => name);

describe("users 14: without Node, npm or anything installed", () => {
  let bare: string;
  afterAll(() => rm(bare, { recursive: true, force: true }));
  beforeAll(async () => {
    bare = await mkdtemp(join(tmpdir(), "bare-machine-"));
    for (const tool of ["bash", "cat", "dirname", "sed", "env"]) await symlink(await which(tool), join(bare, tool));
  });

  test.each([
    ["scripts/dev-start.sh", "Usage: ./scripts/dev-start.sh"],
    ["scripts/billing", "Usage: ./scripts/billing"],
    ["scripts/session", "Usage: ./scripts/session"],
    ["scripts/test.sh", "./scripts/test.sh packages/services"],
    ["scripts/prove-docs.sh", "./scripts/prove-docs.sh"],
  ])("%s --help says what there is, and --version which this is", async (script, expected) => {
    const [help, version] = [await run(script, ["--help"], { PATH: bare }), await run(script, ["--version"], { PATH: bare })];

    expect(help).toMatchObject({ status: 0, stderr: "" });
    expect(help.stdout).toContain(expected);
    const { version: stated } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { version: string };
    expect(version).toEqual({ status: 0, stdout: `${stated}\n`, stderr: "" });
  });

  test("the commands of the groups stand in their help, and a bare group prints it with status 0", async () => {
    const { status, stdout } = await run("scripts/billing", [], { PATH: bare });

    expect(status).toBe(0);
    for (const command of ["status", "explain", "org", "top-up", "reconcile"])
      expect(stdout).toMatch(new RegExp(`^ {2}${command}\\b`, "m"));
  });
});

async function which(tool: string): Promise<string> {
  for (const folder of (process.env["PATH"] ?? "").split(":")) {
    const path = join(folder, tool);
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  throw new Error(`${tool} is not on PATH`);
}

// What sh is on many machines: a shell that is no Bash.
const dash = await which("dash").catch(() => undefined);

test.runIf(dash).each(SHELL_SCRIPTS)("users 14: sh scripts/%s says that it needs Bash", async (script) => {
  expect(await run(dash ?? "", [`scripts/${script}`])).toEqual({
    status: 2,
    stdout: "",
    stderr: `This needs Bash: run ./scripts/${script}, or bash scripts/${script}.\n`,
  });
});

const start = (argv: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  run(process.execPath, ["scripts/dev-stack/main.ts", ...argv], environment);

describe("users 13, 14: what the development stack says of a wrong start", () => {
  test("an unknown option is named, with where the options are, and the status is 2", async () => {
    const { status, stderr } = await start(["--wrong"]);

    expect(status).toBe(2);
    expect(stderr).toBe("\nUnknown option '--wrong'. ./scripts/dev-start.sh --help lists what there is.\n");
  });

  test("with --json it is one object on standard output", async () => {
    const { status, stdout } = await start(["--json"], { LLM_PROXY_PORT: "abc" });

    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      ok: false,
      error: { code: "env_invalid", message: expect.stringContaining("LLM_PROXY_PORT: must be a whole number from 0 to 65535") },
    });
  });

  test.each([
    [
      { LLM_PROXY_PORT: "24490", LLM_PROXY_ADMIN_PORT: "24490" },
      "LLM_PROXY_PORT and LLM_PROXY_ADMIN_PORT are both 24490: each needs a port of its own.",
    ],
    [{ DATABASE_URL: "foo" }, "DATABASE_URL: must be a postgresql:// URL"],
    [{ LLM_PROXY_PORT: "abc" }, "LLM_PROXY_PORT: must be a whole number from 0 to 65535"],
  ])("%j is blamed for what it is", async (environment, expected) => {
    const { status, stderr } = await start(["--once"], environment);

    expect(status).toBe(2);
    expect(stderr).toContain(expected);
    expect(stderr).not.toContain("NaN");
  });
});

const hint = (said: string): Promise<Ended> => run("bash", ["-c", '. scripts/toolchain.sh; installation_hint "$1"', "bash", said]);

describe("users 13: an installation that fails", () => {
  test.each([
    ["Permission denied (os error 13)", "must be able to write"],
    ["EROFS: read-only file system", "must be able to write"],
    ["No space left on device", "Make room"],
    ["invalid peer certificate: UnknownIssuer", "npm config set cafile"],
    ["error sending request: dns error", "registry is reachable: http"],
  ])("%s: the hint is about that", async (said, expected) => {
    expect((await hint(said)).stdout).toContain(expected);
  });
});

test("npm's settings of registry, CA file and proxy hold for what pnpm fetches", async () => {
  const { stdout } = await run(
    "bash",
    ["-c", '. scripts/toolchain.sh; adopt_npm_settings; printf "%s\\n" "$pnpm_config_registry" "$NODE_EXTRA_CA_CERTS" "$HTTPS_PROXY"'],
    { npm_config_registry: "http://127.0.0.1:9/mirror/", npm_config_cafile: "/etc/hosts", npm_config_https_proxy: "http://127.0.0.1:10/" },
  );

  expect(stdout).toBe("http://127.0.0.1:9/mirror/\n/etc/hosts\nhttp://127.0.0.1:10/\n");
});
