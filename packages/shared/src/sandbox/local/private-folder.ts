import { constants } from "node:fs";
import { chmod, lstat, mkdir } from "node:fs/promises";
import { AppError } from "../../errors/index.ts";

/**
 * Makes the folder, and those above it, for this user alone; with `passage`, others may pass through it to what is theirs, and see
 * nothing of it. Idempotent. Throws `sandbox_refused` where it is a link or another user's.
 */
export async function makePrivateFolder(path: string, { passage = false } = {}): Promise<void> {
  const wanted = passage ? 0o711 : 0o700;
  await mkdir(path, { recursive: true, mode: wanted });
  const { uid, mode } = await lstat(path);
  const isOurs = process.getuid === undefined || uid === process.getuid();
  if (!isOurs || (mode & constants.S_IFMT) !== constants.S_IFDIR)
    throw new AppError("sandbox_refused", `${path} is a link or belongs to another user; choose another folder for local sandboxes.`);
  // A passage stays: sandboxes with users of their own may run below it.
  await chmod(path, (mode & 0o777) === 0o711 ? 0o711 : wanted);
}
