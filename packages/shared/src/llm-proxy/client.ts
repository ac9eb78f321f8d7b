import { z } from "zod";
import {
  deleteKeysResponseSchema,
  generateKeyResponseSchema,
  type GenerateKeyRequest,
  type GenerateKeyResponse,
  keyInfoResponseSchema,
  keyListResponseSchema,
  keyObjectSchema,
  type KeyObject,
  teamObjectSchema,
} from "../contracts/key-management.ts";
import { AppError } from "../errors/index.ts";
import { DEFAULT_KEY_DURATION, type LLMProxyConfig } from "./config.ts";
import { hashVirtualKey, randomVirtualKey, temporaryKeyAlias } from "./key-alias.ts";
import { KnownTeams } from "./known-teams.ts";
import { acceptAnswer, type Deadline, type ManagementTarget, rejection, sendManagementRequest, startDeadline } from "./management-request.ts";
import { checkId, epochMsFromInstant, keyRequest, type VirtualKey, type VirtualKeyOptions } from "./virtual-key.ts";

const knownTeamCapacity = 10_000;
const listPageSize = 100;
const maximumListPages = 100;
const revokeRounds = 3;

export interface LLMProxyClientOptions extends Pick<LLMProxyConfig, "adminUrl" | "masterKey" | "keyDuration"> {
  /** Time of one call in all, retries and waiting included. Default 10,000 ms. */
  readonly timeoutMs?: number;
}

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
   * if the call throws, the older ones may still work. Of several calls for one session at once, the newest key survives.
   */
  generateVirtualKey(sessionId: string, orgId: string, options?: VirtualKeyOptions): Promise<VirtualKey>;
  /** Makes the org's team unless it exists; returns the org's id. Idempotent, also between processes. */
  ensureTeamExists(orgId: string, options?: CallOptions): Promise<string>;
  /** Revokes every key of the session, in force with the next request. Idempotent; a session without keys is a success. */
  revokeVirtualKey(sessionId: string, options?: CallOptions): Promise<void>;
  /** Resolves when the proxy says that it is ready. */
  checkReadiness(options?: CallOptions): Promise<void>;
}

/** A client for explicit settings. Opens nothing until it is called. Throws `proxy_not_configured` naming what is missing. */
export function createLLMProxyClient(options: LLMProxyClientOptions): LLMProxyClient {
  const { adminUrl, masterKey, keyDuration = DEFAULT_KEY_DURATION, timeoutMs = 10_000 } = options;
  const missing = [adminUrl ? [] : ["LLM_PROXY_URL"], masterKey ? [] : ["LLM_PROXY_MASTER_KEY"]].flat();
  if (!adminUrl || !masterKey) throw new AppError("proxy_not_configured", `The LLM proxy is not configured: ${missing.join(" and ")} not set.`);
  const target: ManagementTarget = { adminUrl, masterKey };
  const knownTeams = new KnownTeams(knownTeamCapacity);

  return {
    async generateSessionAPIKey(sessionId, orgId, keyOptions = {}) {
      const request = keyRequest(sessionId, orgId, keyDuration, keyOptions);
      const deadline = startDeadline(timeoutMs, keyOptions.signal);
      if (!knownTeams.has(orgId)) await createTeam(target, orgId, knownTeams, deadline);
      return (await mintSessionKey(target, request, { sessionId, orgId, knownTeams }, deadline)).key;
    },
    async generateVirtualKey(sessionId, orgId, keyOptions = {}) {
      const request = keyRequest(sessionId, orgId, keyDuration, keyOptions);
      return mintSessionKey(target, request, { sessionId, orgId, knownTeams }, startDeadline(timeoutMs, keyOptions.signal));
    },
    async ensureTeamExists(orgId, { signal } = {}) {
      checkId("orgId", orgId);
      if (!knownTeams.has(orgId)) await createTeam(target, orgId, knownTeams, startDeadline(timeoutMs, signal));
      return orgId;
    },
    async revokeVirtualKey(sessionId, { signal } = {}) {
      checkId("sessionId", sessionId);
      await revokeKeys(target, sessionId, (rows) => rows, startDeadline(timeoutMs, signal));
    },
    async checkReadiness({ signal } = {}) {
      const answer = await sendManagementRequest(target, { method: "GET", path: "/health/readiness" }, startDeadline(timeoutMs, signal));
      acceptAnswer("report its readiness", answer, z.looseObject({ status: z.string() }));
    },
  };
}

interface SessionKeyContext {
  readonly sessionId: string;
  readonly orgId: string;
  readonly knownTeams: KnownTeams;
}

/** Repeating it is safe: the second time the team exists, which is what was wanted. So is losing a race to another process. */
async function createTeam(target: ManagementTarget, orgId: string, knownTeams: KnownTeams, deadline: Deadline): Promise<void> {
  const answer = await sendManagementRequest(target, { method: "POST", path: "/team/new", body: { team_id: orgId, team_alias: orgId } }, deadline);
  // LiteLLM has no code for it, only words; a race shows as the database's unique violation.
  const exists = !answer.accepted && /already exists|duplicate|unique constraint/i.test(answer.message);
  if (!exists) acceptAnswer("create the team", answer, teamObjectSchema);
  knownTeams.add(orgId);
}

/**
 * The bare alias of a session is held by its key that is in use. So one request is enough for a first key, and it is the
 * refusal of the alias that tells of a resume. The key handed out on a resume has taken the alias over before it is
 * returned; one that could not is thrown away, so a key in use without the alias does not exist.
 */
async function mintSessionKey(target: ManagementTarget, request: GenerateKeyRequest, context: SessionKeyContext, deadline: Deadline): Promise<VirtualKey> {
  const first = await mintOnce(target, request, context, deadline);
  if (first) return virtualKey(first, request);
  const temporary = { ...request, key_alias: temporaryKeyAlias(context.sessionId) };
  const minted = await mintOnce(target, temporary, context, deadline);
  if (!minted) throw new AppError("proxy_rejected", "The LLM proxy calls a random key alias taken.");
  const key = virtualKey(minted, request);
  await revokeKeys(target, context.sessionId, (rows) => rowsBefore(key.token_hash, rows), deadline);
  const rename = await sendManagementRequest(target, { method: "POST", path: "/key/update", body: { key: key.token_hash, key_alias: request.key_alias } }, deadline);
  if (!rename.accepted) {
    await deleteKeys(target, [key.token_hash], deadline);
    throw rejection("hand the session over to its new key; another call minted one at the same time", rename);
  }
  return key;
}

/** The rows older than the new key by the proxy's own clock; of several calls at once each spares the newest. Ties: the hash. */
function rowsBefore(newHash: string, rows: readonly KeyObject[]): readonly KeyObject[] {
  const newMs = epochMsFromInstant(rows.find((row) => row.token === newHash)?.created_at);
  return rows.filter((row) => {
    if (row.token === newHash) return false;
    const rowMs = epochMsFromInstant(row.created_at);
    // Without an instant to compare, what is not the new key is an old one.
    return rowMs === newMs ? String(row.token) < newHash : !(rowMs > newMs);
  });
}

/**
 * Undefined when the alias is taken. One key, however often the request is sent: the key's value is chosen here, and LiteLLM takes a repeated value as the same
 * key. But it looks at the alias before the value: when the answer to a first try was lost, the second is told that the
 * alias is taken, by our own key. So a refusal after a repetition is believed only if the proxy does not know the key.
 */
async function mintOnce(target: ManagementTarget, request: GenerateKeyRequest, context: SessionKeyContext, deadline: Deadline): Promise<GenerateKeyResponse | undefined> {
  const key = randomVirtualKey();
  const send = () => sendManagementRequest(target, { method: "POST", path: "/key/generate", body: { ...request, key }, credentials: [key] }, deadline);
  let answer = await send();
  if (!answer.accepted && /unable to find team|team\b.*(?:not found|(?:doesn't|does not) exist)/i.test(answer.message)) {
    // The team was deleted since, or this proxy checks it at mint, which LiteLLM 1.92 does not.
    context.knownTeams.delete(context.orgId);
    await createTeam(target, context.orgId, context.knownTeams, deadline);
    answer = await send();
  }
  if (answer.accepted) return acceptAnswer("mint a key", answer, generateKeyResponseSchema);
  if (answer.tries > 1) {
    const info = await sendManagementRequest(target, { method: "GET", path: `/key/info?key=${hashVirtualKey(key)}`, credentials: [key] }, deadline);
    if (info.accepted) return { ...acceptAnswer("describe a key", info, keyInfoResponseSchema).info, key };
  }
  if (/alias .*already exists/i.test(answer.message)) return undefined;
  throw rejection("mint a key", answer);
}

function virtualKey(minted: GenerateKeyResponse, request: GenerateKeyRequest): VirtualKey {
  const expiresMs = epochMsFromInstant(minted.expires);
  if (Number.isNaN(expiresMs)) throw new AppError("proxy_bad_response", "The LLM proxy minted a key without saying when it expires.");
  return {
    key: minted.key,
    expires: new Date(expiresMs).toISOString(),
    team_id: minted.team_id ?? request.team_id ?? "",
    user_id: minted.user_id ?? request.user_id ?? "",
    token_hash: hashVirtualKey(minted.key),
    key_alias: request.key_alias ?? "",
  };
}

/** Every key of the session. The filter is applied again here: some versions match a part of the user id. */
async function listKeys(target: ManagementTarget, sessionId: string, deadline: Deadline): Promise<readonly KeyObject[]> {
  const found: KeyObject[] = [];
  for (let page = 1; page <= maximumListPages; page += 1) {
    const query = new URLSearchParams({ user_id: sessionId, return_full_object: "true", size: String(listPageSize), page: String(page) });
    const answer = await sendManagementRequest(target, { method: "GET", path: `/key/list?${query}` }, deadline);
    const { keys, total_pages: totalPages } = acceptAnswer("list keys", answer, keyListResponseSchema.extend({ keys: z.array(keyObjectSchema) }));
    found.push(...keys.filter((row) => row.user_id === sessionId));
    if (page >= (totalPages ?? 1)) return found;
  }
  throw new AppError("proxy_bad_response", `The LLM proxy lists more than ${maximumListPages * listPageSize} keys for one session.`);
}

/** Deletes what `choose` takes of the list; looks again when another call was faster with a part of them. */
async function revokeKeys(target: ManagementTarget, sessionId: string, choose: (rows: readonly KeyObject[]) => readonly KeyObject[], deadline: Deadline): Promise<void> {
  for (let round = 1; ; round += 1) {
    const hashes = choose(await listKeys(target, sessionId, deadline)).flatMap((row) => row.token ?? []);
    if (hashes.length === 0) return;
    const refusal = await deleteKeys(target, hashes, deadline);
    if (!refusal) return;
    if (round === revokeRounds) throw rejection("revoke the keys of the session", refusal);
  }
}

/** Undefined when the keys are gone, by this call or before. */
async function deleteKeys(target: ManagementTarget, hashes: readonly string[], deadline: Deadline): Promise<{ readonly status: number; readonly message: string } | undefined> {
  const answer = await sendManagementRequest(target, { method: "POST", path: "/key/delete", body: { keys: hashes } }, deadline);
  if (!answer.accepted) return answer.status === 404 && hashes.length === 1 ? undefined : answer;
  acceptAnswer("delete keys", answer, deleteKeysResponseSchema);
  return undefined;
}
