import { once } from "node:events";
import { readdir, readlink, rm, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { AppError } from "../../errors/index.ts";

// Below the range that Linux and macOS hand out by themselves, so that no outgoing connection takes one in between.
const firstPort = 20_000;
const portCount = 10_000;

/**
 * A loopback port that nothing listens on, for this sandbox until its ports are given back. A link in the folder says whose
 * it is, so that no other process with the same folder takes it before the agent listens. Throws
 * `sandbox_provider_unavailable` when every port of 20000 to 29999 is taken.
 */
export async function takePort(folder: string, sandboxId: string): Promise<number> {
  const start = Math.floor(Math.random() * portCount);
  for (let attempt = 0; attempt < portCount; attempt += 1) {
    const port = firstPort + ((start + attempt) % portCount);
    if (!(await claim(folder, port, sandboxId))) continue;
    if (await isFree(port)) return port;
    await rm(join(folder, String(port)), { force: true });
  }
  throw new AppError("sandbox_provider_unavailable", `Every port from ${firstPort} to ${firstPort + portCount - 1} is taken.`);
}

/** Every port of the sandbox. Idempotent. */
export async function giveBackPorts(folder: string, sandboxId: string): Promise<void> {
  const ports = await readdir(folder).catch(() => []);
  await Promise.all(
    ports.map(async (port) => {
      const link = join(folder, port);
      if ((await readlink(link).catch(() => undefined)) === sandboxId) await rm(link, { force: true });
    }),
  );
}

async function claim(folder: string, port: number, sandboxId: string): Promise<boolean> {
  try {
    await symlink(sandboxId, join(folder, String(port)));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return true;
  } catch {
    return false;
  }
}
