import { once } from "node:events";
import { readdir, readlink, rm, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { AppError } from "../../errors/index.ts";
import { makePrivateFolder } from "./private-folder.ts";

// Below the range that Linux and macOS hand out by themselves, so that no outgoing connection takes one in between.
const firstPort = 20_000;
const portCount = 10_000;

/**
 * Links by port, whose target is the holder. One folder for the machine, whatever TMPDIR says: sandboxes of several roots
 * share its ports.
 */
export const PORT_CLAIMS_FOLDER = `/tmp/proliferate-sandbox-ports-${process.getuid?.() ?? 0}`;

/**
 * A loopback port that nothing listens on, for this holder alone until it gives its ports back: no other process takes it
 * before the agent listens. Throws `sandbox_provider_unavailable` when every port of 20000 to 29999 is taken.
 */
export async function takePort(holder: string): Promise<number> {
  await makePrivateFolder(PORT_CLAIMS_FOLDER);
  const start = Math.floor(Math.random() * portCount);
  for (let attempt = 0; attempt < portCount; attempt += 1) {
    const port = firstPort + ((start + attempt) % portCount);
    if (!(await claim(port, holder))) continue;
    if (await isFree(port)) return port;
    await rm(linkOf(port), { force: true });
  }
  throw new AppError("sandbox_provider_unavailable", `Every port from ${firstPort} to ${firstPort + portCount - 1} is taken.`);
}

/** Every port of the holder. Idempotent. */
export async function giveBackPorts(holder: string): Promise<void> {
  const ports = await readdir(PORT_CLAIMS_FOLDER).catch(() => []);
  await Promise.all(
    ports.map(async (port) => {
      if ((await readlink(linkOf(port)).catch(() => undefined)) === holder) await rm(linkOf(port), { force: true });
    }),
  );
}

const linkOf = (port: number | string): string => join(PORT_CLAIMS_FOLDER, String(port));

async function claim(port: number, holder: string): Promise<boolean> {
  try {
    await symlink(holder, linkOf(port));
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
