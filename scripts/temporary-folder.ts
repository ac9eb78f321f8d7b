import { rmSync } from "node:fs";
import { chmod, mkdtemp } from "node:fs/promises";

/**
 * A folder that goes with this process, by Ctrl-C too. Others may enter it: as root, PostgreSQL runs as another user. A server
 * that still stops may leave files behind; what cannot be removed then is left.
 */
export async function makeTemporaryFolder(name: string): Promise<string> {
  const folder = await mkdtemp(`/var/tmp/llm-gateway-${name}-`);
  await chmod(folder, 0o755);
  process.once("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.once(signal, () => process.exit(status));
  return folder;
}
