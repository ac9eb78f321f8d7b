import { execFile, spawn } from "node:child_process";
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { CreateSessionResponse } from "@proliferate/shared/contracts";
import type { AgentAnswer } from "./agent-request.ts";

export const OPENCODE_VERSION = "1.18.33";
const RUN_TIMEOUT_MS = 120_000;
const PROMPT = "Use the bash tool to run `echo hello from the sandbox`, then tell me what it printed.";

/** Fetches the real OpenCode from npm, once, at an exact version. Returns the path of its program. */
export async function fetchOpencode(toolsFolder: string, announce: (text: string) => void): Promise<string> {
  const folder = join(toolsFolder, `opencode-${OPENCODE_VERSION}`);
  const program = join(folder, "node_modules", ".bin", "opencode");
  if (await access(program).then(() => true, () => false)) return program;
  announce(`fetching opencode-ai ${OPENCODE_VERSION} from npm (about 180 MB, once)`);
  await mkdir(folder, { recursive: true });
  try {
    await promisify(execFile)("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", `opencode-ai@${OPENCODE_VERSION}`], { timeout: 600_000 });
    // What its install script does: link the program of this platform. Run by us, because npm may be set to run none.
    await promisify(execFile)(process.execPath, [join(folder, "node_modules", "opencode-ai", "postinstall.mjs")], { cwd: join(folder, "node_modules", "opencode-ai") });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(`opencode-ai ${OPENCODE_VERSION} could not be installed: ${(error as { stderr?: string }).stderr ?? String(error)}`, { cause: error });
  }
  return program;
}

/**
 * Runs OpenCode as a sandbox would: an empty home, the generated configuration at its path, and only the variables that
 * the session hands out. Throws an Error with OpenCode's own words when it fails.
 */
export async function askWithOpencode(program: string, session: CreateSessionResponse): Promise<AgentAnswer> {
  const home = await mkdtemp(join(tmpdir(), "opencode-home-"));
  const workspace = join(home, "workspace");
  const config = join(home, session.opencode_config_path);
  try {
    await mkdir(workspace, { recursive: true });
    await mkdir(dirname(config), { recursive: true });
    await writeFile(config, JSON.stringify(session.opencode_config, undefined, 2));
    const environment = { ...session.environment, HOME: home, PATH: process.env["PATH"] ?? "", OPENCODE_DISABLE_MODELS_FETCH: "1", TERM: "dumb" };
    const startedAt = performance.now();
    const text = await run(program, ["run", PROMPT], { cwd: workspace, env: environment });
    return { text, latencyMs: Math.round(performance.now() - startedAt), firstTokenMs: undefined };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function run(program: string, argv: readonly string[], options: { cwd: string; env: Record<string, string> }): Promise<string> {
  const child = spawn(program, argv, { ...options, stdio: ["ignore", "pipe", "pipe"], timeout: RUN_TIMEOUT_MS });
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  const status = await new Promise<number | null>((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done(code));
  });
  if (status === 0) return (await stdout).trim();
  throw new Error(`opencode ended with status ${status}:\n${(await stderr).trim().slice(-2_000)}`);
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  return text;
}

/** The version that really runs, as it says itself. */
export async function installedVersion(program: string): Promise<string> {
  const manifest = join(dirname(dirname(program)), "opencode-ai", "package.json");
  return (JSON.parse(await readFile(manifest, "utf8")) as { version: string }).version;
}
