import { AppError, isAppError } from "../errors/index.ts";
import type { Sandbox } from "./provider.ts";

/** Below the home directory: what the agent writes to stdout and stderr. */
export const AGENT_LOG_PATH = ".agent.log";

const readTimeoutMs = 10_000;
const lastWordsBytes = 2000;

/** The end of what the agent has written, `maxBytes` of it at most; empty where it wrote nothing. Throws what the launcher throws. */
export async function readAgentLog(sandbox: Sandbox, maxBytes: number): Promise<string> {
  const { stdout } = await sandbox.exec(["tail", "-c", String(maxBytes), AGENT_LOG_PATH], { maxOutputBytes: maxBytes, timeoutMs: readTimeoutMs });
  return stdout;
}

/**
 * The error of a launch whose agent was not ready, with the agent's last words as `details.agentLog`, without the values of
 * its variables. Any other error, and one whose agent wrote nothing that can be read, is returned as it is. Never throws.
 */
export async function withLastWords(error: unknown, sandbox: Sandbox, environment: Readonly<Record<string, string>>): Promise<unknown> {
  if (!isAppError(error, "sandbox_not_ready")) return error;
  let agentLog = await readAgentLog(sandbox, lastWordsBytes).catch(() => "");
  // Short values ("true", "1") are no secrets, and would tear the text apart.
  for (const value of Object.values(environment)) if (value.length >= 8) agentLog = agentLog.replaceAll(value, "…");
  return agentLog.trim() === "" ? error : new AppError(error.code, error.message, { details: { ...error.details, agentLog: agentLog.trim() }, cause: error });
}
