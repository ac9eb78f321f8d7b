import { z } from "zod";
import {
  deleteKeysResponseSchema,
  generateKeyResponseSchema,
  type GenerateKeyRequest,
  keyInfoResponseSchema,
  keyListResponseSchema,
  keyObjectSchema,
  type KeyObject,
  teamObjectSchema,
} from "../contracts/key-management.ts";
import { AppError } from "../errors/index.ts";
import { hashVirtualKey, randomVirtualKey } from "./key-alias.ts";
import type { KnownTeams } from "./known-teams.ts";
import { acceptAnswer, type Deadline, type ManagementTarget, rejection, sendManagementRequest } from "./management-request.ts";
import { epochMsFromInstant, type VirtualKey } from "./virtual-key.ts";

/** One function a call of the management API. Each may be repeated at will, which is why every request is retried. */

const listPageSize = 100;
const maximumListPages = 100;

/** Where calls go, until when, and which teams need not be made any more. */
export interface ManagementContext {
  readonly target: ManagementTarget;
  readonly knownTeams: KnownTeams;
  readonly deadline: Deadline;
}

/** Makes the org's team unless it is known. The second time it exists, which is what was wanted; so when another process was faster. */
export async function createTeam({ target, knownTeams, deadline }: ManagementContext, orgId: string): Promise<void> {
  if (knownTeams.has(orgId)) return;
  const answer = await sendManagementRequest(
    target,
    { method: "POST", path: "/team/new", body: { team_id: orgId, team_alias: orgId } },
    deadline,
  );
  // LiteLLM has no code for it, only words; a race shows as the database's unique violation.
  const exists = !answer.accepted && /already exists|duplicate|unique constraint/i.test(answer.message);
  if (!exists) acceptAnswer("create the team", answer, teamObjectSchema);
  knownTeams.add(orgId);
}

/**
 * Mints one key, however often the request is sent: the key's value is chosen here, and LiteLLM takes a repeated value as
 * the same key. But it looks at the alias first: when the answer to a first try was lost, the second is told that the alias
 * is taken, by our own key. So a refusal after a repetition is believed only if the proxy does not know the key.
 * Undefined when another key holds the alias.
 */
export async function mintKeyOnce(context: ManagementContext, request: GenerateKeyRequest): Promise<VirtualKey | undefined> {
  const { target, knownTeams, deadline } = context;
  const key = randomVirtualKey();
  const send = () =>
    sendManagementRequest(target, { method: "POST", path: "/key/generate", body: { ...request, key }, credentials: [key] }, deadline);
  let answer = await send();
  if (!answer.accepted && request.team_id && /unable to find team|team\b.*(?:not found|(?:doesn't|does not) exist)/i.test(answer.message)) {
    // The team was deleted since, or this proxy looks for it at mint, which LiteLLM 1.92 does not.
    knownTeams.delete(request.team_id);
    await createTeam(context, request.team_id);
    answer = await send();
  }
  if (answer.accepted) {
    const { key: mintedKey, expires } = acceptAnswer("mint a key", answer, generateKeyResponseSchema);
    return virtualKey(mintedKey, expires, request);
  }
  if (answer.tries > 1) {
    const info = await sendManagementRequest(
      target,
      { method: "GET", path: `/key/info?key=${hashVirtualKey(key)}`, credentials: [key] },
      deadline,
    );
    if (info.accepted) return virtualKey(key, acceptAnswer("describe a key", info, keyInfoResponseSchema).info.expires, request);
  }
  if (/alias .*already exists/i.test(answer.message)) return undefined;
  throw rejection("mint a key", answer);
}

function virtualKey(key: string, expires: string | null | undefined, request: GenerateKeyRequest): VirtualKey {
  const expiresMs = epochMsFromInstant(expires);
  if (Number.isNaN(expiresMs)) throw new AppError("proxy_bad_response", "The LLM proxy minted a key without saying when it expires.");
  return {
    key,
    expires: new Date(expiresMs).toISOString(),
    team_id: request.team_id ?? "",
    user_id: request.user_id ?? "",
    token_hash: hashVirtualKey(key),
    key_alias: request.key_alias ?? "",
  };
}

/** Every key of the session. The filter is applied again here, in case a proxy matches a part of the user id. */
export async function listKeys({ target, deadline }: ManagementContext, sessionId: string): Promise<readonly KeyObject[]> {
  const found: KeyObject[] = [];
  for (let page = 1; page <= maximumListPages; page += 1) {
    const query = new URLSearchParams({ user_id: sessionId, return_full_object: "true", size: String(listPageSize), page: String(page) });
    const answer = await sendManagementRequest(target, { method: "GET", path: `/key/list?${query}` }, deadline);
    const { keys, total_pages: totalPages } = acceptAnswer(
      "list keys",
      answer,
      keyListResponseSchema.extend({ keys: z.array(keyObjectSchema) }),
    );
    found.push(...keys.filter((row) => row.user_id === sessionId));
    if (page >= (totalPages ?? 1)) return found;
  }
  throw new AppError("proxy_bad_response", `The LLM proxy lists more than ${maximumListPages * listPageSize} keys for one session.`);
}

/** Deletes these keys; one that is gone already is a success. LiteLLM may refuse a list for one of its keys: then each alone. */
export async function deleteKeys(context: ManagementContext, tokenHashes: readonly string[]): Promise<void> {
  if (tokenHashes.length === 0) return;
  const answer = await sendManagementRequest(
    context.target,
    { method: "POST", path: "/key/delete", body: { keys: tokenHashes } },
    context.deadline,
  );
  if (!answer.accepted && tokenHashes.length > 1) {
    for (const tokenHash of tokenHashes) await deleteKeys(context, [tokenHash]);
    return;
  }
  if (answer.accepted || answer.code !== "404") acceptAnswer("revoke keys", answer, deleteKeysResponseSchema);
}

/** Gives a key another alias. False when it was refused: the key is gone, or another holds the alias. */
export async function renameKey({ target, deadline }: ManagementContext, tokenHash: string, keyAlias: string): Promise<boolean> {
  const answer = await sendManagementRequest(
    target,
    { method: "POST", path: "/key/update", body: { key: tokenHash, key_alias: keyAlias } },
    deadline,
  );
  if (!answer.accepted && answer.status !== 400 && answer.status !== 404) throw rejection("rename a key", answer);
  return answer.accepted;
}

/** Changes a key, named by its hash. False when there is no such key. */
export async function changeKey(
  { target, deadline }: ManagementContext,
  change: {
    readonly path: "/key/update" | "/key/block" | "/key/unblock";
    readonly tokenHash: string;
    readonly fields?: { readonly max_budget: number } | { readonly duration: string };
  },
): Promise<boolean> {
  const answer = await sendManagementRequest(
    target,
    { method: "POST", path: change.path, body: { key: change.tokenHash, ...change.fields } },
    deadline,
  );
  // LiteLLM says 404 in the body's code, also inside other statuses.
  if (!answer.accepted && (answer.code === "404" || /not found in (?:db|database)|does not exist/i.test(answer.message))) return false;
  acceptAnswer("change a key", answer, z.looseObject({}));
  return true;
}

/** Resolves when the proxy reports a status under 400 on its readiness route. */
export async function readReadiness({ target, deadline }: ManagementContext): Promise<void> {
  const answer = await sendManagementRequest(target, { method: "GET", path: "/health/readiness" }, deadline);
  acceptAnswer("report its readiness", answer, z.looseObject({ status: z.string() }));
}
