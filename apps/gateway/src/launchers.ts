import type { DatabaseClient } from "@proliferate/db";
import { type LauncherName, SessionLauncher, type StepListener } from "@proliferate/services/sessions/session-launcher";
import { opencodeServeArguments } from "@proliferate/shared";
import { createModalSandboxProvider } from "@proliferate/shared/modal";
import { createLocalSandboxProvider, type SandboxProvider } from "@proliferate/shared/sandbox";
import type { SandboxConfig } from "./env.ts";

/**
 * The launchers that the environment names. Local sandboxes are detached: they outlive this process, as those at Modal do, so
 * that a gateway that starts again finds them. What a crash of the whole machine left of them is removed here.
 */
export async function openLaunchers(db: DatabaseClient, config: SandboxConfig, onStep?: StepListener): Promise<SessionLauncher> {
  const providers = new Map<LauncherName, SandboxProvider>();
  if (config.local) {
    const { rootFolder, path } = config.local;
    const local = createLocalSandboxProvider({ rootFolder, detached: true, ...(path !== undefined && { path }) });
    await local.removeLeftovers();
    providers.set("local", local);
  }
  if (config.modal) providers.set("modal", createModalSandboxProvider(config.modal));
  return new SessionLauncher({
    db,
    providers,
    command: ({ listenPort, listenHostname }) => [...config.agentCommand, ...opencodeServeArguments({ port: listenPort, hostname: listenHostname })],
    readyTimeoutMs: config.readyTimeoutMs,
    launchTimeoutMs: config.launchTimeoutMs,
    lifetimeMs: config.lifetimeMs,
    onStep,
  });
}
