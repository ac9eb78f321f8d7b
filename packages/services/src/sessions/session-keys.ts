/** What a session's key may do. */
interface SessionKeyRequest {
  /** LiteLLM's user of the key. */
  readonly sessionId: string;
  /** LiteLLM's team of the key. */
  readonly orgId: string;
  /** Model names, each in every spelling that an agent may send; empty = all. */
  readonly models: readonly string[];
  /** USD, decimal text; what is left of the session's budget. */
  readonly maxBudgetUsd?: string | undefined;
  /** LiteLLM's grammar (`24h`); the proxy client's default when absent. */
  readonly duration?: string | undefined;
  /** Kept with the key; the session and the organization are added. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** A key that the proxy has just made. `apiKey` is the secret itself, told this once. */
export interface MintedKey {
  readonly apiKey: string;
  /** SHA-256 of the key, hex. */
  readonly keyHash: string;
  readonly keyAlias: string | null;
  readonly expiresAt: Date | null;
  /** Names of the models that the proxy serves to this key; undefined when it did not say. */
  readonly models?: readonly string[] | undefined;
}

/**
 * What a session needs of the LLM proxy. Every call throws an AppError with a `proxy_*` code. The proxy must know each key
 * under the id of its session, so that keys that were never recorded here are found.
 */
export interface SessionKeys {
  /** Mints one key and touches no other. */
  mint(request: SessionKeyRequest): Promise<MintedKey>;
  /** Hashes of every key that the proxy has for the session. */
  list(sessionId: string): Promise<readonly string[]>;
  /** Revokes these keys, by hash. Idempotent: a key that is gone is success. */
  revoke(keyHashes: readonly string[]): Promise<void>;
  /** Gives a key a new life from now, a new total budget, or both. `session_not_ready` when the proxy has no such key. */
  extend(keyHash: string, change: { readonly duration?: string | undefined; readonly maxBudgetUsd?: string | undefined }): Promise<void>;
  /** Revokes every key of the session. Idempotent. */
  revokeAll(sessionId: string): Promise<void>;
}
