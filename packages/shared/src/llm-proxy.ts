import type { EnvironmentSource } from "./env.ts";
import { AppError } from "./errors/index.ts";
import { type CallOptions, createLLMProxyClient, type LLMProxyClient } from "./llm-proxy/client.ts";
import { type LLMProxyConfig, parseLLMProxyConfig } from "./llm-proxy/config.ts";
import type { VirtualKey, VirtualKeyOptions } from "./llm-proxy/virtual-key.ts";

/**
 * The functions of the guide, configured by the `LLM_PROXY_*` variables at the time of the call. A server that has parsed
 * its environment uses {@link createLLMProxyClient} instead. Each throws `env_invalid` for a variable that makes no sense,
 * and `proxy_not_configured` when `LLM_PROXY_REQUIRED` is on without `LLM_PROXY_URL`.
 */

// oxlint-disable-next-line node/no-process-env -- the one place where this package meets the process
const processEnvironment = (): EnvironmentSource => process.env;

const processConfig = (): LLMProxyConfig => parseLLMProxyConfig(processEnvironment());

/** Kept while the variables stay the same, for the teams that it knows. */
let current: { readonly settings: string; readonly client: LLMProxyClient } | undefined;

function processClient(): LLMProxyClient {
  const config = processConfig();
  const settings = JSON.stringify(config);
  if (current?.settings !== settings) current = { settings, client: createLLMProxyClient(config) };
  return current.client;
}

/**
 * Mints the key that a session's sandbox gets, the org's team made first where needed; one round trip for an org that this
 * process has seen and a session that has no key. A session that has one gets a new key before the older are revoked.
 * Ends within 10 s. Throws `proxy_not_configured` without URL or master key, and what {@link LLMProxyClient} says.
 *
 * @example
 * ```ts
 * import { generateSessionAPIKey, isLLMProxyEnabled } from "@proliferate/shared";
 *
 * if (isLLMProxyEnabled()) {
 *   const apiKey = await generateSessionAPIKey("session-1", "org-1", { duration: "24h", maxBudget: 50 });
 *   console.log(apiKey.startsWith("sk-")); // true
 * }
 * ```
 */
export async function generateSessionAPIKey(sessionId: string, orgId: string, options?: VirtualKeyOptions): Promise<string> {
  return processClient().generateSessionAPIKey(sessionId, orgId, options);
}

/**
 * Like {@link generateSessionAPIKey}, but returns the key with its expiry, owner and hash, and leaves the team to the caller:
 * a key of a team that does not exist is minted by LiteLLM and refused at its first use.
 *
 * @example
 * ```ts
 * import { ensureTeamExists, generateVirtualKey } from "@proliferate/shared";
 *
 * await ensureTeamExists("org-1");
 * const { expires, user_id } = await generateVirtualKey("session-2", "org-1", { duration: "15m", models: ["anthropic/claude-sonnet-4-5"] });
 * console.log(user_id, Date.parse(expires) > Date.now()); // session-2 true
 * ```
 */
export async function generateVirtualKey(sessionId: string, orgId: string, options?: VirtualKeyOptions): Promise<VirtualKey> {
  return processClient().generateVirtualKey(sessionId, orgId, options);
}

/** Makes the org's team unless it exists; returns the org's id. Idempotent, also between processes. Same errors as above. */
export async function ensureTeamExists(orgId: string, options?: CallOptions): Promise<string> {
  return processClient().ensureTeamExists(orgId, options);
}

/**
 * Revokes every key of the session, in force with the next request. Idempotent; a session without keys is a success, and so
 * is a proxy that is not configured (nothing was minted then).
 *
 * @example
 * ```ts
 * import { revokeVirtualKey } from "@proliferate/shared";
 *
 * await revokeVirtualKey("session-1");
 * await revokeVirtualKey("session-1"); // again: nothing to do, no error
 * ```
 */
export async function revokeVirtualKey(sessionId: string, options?: CallOptions): Promise<void> {
  const { adminUrl, masterKey } = processConfig();
  if (adminUrl === undefined || masterKey === undefined) return;
  await processClient().revokeVirtualKey(sessionId, options);
}

/** True when `LLM_PROXY_URL` is set. Minting also needs `LLM_PROXY_MASTER_KEY` and says so when it is missing. */
export function isLLMProxyEnabled(): boolean {
  return processConfig().url !== undefined;
}

/** `LLM_PROXY_URL`, trailing slashes cut. Throws `proxy_not_configured` when it is not set. */
export function getLLMProxyURL(): string {
  const { url } = processConfig();
  if (url === undefined) throw new AppError("proxy_not_configured", "LLM_PROXY_URL is not set.");
  return url;
}

/**
 * The base URL for clients in a sandbox: `LLM_PROXY_PUBLIC_URL` or `LLM_PROXY_URL` with exactly one `/v1`; undefined when
 * neither is set.
 */
export function getLLMProxyBaseURL(): string | undefined {
  return processConfig().baseUrl;
}
