import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { keyAliasPattern } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { requireBudget, writeSoftBudget } from "../budgets/index.ts";
import { clearBudgetCounter, lockBudgetCounter } from "../limits/index.ts";
import {
  deleteKeyRows,
  findAliasHolder,
  findKey,
  insertKey,
  type KeyFields,
  type KeyRow,
  lockAlias,
  restartKeySpend,
  updateKeyRow,
} from "./db.ts";
import { type KeysOwner, listKeyHashes } from "./list-db.ts";
import { CALLER_KINDS, type CallerKind, kindOfCredential, requireUserOf } from "../principals/index.ts";
import { lockKeys, readKeyId } from "./key-hashes-db.ts";
import { abbreviateKey, ADMIN_USER_ID, hashKey, hashOfKeyOrHash, makeKey, requireKeyOf } from "./virtual-key.ts";

export interface MintedKey {
  /** The key itself: told once, stored nowhere. */
  readonly key: string;
  readonly row: KeyRow;
  /** False when the key existed: then nothing was changed. */
  readonly created: boolean;
}

/**
 * Makes a key. Idempotent for a `key` that the caller chose: a repeat answers the row that exists, unchanged. An alias is
 * unique, also among concurrent calls: `key_alias_taken` otherwise. Throws `invalid_request` on a malformed key or alias, or a user that is not of the kind.
 */
export async function mintKey(
  db: DatabaseClient,
  fields: KeyFields,
  { chosenKey, kind = CALLER_KINDS[0] }: { readonly chosenKey?: string | undefined; readonly kind?: CallerKind } = {},
): Promise<MintedKey> {
  requireUserOf(kind, fields.userId);
  const key = chosenKey === undefined ? makeKey(kind) : requireKeyOf(kind, chosenKey, "key");
  const hash = hashKey(key);
  return db.transaction().execute(async (tx) => {
    const known = chosenKey === undefined ? undefined : await findKey(tx, hash);
    if (known && known.token !== hash)
      throw new AppError("invalid_request", "The key was regenerated: nobody gets what it was before.", { param: "key" });
    if (known) return { key, row: known, created: false };
    await claimAlias(tx, fields.keyAlias, hash);
    const withBudget = await claimBudget(tx, fields, null);
    const inserted = await insertKey(tx, { hash, name: abbreviateKey(key), createdBy: ADMIN_USER_ID, fields: withBudget });
    const row = inserted ?? (await requireKey(tx, hash));
    return { key, row, created: inserted !== undefined };
  });
}

/**
 * Changes a key, named by itself or its hash. A key that gets its first budget window starts it at 0; one that had a window
 * keeps what it spent in it. Throws `key_not_found`, `key_alias_taken`, `invalid_request` for a user that is not of the key's kind.
 */
export async function changeKey(db: DatabaseClient, keyOrHash: string, fields: KeyFields): Promise<KeyRow> {
  return db.transaction().execute(async (tx) => {
    const known = await lockKey(tx, keyOrHash);
    const row = await updateKeyRow(tx, known.token, ADMIN_USER_ID, await claimFields(tx, known, fields));
    if (!row) throw keyNotFound();
    // Its name begins as the key itself does. Thrown from here, nothing was changed.
    if (fields.userId !== undefined) requireUserOf(kindOfCredential(row.key_name ?? "") ?? CALLER_KINDS[0], row.user_id);
    return row;
  });
}

/** The key, named by itself or its hash, that nobody else changes until the transaction ends. Throws `key_not_found`. */
export async function lockKey(tx: DatabaseExecutor, keyOrHash: string): Promise<KeyRow> {
  await lockKeys(tx, [hashOfKeyOrHash(keyOrHash)]);
  return requireKey(tx, keyOrHash);
}

/**
 * What a change of a key takes with it: its alias, the budget in which the soft budget stands, the start of its first window, in the order in which
 * everybody locks them. Throws `key_alias_taken`, and what `requireBudget` throws.
 */
export async function claimFields(tx: DatabaseExecutor, known: KeyRow, fields: KeyFields): Promise<KeyFields> {
  await claimAlias(tx, fields.keyAlias, known.token);
  // The budget before any counter, as by whoever begins its next window.
  const withBudget = await claimBudget(tx, fields, known.budget_id);
  if (fields.budgetDuration) await startFirstWindow(tx, known);
  return withBudget;
}

/** The fields with the budget in which the soft budget stands. A budget that is named exists then, until the transaction ends. */
async function claimBudget(tx: DatabaseExecutor, fields: KeyFields, budgetId: string | null): Promise<KeyFields> {
  if (fields.budgetId) await requireBudget(tx, fields.budgetId);
  if (fields.softBudgetUsd === undefined) return fields;
  return { ...fields, budgetId: await writeSoftBudget(tx, { budgetId, changedBy: ADMIN_USER_ID }, fields.softBudgetUsd) };
}

async function startFirstWindow(tx: DatabaseExecutor, { token, budget_duration: duration }: KeyRow): Promise<void> {
  if (duration !== null) return;
  const id = await readKeyId(tx, token);
  // The counter first, as by everybody: a settlement under way would wait in a circle.
  await lockBudgetCounter(tx, "key", id);
  await restartKeySpend(tx, token);
  await clearBudgetCounter(tx, "key", id);
}

/** Deletes keys, in force for the next request. Throws `key_not_found` when none of them exists. */
export async function revokeKeys(
  db: DatabaseClient,
  keysOrHashes: readonly string[],
  aliases: readonly string[],
): Promise<readonly string[]> {
  const deleted = await deleteKeys(db, keysOrHashes.map(hashOfKeyOrHash), aliases);
  if (deleted.length === 0) throw keyNotFound();
  return deleted;
}

async function deleteKeys(db: DatabaseClient, hashes: readonly string[], aliases: readonly string[]): Promise<readonly string[]> {
  return db.transaction().execute(async (tx) => {
    await lockKeys(tx, hashes, aliases);
    return deleteKeyRows(tx, hashes, aliases);
  });
}

/** So many keys are deleted in one transaction: what they hold is locked until it ends. */
const KEYS_AT_ONCE = 500;

/** Deletes all keys of a team or a user. A process that dies in the middle leaves a part of them; repeated, it goes on. */
export async function revokeKeysOf(db: DatabaseClient, owner: KeysOwner): Promise<void> {
  for (;;) {
    const hashes = await listKeyHashes(db, owner, KEYS_AT_ONCE);
    if (hashes.length === 0) return;
    await deleteKeys(db, hashes, []);
  }
}

/** The row of a key, named by itself or its hash, or by those that it had before it was regenerated. Throws `key_not_found`. */
export async function requireKey(db: DatabaseExecutor, keyOrHash: string): Promise<KeyRow> {
  const row = await findKey(db, hashOfKeyOrHash(keyOrHash));
  if (!row) throw keyNotFound();
  return row;
}

export function keyNotFound(): AppError {
  return new AppError("key_not_found", "Key not found in database.", { param: "key" });
}

async function claimAlias(tx: DatabaseExecutor, keyAlias: string | null | undefined, hash: string): Promise<void> {
  if (keyAlias === undefined || keyAlias === null) return;
  if (!keyAliasPattern.test(keyAlias)) {
    throw new AppError(
      "invalid_request",
      "key_alias must have 1 to 255 characters of a-z A-Z 0-9 _ - / . @ and a letter or digit at both ends.",
      { param: "key_alias" },
    );
  }
  await lockAlias(tx, keyAlias);
  if (!(await findAliasHolder(tx, keyAlias, hash))) return;
  // LiteLLM's words: its clients look for "already exists".
  throw new AppError("key_alias_taken", `Key with alias '${keyAlias}' already exists. Unique key aliases across all keys are required.`, {
    param: "key_alias",
  });
}
