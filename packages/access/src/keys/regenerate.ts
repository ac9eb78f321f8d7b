import { type DatabaseClient, isUniqueViolation } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { lockBudgetCounter } from "../limits/index.ts";
import { CALLER_KINDS, kindOfCredential, requireUserOf } from "../principals/index.ts";
import { findKey, type KeyFields, updateKeyRow } from "./db.ts";
import { readKeyId, writeCurrentHash, writeGrace } from "./key-hashes-db.ts";
import { claimFields, keyNotFound, lockKey, type MintedKey } from "./keys.ts";
import { abbreviateKey, ADMIN_USER_ID, hashKey, hashOfKeyOrHash, makeKey, requireKeyOf } from "./virtual-key.ts";

/** How a key is regenerated. */
interface Regeneration {
  /** What changes beside the secret. */
  readonly fields: KeyFields;
  /** Chosen by the caller; undefined: it is made here. */
  readonly newKey?: string | undefined;
  /** PostgreSQL interval for which the former key may still be used; null: it, and any before it, is refused from the next request on. */
  readonly grace: string | null;
}

/**
 * Gives a key, named by itself or its hash, a new secret. It stays the same key: what it has spent, its limits, its requests in flight and its
 * spend rows are those of both secrets. Idempotent for a `newKey` that the caller chose: repeated by the former key, nothing is changed. Throws
 * `key_not_found`, `key_alias_taken`, `invalid_request` for a new key that is malformed or was ever one.
 */
export async function regenerateKey(db: DatabaseClient, keyOrHash: string, { fields, newKey, grace }: Regeneration): Promise<MintedKey> {
  return db
    .transaction()
    .execute(async (tx) => {
      const known = await lockKey(tx, keyOrHash);
      const kind = kindOfCredential(known.key_name ?? "") ?? CALLER_KINDS[0];
      const key = newKey === undefined ? makeKey(kind) : requireKeyOf(kind, newKey, "new_key");
      const hash = hashKey(key);
      if (hash === known.token && hashOfKeyOrHash(keyOrHash) !== hash) return { key, row: known, created: false };
      if (await findKey(tx, hash)) throw newKeyTaken();
      const claimed = await claimFields(tx, known, fields);
      const keyId = await readKeyId(tx, known.token);
      // The counter before LiteLLM's row, as by everybody: a settlement under way would wait in a circle.
      await lockBudgetCounter(tx, "key", keyId);
      const row = await updateKeyRow(tx, known.token, ADMIN_USER_ID, claimed, { hash, name: abbreviateKey(key) });
      if (!row) throw keyNotFound();
      if (fields.userId !== undefined) requireUserOf(kind, row.user_id);
      await writeCurrentHash(tx, { keyId, formerHash: known.token, newHash: hash });
      await writeGrace(tx, { formerHash: known.token, newHash: hash, grace });
      return { key, row, created: true };
    })
    .catch((error: unknown) => {
      // Somebody else minted it at this moment.
      throw isUniqueViolation(error) ? newKeyTaken() : error;
    });
}

function newKeyTaken(): AppError {
  return new AppError("invalid_request", "new_key is, or was, a key already: choose another, or leave it out.", { param: "new_key" });
}
