import { randomUUID } from "node:crypto";
import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { revokeKeysOf } from "../keys/index.ts";
import { removeFromTeams } from "../teams/index.ts";
import { deleteLimit, limitWindowOf, MOST_LIMITS, parseDuration, type SetLimit, writeLimit } from "../limits/index.ts";
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

/** What the row says, as limits of the user, in the place of what it said before. What it never said, such as a limit by `POST /limit/set`, stays. */
async function writeLimits(tx: DatabaseExecutor, before: UserRow | undefined, row: UserRow): Promise<void> {
  const window = await windowOf(tx, row);
  if (window === undefined)
    throw new AppError(
      "invalid_request",
      "budget_duration of a user must be a number and one of s, m, h, d, w, mo (24h, 7d, 1mo), or monthly.",
      { param: "budget_duration" },
    );
  const [old, said] = [before ? limitsOf(before, await windowOf(tx, before)) : [], limitsOf(row, window)];
  for (const limit of old) if (!said.some((one) => one.meter === limit.meter && one.window === limit.window)) await deleteLimit(tx, limit);
  for (const limit of said) {
    if (await writeLimit(tx, limit)) continue;
    throw new AppError("invalid_request", `This user has ${MOST_LIMITS} limits already; delete one with POST /limit/delete first.`, {
      param: "user_id",
    });
  }
}

/** `window`: of the budget; undefined where no limit begins anew by what the row says, so that there is none. */
function limitsOf(row: UserRow, window: string | undefined): readonly SetLimit[] {
  const said = [
    ["usd", window, row.max_budget],
    ["requests", "minute", row.rpm_limit],
    ["tokens", "minute", row.tpm_limit],
    ["parallel", "total", row.max_parallel_requests],
  ] as const;
  const principal = { kind: "user", id: row.user_id } as const;
  return said.flatMap(([meter, of, amount]) =>
    of === undefined || amount === null ? [] : [{ principal, meter, window: of, model: "", amount: String(amount), enforce: "refuse" }],
  );
}

async function windowOf(tx: DatabaseExecutor, { budget_duration: duration }: UserRow): Promise<string | undefined> {
  if (duration === null) return "total";
  const parsed = parseDuration(duration);
  return parsed && limitWindowOf(tx, `${parsed.count}${parsed.unit}`);
}

/**
 * Deletes users with their keys, which are refused from the next request on. Where one of the users does not exist, nothing is changed. A
 * process that dies in the middle leaves users with a part of their keys; repeated, it goes on. Throws `user_not_found`.
 */
export async function removeUsers(db: DatabaseClient, userIds: readonly string[]): Promise<number> {
  const known = await findUserIds(db, userIds);
  const missing = userIds.find((id) => !known.includes(id));
  if (missing !== undefined) throw userNotFound(missing);
  for (const userId of userIds) await revokeKeysOf(db, ["user_id", userId]);
  await removeFromTeams(db, userIds);
  await deleteUserRows(db, userIds);
  return userIds.length;
}
