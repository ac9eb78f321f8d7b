import { execFile } from "node:child_process";
import { access, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { LaunchedSession } from "@proliferate/shared/contracts";
import { z } from "zod";
import type { AgentAnswer } from "./agent-request.ts";

const OPENCODE_VERSION = "1.18.33";
const RUN_TIMEOUT_MS = 120_000;
const TITLE_TIMEOUT_MS = 20_000;
const PROMPT = "Use the bash tool to run `echo hello from the sandbox`, then tell me what it printed.";

const folderOf = (toolsFolder: string): string => join(toolsFolder, `opencode-${OPENCODE_VERSION}`);
const programOf = (toolsFolder: string): string => join(folderOf(toolsFolder), "node_modules", ".bin", "opencode");

/** The program, where it was fetched before. */
export async function findOpencode(toolsFolder: string): Promise<string | undefined> {
  const program = programOf(toolsFolder);
  return access(program).then(
    () => program,
    () => undefined,
  );
}

/** Fetches the real OpenCode from npm, once, at an exact version. Returns the path of its program. */
export async function fetchOpencode(toolsFolder: string, announce: (text: string) => void): Promise<string> {
  const folder = folderOf(toolsFolder);
  const program = programOf(toolsFolder);
  if (await findOpencode(toolsFolder)) return program;
  announce(`fetching opencode-ai ${OPENCODE_VERSION} from npm (about 180 MB, once)`);
  await mkdir(folder, { recursive: true });
  try {
    await promisify(execFile)(
      "npm",
      ["install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", `opencode-ai@${OPENCODE_VERSION}`],
      { timeout: 600_000 },
    );
    // What its install script does: link the program of this platform. Run by us, because npm may be set to run none.
    await promisify(execFile)(process.execPath, [join(folder, "node_modules", "opencode-ai", "postinstall.mjs")], {
      cwd: join(folder, "node_modules", "opencode-ai"),
    });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(`opencode-ai ${OPENCODE_VERSION} could not be installed: ${(error as { stderr?: string }).stderr ?? String(error)}`, {
      cause: error,
    });
  }
  return program;
}

const sessionSchema = z.object({ id: z.string(), title: z.string() });
const partSchema = z.object({
  type: z.string(),
  text: z.string().optional(),
  tool: z.string().optional(),
  state: z.object({ status: z.string() }).optional(),
});
const messageSchema = z.object({ info: z.object({ role: z.string(), error: z.unknown().optional() }), parts: z.array(partSchema) });

/**
 * Gives the agent in the sandbox a task, through its server, and returns when it is done: the tool was used, the answer is
 * there, and so is the title, which another model writes. Throws an Error that says what is missing.
 */
export async function askOpencode({ url, username, password }: LaunchedSession["agent"]): Promise<AgentAnswer> {
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const ask = async (method: string, path: string, body?: object): Promise<unknown> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization, "content-type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(RUN_TIMEOUT_MS),
    });
    if (!response.ok)
      throw new Error(`OpenCode answered ${method} ${path} with status ${response.status}: ${(await response.text()).slice(0, 500)}`);
    return response.json();
  };
  const startedAt = performance.now();
  const { id } = sessionSchema.parse(await ask("POST", "/session", {}));
  const answer = messageSchema.parse(await ask("POST", `/session/${id}/message`, { parts: [{ type: "text", text: PROMPT }] }));
  const latencyMs = Math.round(performance.now() - startedAt);
  if (answer.info.error !== undefined)
    throw new Error(`OpenCode could not do its task: ${JSON.stringify(answer.info.error).slice(0, 500)}`);
  const messages = z.array(messageSchema).parse(await ask("GET", `/session/${id}/message`));
  const tools = messages.flatMap(({ parts }) => parts).filter((part) => part.type === "tool" && part.state?.status === "completed");
  if (tools.length === 0) throw new Error("OpenCode answered without using its tool.");
  await untilTitled(async () => sessionSchema.parse(await ask("GET", `/session/${id}`)).title);
  const text = answer.parts
    .flatMap((part) => (part.type === "text" ? [part.text ?? ""] : []))
    .join("")
    .trim();
  return { text, latencyMs, firstTokenMs: undefined };
}

/** The title comes beside the answer, sometimes after it. Its request is billed whether or not it is used, so it is waited for. */
async function untilTitled(readTitle: () => Promise<string>): Promise<void> {
  const deadline = performance.now() + TITLE_TIMEOUT_MS;
  while (/^New session\b/i.test(await readTitle())) {
    if (performance.now() > deadline) throw new Error("OpenCode gave its session no title; the request for it may have failed.");
    await delay(100);
  }
}

/** The version that really runs, as it says itself. */
export async function installedVersion(program: string): Promise<string> {
  const manifest = join(dirname(dirname(program)), "opencode-ai", "package.json");
  return (JSON.parse(await readFile(manifest, "utf8")) as { version: string }).version;
}
