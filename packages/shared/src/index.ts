export { AppError, type ErrorCode, isAppError } from "./errors/index.ts";
export {
  ensureTeamExists,
  generateSessionAPIKey,
  generateVirtualKey,
  getLLMProxyBaseURL,
  getLLMProxyURL,
  isLLMProxyEnabled,
  revokeVirtualKey,
} from "./llm-proxy.ts";
export { createLLMProxyClient, type LLMProxyClient, type LLMProxyClientOptions } from "./llm-proxy/client.ts";
export { LLM_PROXY_ENVIRONMENT, type LLMProxyConfig, parseLLMProxyConfig } from "./llm-proxy/config.ts";
export type { VirtualKey, VirtualKeyOptions } from "./llm-proxy/virtual-key.ts";
export { buildSandboxEnv, type SandboxEnvironmentOptions } from "./sandbox/environment.ts";
export {
  getOpencodeConfig,
  OPENCODE_GLOBAL_CONFIG_PATH,
  type OpencodeConfigOptions,
  type OpencodeModel,
  opencodeServeArguments,
} from "./sandbox/opencode.ts";
