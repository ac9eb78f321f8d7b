import { createLLMProxyClient, type LLMProxyConfig } from "@proliferate/shared";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import type { LLMProxy } from "./dependencies.ts";

/** How long `/readyz` waits for the proxy, and a start for its list of models. */
const READINESS_TIMEOUT_MS = 2_000;
const MODELS_TIMEOUT_MS = 2_000;

const modelListSchema = z.object({ data: z.array(z.object({ id: z.string() })) });

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
        return {
          apiKey: minted.key,
          keyHash: minted.token_hash,
          keyAlias: minted.key_alias || null,
          expiresAt: new Date(minted.expires),
          models: await listModels(config.url, minted.key),
        };
      },
      list: (sessionId) => client.listSessionKeys(sessionId),
      revoke: (keyHashes) => client.revokeKeys(keyHashes),
      extend: async (keyHash, { duration, maxBudgetUsd }) => {
        const answers = [
          duration === undefined ? true : await client.setKeyDuration(keyHash, duration),
          maxBudgetUsd === undefined ? true : await client.setKeyBudget(keyHash, maxBudgetUsd),
        ];
        if (answers.includes(false)) throw new AppError("session_not_ready", "The session's key does not exist any more.");
      },
      revokeAll: (sessionId) => client.revokeVirtualKey(sessionId),
    },
  };
}

/**
 * What the key may call, as the data plane lists it. Undefined when it does not answer in time or lists patterns (LiteLLM's
 * wildcard routes): then nothing is known about a name, and a session is not refused for that.
 */
async function listModels(url: string | undefined, apiKey: string): Promise<readonly string[] | undefined> {
  if (url === undefined) return undefined;
  try {
    const answer = await fetch(`${url.replace(/(\/v1)+$/, "")}/v1/models`, {
      headers: { authorization: `Bearer ${apiKey}` },
      signal: AbortSignal.timeout(MODELS_TIMEOUT_MS),
    });
    const names = modelListSchema.parse(await answer.json()).data.map(({ id }) => id);
    return names.some((name) => name.includes("*")) ? undefined : names;
  } catch {
    return undefined;
  }
}
