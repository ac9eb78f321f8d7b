import { AppError, isAppError } from "../errors/index.ts";
import type { Sandbox } from "./contract/provider.ts";

/** Below the home directory: what the agent writes to stdout and stderr. */
export const AGENT_LOG_PATH = ".agent.log";

const readTimeoutMs = 10_000;
const lastWordsBytes = 2000;

/** The end of what the agent has written, `maxBytes` of it at most; empty where it wrote nothing. Throws what the launcher throws. */
export async function readAgentLog(sandbox: Sandbox, maxBytes: number): Promise<string> {
  const { stdout } = await sandbox.exec(["tail", "-c", String(maxBytes), AGENT_LOG_PATH], {
    maxOutputBytes: maxBytes,
    timeoutMs: readTimeoutMs,
  });
  return stdout;
}

/** The agent's last words without the values of the sandbox's variables; empty where there are none, or they cannot be read. Never throws. */
export async function readLastWords(sandbox: Sandbox): Promise<string> {
  try {
    const { stdout } = await sandbox.exec(["env", "-0"], { timeoutMs: readTimeoutMs });
    const values = stdout.split("\0").map((line) => line.slice(line.indexOf("=") + 1));
    return withoutValues(await readAgentLog(sandbox, lastWordsBytes), values);
  } catch {
    return "";
  }
}

/** Short values ("true", "1") are no secrets, and would tear the text apart; longer ones first, as one may hold another. */
function withoutValues(text: string, values: readonly string[]): string {
  let cleaned = text;
  for (const value of values.filter(({ length }) => length >= 8).toSorted((a, b) => b.length - a.length))
    cleaned = cleaned.replaceAll(value, "…");
  return cleaned.trim();
}

/**
 * The error of a launch whose agent was not ready, with the agent's last words as `details.agentLog`, without the values of
 * its variables. Any other error, and one whose agent wrote nothing that can be read, is returned as it is. Never throws.
 */
export async function withLastWords(error: unknown, sandbox: Sandbox, environment: Readonly<Record<string, string>>): Promise<unknown> {
  if (!isAppError(error, "sandbox_not_ready")) return error;
  const agentLog = withoutValues(await readAgentLog(sandbox, lastWordsBytes).catch(() => ""), Object.values(environment));
  return agentLog === "" ? error : new AppError(error.code, error.message, { details: { ...error.details, agentLog }, cause: error });
}
