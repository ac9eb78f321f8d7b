import { DatabaseSync } from "node:sqlite";
import { setTimeout } from "node:timers/promises";

export interface FileLockOptions {
  /** Between two tries. Default 20. */
  readonly retryMs?: number;
  /** Of all tries. Default 30,000. */
  readonly mostMs?: number;
}

/** Somebody else held the lock for all the time. */
export class FileLockBusy extends Error {}

/** Of SQLite: another connection has the lock. */
const SQLITE_BUSY = 5;

/**
 * Takes the lock on `<path>.lock` for one step: one at a time among all processes of this host. The operating system keeps it, by way of
 * SQLite, which Node has built in, because Node itself has no file locks; so it is free in the moment in which its holder dies, and
 * what a crash leaves is an empty database that is in nobody's way. Throws {@link FileLockBusy}, and as SQLite does where the
 * file cannot be made; the step was not begun then.
 */
export async function withFileLock<Result>(path: string, options: FileLockOptions, step: () => Promise<Result>): Promise<Result> {
  const { retryMs = 20, mostMs = 30_000 } = options;
  const lockPath = `${path}.lock`;
  const untilMs = performance.now() + mostMs;
  // SQLite would wait by blocking the thread, and the whole process would stand still. So it does not wait; the loop below does.
  const lock = new DatabaseSync(lockPath, { timeout: 0 });
  try {
    while (!tryLock(lock)) {
      if (performance.now() >= untilMs) throw new FileLockBusy(`Another process held ${lockPath} for ${mostMs} ms.`);
      await setTimeout(retryMs * (0.5 + Math.random()));
    }
    return await step();
  } finally {
    lock.close();
  }
}

function tryLock(lock: DatabaseSync): boolean {
  try {
    lock.exec("begin exclusive");
    return true;
  } catch (error) {
    if ((error as { errcode?: unknown }).errcode === SQLITE_BUSY) return false;
    throw error;
  }
}
