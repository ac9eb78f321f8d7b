export {
  agentAuthorization,
  agentIsClosed,
  type AgentSign,
  probeAgent,
  OPENCODE_SERVER_USERNAME,
  waitForAgent,
  type AgentHealthOptions,
} from "./agent-health.ts";
export { DeadlineExceeded, withDeadline } from "./contract/deadline.ts";
export { buildSandboxEnv, OPENCODE_SERVER_PASSWORD_VARIABLE, type SandboxEnvironmentOptions } from "./environment.ts";
export { AGENT_LOG_PATH, readAgentLog, readLastWords } from "./agent-log.ts";
export { launchAgent, type LaunchAgentOptions, type LaunchedAgent, type LaunchProgress, type LaunchStep } from "./launch-agent.ts";
export { createLocalSandboxProvider, type LocalSandboxProvider, type LocalSandboxProviderOptions } from "./local.ts";
export { PORT_CLAIMS_FOLDER } from "./local/free-ports.ts";
export { describeSandboxUser, isSandboxUser, type SandboxUser } from "./local/sandbox-user.ts";
export { getOpencodeConfig, OPENCODE_GLOBAL_CONFIG_PATH, type OpencodeConfigOptions, opencodeServeArguments } from "./opencode.ts";
export type {
  ExecOptions,
  ExecResult,
  Sandbox,
  SandboxFiles,
  SandboxOptions,
  SandboxPort,
  SandboxProcess,
  SandboxProvider,
  SandboxState,
  SandboxSummary,
} from "./contract/provider.ts";
export { restartAgent } from "./restart-agent.ts";
export { sandboxName } from "./sandbox-name.ts";
