import type { GenerateKeyRequest, KeyObject } from "../contracts/key-management.ts";
import { AppError } from "../errors/index.ts";
import { temporaryKeyAlias } from "./key-alias.ts";
import { deleteKeys, listKeys, type ManagementContext, mintKeyOnce, renameKey } from "./management-calls.ts";
import { epochMsFromInstant, type VirtualKey } from "./virtual-key.ts";

/** A proxy that tells milliseconds cannot order keys of one of them; a key that lost by its hash alone is minted again, later. */
const TRIES_OF_ONE_INSTANT = 8;

/**
 * Mints the session's key and revokes the older ones. The bare alias of a session is held by its key that is in use: so one
 * request is enough for a first key, and it is the refusal of the alias that tells of a resume. On a resume the new key
 * lives under another alias until the older ones are gone, and has taken the bare one over before it is returned; a key that
 * could not is thrown away. So no crash and no race leaves a key that somebody uses and that the next resume would not see.
 */
export async function mintSessionKey(context: ManagementContext, sessionId: string, request: GenerateKeyRequest): Promise<VirtualKey> {
  const first = await mintKeyOnce(context, request);
  if (first) return first;
  const keyAlias = request.key_alias ?? "";
  for (let tries = 0; tries < TRIES_OF_ONE_INSTANT; tries += 1) {
    const key = await mintUnderTemporaryAlias(context, sessionId, request);
    const rows = await listKeys(context, sessionId);
    await deleteKeys(
      context,
      rowsBefore(key.token_hash, rows).flatMap((row) => row.token ?? []),
    );
    if (await renameKey(context, key.token_hash, keyAlias)) return { ...key, key_alias: keyAlias };
    await deleteKeys(context, [key.token_hash]);
    if (!isTied(key.token_hash, rows)) break;
  }
  throw new AppError("proxy_rejected", "Another call minted a newer key for the same session at the same time; use that one.");
}

/** Mints a key that no other call for the session takes notice of. */
export async function mintUnderTemporaryAlias(
  context: ManagementContext,
  sessionId: string,
  request: GenerateKeyRequest,
): Promise<VirtualKey> {
  const key = await mintKeyOnce(context, { ...request, key_alias: temporaryKeyAlias(sessionId) });
  if (!key) throw new AppError("proxy_bad_response", "The LLM proxy says that an alias of 64 random bits is taken.");
  return key;
}

/** Whether a key of the same millisecond was spared because of its hash: which of the two is older nobody can say. */
function isTied(newHash: string, rows: readonly KeyObject[]): boolean {
  const newMs = epochMsFromInstant(rows.find((row) => row.token === newHash)?.created_at);
  return rows.some((row) => String(row.token) > newHash && epochMsFromInstant(row.created_at) === newMs);
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
