import { constants } from "node:fs";
import { chmod, lstat, mkdir } from "node:fs/promises";
import { AppError } from "../../errors/index.ts";

/** Makes the folder, and those above it, for this user alone. Idempotent. Throws `sandbox_refused` where it is a link or another user's. */
export async function makePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const { uid, mode } = await lstat(path);
  const isOurs = process.getuid === undefined || uid === process.getuid();
  if (!isOurs || (mode & constants.S_IFMT) !== constants.S_IFDIR) throw new AppError("sandbox_refused", `${path} is a link or belongs to another user; choose another folder for local sandboxes.`);
  await chmod(path, 0o700);
}
