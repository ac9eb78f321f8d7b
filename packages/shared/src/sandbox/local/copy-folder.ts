import { constants } from "node:fs";
import { chmod, copyFile, lstat, mkdir, readdir, readlink, symlink } from "node:fs/promises";
import { join } from "node:path";

/**
 * Copies files, folders and links (as they are) with their modes. Meant for a folder in use: what disappears meanwhile is
 * left out, as are sockets and pipes.
 */
export async function copyFolder(source: string, target: string): Promise<void> {
  const { mode } = await lstat(source);
  await mkdir(target, { recursive: true, mode: 0o700 });
  for (const entry of await readdir(source, { withFileTypes: true })) {
    const [from, to] = [join(source, entry.name), join(target, entry.name)];
    try {
      if (entry.isDirectory()) await copyFolder(from, to);
      else if (entry.isSymbolicLink()) await symlink(await readlink(from), to);
      else if (entry.isFile()) await copyFile(from, to, constants.COPYFILE_FICLONE);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  await chmod(target, mode & 0o7777);
}
