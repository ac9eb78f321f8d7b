import type { DatabaseClient } from "@proliferate/db";
import { type LauncherName, SessionLauncher, type StepListener } from "@proliferate/services/sessions";
import { opencodeServeArguments } from "@proliferate/shared";
import { createModalSandboxProvider } from "@proliferate/shared/modal";
import type { Logger } from "@proliferate/runtime";
import { createLocalSandboxProvider, describeSandboxUser, type SandboxProvider, type SandboxUser } from "@proliferate/shared/sandbox";
import type { SandboxConfig } from "../../env.ts";

/**
 * The launchers that the environment names. Local sandboxes are detached: they outlive this process, as those at Modal do, so
 * that a gateway that starts again finds them. What a crash of the whole machine left of them is removed here.
 */
export async function openLaunchers(
  db: DatabaseClient,
  config: SandboxConfig,
  logger: Logger,
  onStep?: StepListener,
): Promise<SessionLauncher> {
  const providers = new Map<LauncherName, SandboxProvider>();
  if (config.local) {
    const { rootFolder, path, user } = config.local;
    const local = createLocalSandboxProvider({
      rootFolder,
      detached: true,
      user,
      command: config.agentCommand,
      ...(path !== undefined && { path }),
    });
    await local.removeLeftovers();
    sayWhatSandboxesCanRead(await local.sandboxUser(), logger);
    providers.set("local", local);
  }
  if (config.modal) providers.set("modal", createModalSandboxProvider(config.modal));
  return new SessionLauncher({
    db,
    providers,
    command: ({ listenPort, listenHostname }) => [
      ...config.agentCommand,
      ...opencodeServeArguments({ port: listenPort, hostname: listenHostname }),
    ],
    readyTimeoutMs: config.readyTimeoutMs,
    launchTimeoutMs: config.launchTimeoutMs,
    lifetimeMs: config.lifetimeMs,
    onStep,
  });
}

/** Once, at the start: an operator who enables the launcher shall not have to guess what it exposes. */
function sayWhatSandboxesCanRead(user: SandboxUser, logger: Logger): void {
  const facts = { launcher: "local", users: describeSandboxUser(user) };
  if (user.isOwn) logger.info(facts, "sandboxes.own_users");
  else logger.warn(facts, "sandboxes.same_user");
}
