import { AppError } from "../errors/index.ts";
import type { DecimalText } from "../money.ts";
import { DEFAULT_KEY_DURATION, type LLMProxyConfig } from "./config.ts";
import { KnownTeams } from "./known-teams.ts";
import { changeKey, createTeam, deleteKeys, listKeys, type ManagementContext, readReadiness } from "./management-calls.ts";
import { startDeadline } from "./management-request.ts";
import { mintSessionKey, mintUnderTemporaryAlias } from "./session-key.ts";
import { checkDuration, checkId, keyRequest, type VirtualKey, type VirtualKeyOptions, wireAmount } from "./virtual-key.ts";

const knownTeamCapacity = 10_000;

/** Where the client's proxy is, and how long one call may take. */
export interface LLMProxyClientOptions extends Pick<LLMProxyConfig, "adminUrl" | "masterKey" | "keyDuration"> {
  /** Time of one call in all, retries and waiting included. Default 10,000 ms. */
  readonly timeoutMs?: number;
}

/** What one call may be given. */
export interface CallOptions {
  /** Ends the call; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/**
 * Mints and revokes the keys of sessions at a LiteLLM-compatible proxy, stock LiteLLM included. Each call ends within
 * `timeoutMs` and throws `proxy_unreachable`, `proxy_timeout`, `proxy_unauthorized`, `proxy_rejected`,
 * `proxy_bad_response`, `invalid_request`, or the abort reason of its signal. No message contains a key.
 */
export interface LLMProxyClient {
  /** {@link LLMProxyClient.generateVirtualKey}, the org's team made first where it is not known to exist; returns the key alone. */
  generateSessionAPIKey(sessionId: string, orgId: string, options?: VirtualKeyOptions): Promise<string>;
  /**
   * Mints a key for the session. When the session has one already, the new key exists before the older ones are revoked;
   * if the call throws, the older ones may still work. Of several calls for one session at once the newest key survives;
   * one that was overtaken throws `proxy_rejected` or returns a key that is revoked by then, so do not run them at once.
   */
  generateVirtualKey(sessionId: string, orgId: string, options?: VirtualKeyOptions): Promise<VirtualKey>;
  /**
   * Mints a key that touches no other, the org's team made first where it is not known to exist. For callers that keep their
   * own record of a session's keys and revoke by it; such keys are not noticed by {@link LLMProxyClient.generateVirtualKey},
   * but by `listSessionKeys` and `revokeVirtualKey`.
   */
  mintKey(sessionId: string, orgId: string, options?: VirtualKeyOptions): Promise<VirtualKey>;
  /** Makes the org's team unless it exists; returns the org's id. Idempotent, also between processes. */
  ensureTeamExists(orgId: string, options?: CallOptions): Promise<string>;
  /** Revokes every key of the session, in force with the next request. Idempotent; a session without keys is a success. */
  revokeVirtualKey(sessionId: string, options?: CallOptions): Promise<void>;
  /** The hashes of the session's keys, expired ones included, in no order. */
  listSessionKeys(sessionId: string, options?: CallOptions): Promise<readonly string[]>;
  /** Revokes exactly the keys with these hashes. Idempotent; one that does not exist is a success. */
  revokeKeys(tokenHashes: readonly string[], options?: CallOptions): Promise<void>;
  /**
   * Sets the total that the key with this hash may spend, its past included: USD of raw provider cost, 15 significant
   * digits at most. In force with the next request. False when there is no such key. Idempotent.
   */
  setKeyBudget(tokenHash: string, maxBudget: number | DecimalText, options?: CallOptions): Promise<boolean>;
  /** Lets the key with this hash live for `duration` (`2h`) from now. False when there is no such key. */
  setKeyDuration(tokenHash: string, duration: string, options?: CallOptions): Promise<boolean>;
  /** Refuses (true) or accepts again (false) every request of the key with this hash. False when there is no such key. Idempotent. */
  setKeyBlocked(tokenHash: string, blocked: boolean, options?: CallOptions): Promise<boolean>;
  /** Resolves when the proxy says that it is ready. */
  checkReadiness(options?: CallOptions): Promise<void>;
}

/** A client for explicit settings. Opens nothing until it is called. Throws `proxy_not_configured` naming what is missing. */
export function createLLMProxyClient(options: LLMProxyClientOptions): LLMProxyClient {
  const { adminUrl, masterKey, keyDuration = DEFAULT_KEY_DURATION, timeoutMs = 10_000 } = options;
  if (!adminUrl || !masterKey) {
    const missing = [adminUrl ? [] : "LLM_PROXY_URL", masterKey ? [] : "LLM_PROXY_MASTER_KEY"].flat().join(" and ");
    throw new AppError("proxy_not_configured", `The LLM proxy is not configured: ${missing} not set.`);
  }
  const knownTeams = new KnownTeams(knownTeamCapacity);
  const begin = (signal: AbortSignal | undefined): ManagementContext => ({
    target: { adminUrl, masterKey },
    knownTeams,
    deadline: startDeadline(timeoutMs, signal),
  });

  return {
    async generateSessionAPIKey(sessionId, orgId, keyOptions = {}) {
      const request = keyRequest(sessionId, orgId, keyDuration, keyOptions);
      const context = begin(keyOptions.signal);
      await createTeam(context, orgId);
      return (await mintSessionKey(context, sessionId, request)).key;
    },
    async generateVirtualKey(sessionId, orgId, keyOptions = {}) {
      const request = keyRequest(sessionId, orgId, keyDuration, keyOptions);
      return mintSessionKey(begin(keyOptions.signal), sessionId, request);
    },
    async mintKey(sessionId, orgId, keyOptions = {}) {
      const request = keyRequest(sessionId, orgId, keyDuration, keyOptions);
      const context = begin(keyOptions.signal);
      await createTeam(context, orgId);
      return mintUnderTemporaryAlias(context, sessionId, request);
    },
    async ensureTeamExists(orgId, { signal } = {}) {
      checkId("orgId", orgId);
      await createTeam(begin(signal), orgId);
      return orgId;
    },
    async revokeVirtualKey(sessionId, { signal } = {}) {
      checkId("sessionId", sessionId);
      const context = begin(signal);
      await deleteKeys(
        context,
        (await listKeys(context, sessionId)).flatMap((row) => row.token ?? []),
      );
    },
    async listSessionKeys(sessionId, { signal } = {}) {
      checkId("sessionId", sessionId);
      return (await listKeys(begin(signal), sessionId)).flatMap((row) => row.token ?? []);
    },
    async revokeKeys(tokenHashes, { signal } = {}) {
      await deleteKeys(begin(signal), tokenHashes);
    },
    async setKeyBudget(tokenHash, maxBudget, { signal } = {}) {
      return changeKey(begin(signal), { path: "/key/update", tokenHash, fields: { max_budget: wireAmount(maxBudget) } });
    },
    async setKeyDuration(tokenHash, duration, { signal } = {}) {
      checkDuration(duration);
      return changeKey(begin(signal), { path: "/key/update", tokenHash, fields: { duration } });
    },
    async setKeyBlocked(tokenHash, blocked, { signal } = {}) {
      return changeKey(begin(signal), { path: blocked ? "/key/block" : "/key/unblock", tokenHash });
    },
    async checkReadiness({ signal } = {}) {
      await readReadiness(begin(signal));
    },
  };
}
