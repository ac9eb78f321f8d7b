import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { open, rm, stat } from "node:fs/promises";

/** How a program is run in a sandbox's home directory: as its user, with its variables. */
interface HomeProcessOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
}

/** GNU tar's status for "some files changed or went away while they were read", which is what a home in use does. */
const FILES_CHANGED = process.platform === "linux" ? 1 : 0;

/**
 * Keeps a home directory as one archive, links as they are, with modes; what disappears meanwhile is left out, as are sockets.
 * Read by the sandbox's own user: what a link is laid to in between, he could read himself. Nothing is left of one that fails.
 */
export async function archiveHome(options: HomeProcessOptions, target: string): Promise<void> {
  const file = await open(target, "wx", 0o600);
  try {
    const tar = spawn("tar", ["-c", "-f", "-", "."], { ...options, stdio: ["ignore", file.fd, "ignore"] });
    await expectStatus(tar, [0, FILES_CHANGED]);
  } catch (error) {
    await rm(target, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** Fills an empty home directory from an archive, or from the folder that snapshots were before. */
export async function restoreHome(source: string, options: HomeProcessOptions): Promise<void> {
  const extract = ["-x", "-p", "-o", "-f", "-"];
  if ((await stat(source)).isDirectory()) {
    const reader = spawn("tar", ["-c", "-f", "-", "."], { cwd: source, env: options.env, stdio: ["ignore", "pipe", "ignore"] });
    const writer = spawn("tar", extract, { ...options, stdio: [reader.stdout, "ignore", "ignore"] });
    await Promise.all([expectStatus(reader, [0]), expectStatus(writer, [0])]);
    return;
  }
  const file = await open(source, "r");
  try {
    await expectStatus(spawn("tar", extract, { ...options, stdio: [file.fd, "ignore", "ignore"] }), [0]);
  } finally {
    await file.close();
  }
}

async function expectStatus(tar: ChildProcess, allowed: readonly number[]): Promise<void> {
  const [status] = (await once(tar, "exit")) as [number | null];
  if (status === null || !allowed.includes(status)) throw new Error(`tar ended with status ${status}`);
}
