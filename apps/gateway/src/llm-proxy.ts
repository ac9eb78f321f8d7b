import { createLLMProxyClient, type LLMProxyConfig } from "@proliferate/shared";
import type { LLMProxy } from "./dependencies.ts";

/** How long `/readyz` waits for the proxy. */
const READINESS_TIMEOUT_MS = 2_000;

/** The proxy that the `LLM_PROXY_*` variables name, stock LiteLLM or our engine. Throws `proxy_not_configured`. */
export function connectLLMProxy(config: LLMProxyConfig): LLMProxy {
  const client = createLLMProxyClient(config);
  return {
    baseUrl: config.baseUrl ?? "",
    checkReachable: () => client.checkReadiness({ signal: AbortSignal.timeout(READINESS_TIMEOUT_MS) }),
    keys: {
      mint: async ({ sessionId, orgId, models, maxBudgetUsd, duration, metadata }) => {
        const minted = await client.mintKey(sessionId, orgId, {
          metadata,
          // An empty list means all here, but LiteLLM's client wants that said by leaving it out.
          ...(models.length === 0 ? {} : { models }),
          ...(maxBudgetUsd === undefined ? {} : { maxBudget: maxBudgetUsd }),
          ...(duration === undefined ? {} : { duration }),
        });
        return { apiKey: minted.key, keyHash: minted.token_hash, keyAlias: minted.key_alias || null, expiresAt: new Date(minted.expires) };
      },
      list: (sessionId) => client.listSessionKeys(sessionId),
      revoke: (keyHashes) => client.revokeKeys(keyHashes),
      revokeAll: (sessionId) => client.revokeVirtualKey(sessionId),
    },
  };
}
