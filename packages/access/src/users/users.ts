import { randomUUID } from "node:crypto";
import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import type { DecimalText } from "@proliferate/shared/money";
import { deleteKeyRows, listKeyHashesOfUser } from "../keys/index.ts";
import { deleteLimit, limitWindowOf, MOST_LIMITS, type SetLimit, writeLimit } from "../limits/index.ts";
import {
  deleteUserRows,
  findEmailHolder,
  findUser,
  findUserIds,
  insertUser,
  lockUser,
  updateUserRow,
  type UserFields,
  type UserRow,
} from "./db.ts";

/**
 * Users: what somebody is called, and what all keys that have this `user_id` may use together. A row stands in LiteLLM's table; what holds is
 * written into `limits` in the same transaction, so it is in force for the next request of each of the keys, with or without a team.
 */

/** Makes a user. Throws `user_exists` where the id or the address is taken, `invalid_request` for a window that no limit can have. */
export async function makeUser(db: DatabaseClient, fields: UserFields, userId: string = randomUUID()): Promise<UserRow> {
  return writeUser(db, userId, fields, (exists) => {
    if (exists) throw new AppError("user_exists", `User with user_id ${userId.slice(0, 128)} already exists`, { param: "user_id" });
  });
}

/** Changes a user, or makes the one that there is not, as LiteLLM does. Idempotent. Throws as {@link makeUser} does, but never for the id. */
export async function changeUser(db: DatabaseClient, userId: string, fields: UserFields): Promise<UserRow> {
  return writeUser(db, userId, fields, () => undefined);
}

async function writeUser(db: DatabaseClient, userId: string, fields: UserFields, judge: (exists: boolean) => void): Promise<UserRow> {
  return db.transaction().execute(async (tx) => {
    await lockUser(tx, "id", userId);
    const before = await findUser(tx, userId);
    judge(before !== undefined);
    await claimEmail(tx, userId, fields.userEmail);
    // Another process of LiteLLM's may have made it meanwhile: then it is that one that is changed.
    if (before !== undefined || !(await insertUser(tx, userId, fields))) await updateUserRow(tx, userId, fields);
    const row = await requireUser(tx, userId);
    await writeLimits(tx, before, row);
    return row;
  });
}

/** The user. Throws `user_not_found`. */
export async function requireUser(db: DatabaseExecutor, userId: string): Promise<UserRow> {
  const row = await findUser(db, userId);
  if (row) return row;
  throw userNotFound(userId);
}

function userNotFound(userId: string): AppError {
  return new AppError("user_not_found", `User ${userId.slice(0, 128)} not found`, { param: "user_id" });
}

async function claimEmail(tx: DatabaseExecutor, userId: string, email: string | null | undefined): Promise<void> {
  if (!email) return;
  await lockUser(tx, "email", email);
  if ((await findEmailHolder(tx, email, userId)) === undefined) return;
  throw new AppError("user_exists", `User with email ${email.slice(0, 128)} already exists`, { param: "user_email" });
}

/** What the row says, as limits of the user; a window that it had before is no window any more. */
async function writeLimits(tx: DatabaseExecutor, before: UserRow | undefined, row: UserRow): Promise<void> {
  const [old, window] = [await windowOf(tx, before?.budget_duration ?? null), await windowOf(tx, row.budget_duration)];
  if (before !== undefined && old !== window) await writeLimitOf(tx, row.user_id, "usd", old, null);
  await writeLimitOf(tx, row.user_id, "usd", window, row.max_budget);
  await writeLimitOf(tx, row.user_id, "requests", "minute", row.rpm_limit);
  await writeLimitOf(tx, row.user_id, "tokens", "minute", row.tpm_limit);
  await writeLimitOf(tx, row.user_id, "parallel", "total", row.max_parallel_requests === null ? null : String(row.max_parallel_requests));
}

/** Throws `invalid_request` for a duration that no limit begins anew by. */
async function windowOf(tx: DatabaseExecutor, duration: string | null): Promise<string> {
  if (duration === null) return "total";
  const window = await limitWindowOf(tx, duration);
  if (window !== "total") return window;
  throw new AppError("invalid_request", "budget_duration of a user must be a number and one of s, m, h, d, w, mo: 24h, 7d, 1mo.", {
    param: "budget_duration",
  });
}

async function writeLimitOf(
  tx: DatabaseExecutor,
  userId: string,
  meter: string,
  window: string,
  amount: DecimalText | null,
): Promise<void> {
  const limit = { principal: { kind: "user", id: userId }, meter, window, model: "" } as const;
  if (amount === null) return void (await deleteLimit(tx, limit));
  const set: SetLimit = { ...limit, amount, enforce: "refuse" };
  if (await writeLimit(tx, set)) return;
  throw new AppError("invalid_request", `This user has ${MOST_LIMITS} limits already; delete one with POST /limit/delete first.`, {
    param: "user_id",
  });
}

/** So many keys are deleted in one transaction: what they hold is locked until it ends. */
const KEYS_AT_ONCE = 500;

/**
 * Deletes users with their keys, which are refused from the next request on. Where one of the users does not exist, nothing is changed. A
 * process that dies in the middle leaves users with a part of their keys; repeated, it goes on. Throws `user_not_found`.
 */
export async function removeUsers(db: DatabaseClient, userIds: readonly string[]): Promise<number> {
  const known = await findUserIds(db, userIds);
  const missing = userIds.find((id) => !known.includes(id));
  if (missing !== undefined) throw userNotFound(missing);
  for (const userId of userIds) await removeKeysOf(db, userId);
  await deleteUserRows(db, userIds);
  return userIds.length;
}

async function removeKeysOf(db: DatabaseClient, userId: string): Promise<void> {
  for (;;) {
    const hashes = await listKeyHashesOfUser(db, userId, KEYS_AT_ONCE);
    if (hashes.length === 0) return;
    await deleteKeyRows(db, hashes, []);
  }
}
