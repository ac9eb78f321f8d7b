import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { AppError } from "../../errors/index.ts";
import { killQuietly, processStartTime, SANDBOX_MARKER } from "./processes.ts";

/** Runs as TypeScript in this repository and as JavaScript in the published package. */
const keeperProgram = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./keeper.ts" : "./keeper.js", import.meta.url));

/** What the keeper of a local sandbox is started with. */
interface KeeperOptions {
  readonly root: string;
  readonly id: string;
  readonly path: string;
  readonly timeoutMs: number;
  readonly detached: boolean;
}

/**
 * Starts the process whose life is the sandbox's. A shell waits, and then ends the sandbox whatever became of us: attached,
 * it waits for the end of a pipe that this process holds open, which the kernel closes however we die; detached, for the
 * time-out. A shell, since fifty of them cost less than one Node.
 */
export async function startKeeper({ root, id, path, timeoutMs, detached }: KeeperOptions): Promise<{ pid: number; startTime: string }> {
  const wait = detached ? `sleep ${timeoutMs / 1000}` : "cat >/dev/null";
  const keeper = spawn("/bin/sh", ["-c", `${wait}; exec "$@"`, "sh", process.execPath, keeperProgram, root, id], {
    cwd: "/",
    env: { PATH: path, [SANDBOX_MARKER]: id },
    detached: true,
    stdio: [detached ? "ignore" : "pipe", "ignore", "ignore"],
  });
  keeper.stdin?.on("error", () => undefined);
  if (keeper.stdin && "unref" in keeper.stdin) (keeper.stdin as unknown as { unref(): void }).unref();
  keeper.unref();
  try {
    await once(keeper, "spawn");
  } catch (error) {
    throw new AppError("sandbox_create_failed", `The local sandbox ${id} has no keeper: /bin/sh could not be started.`, { cause: error });
  }
  const pid = keeper.pid ?? 0;
  const startTime = processStartTime(pid);
  if (startTime !== undefined) return { pid, startTime };
  killQuietly(-pid);
  throw new AppError("sandbox_create_failed", `The keeper of the local sandbox ${id} ended at once.`);
}
