import { AppError } from "../errors/index.ts";
import { AGENT_LOG_PATH } from "./agent-log.ts";
import { killCommand } from "./contract/home-scripts.ts";
import { opencodeServe } from "./launch-agent.ts";
import type { Sandbox, SandboxPort } from "./contract/provider.ts";

/**
 * Ends what is left of the agent that `launchAgent` started (a stopped one, too, and what it started in its process group) and starts
 * it again in the same sandbox, at the same address, with the same variables and the same home directory: so with its password and its
 * history. Returns once it was started, not when it answers. Throws what the launcher throws.
 */
export async function restartAgent(
  sandbox: Sandbox,
  {
    command = opencodeServe,
    onKilled,
  }: { readonly command?: ((address: SandboxPort) => readonly string[]) | undefined; readonly onKilled?: () => Promise<void> } = {},
): Promise<void> {
  const [address] = sandbox.ports.values();
  if (!address) throw new AppError("sandbox_exec_failed", `The sandbox ${sandbox.id} has no port for its agent.`);
  await sandbox.exec(killCommand(AGENT_LOG_PATH), { timeoutMs: 10_000 });
  await onKilled?.();
  await sandbox.start(command(address), { logPath: AGENT_LOG_PATH });
}
