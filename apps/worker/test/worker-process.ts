import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { fileURLToPath } from "node:url";

/** For tests only: a worker as it runs in production, in a process of its own. */
export interface WorkerProcess {
  readonly url: string;
  readonly child: ChildProcess;
  /** What it logged so far. */
  log(): string;
  /** Sends the signal and resolves with the exit status (null when the signal killed it). */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

const ENTRY = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** As in docker-compose.yml. */
const SMALL_HEAP = { flags: ["--max-semi-space-size=1"], environment: { MALLOC_ARENA_MAX: "1" } };

/** Starts a worker and waits until it is ready. Throws its last words when it does not come up. */
export async function startWorkerProcess(environment: Readonly<Record<string, string>>): Promise<WorkerProcess> {
  const child = spawn(process.execPath, [...SMALL_HEAP.flags, ENTRY], {
    env: { WORKER_PORT: "0", ...SMALL_HEAP.environment, ...environment },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString("utf8")));
  const exited = once(child, "exit");
  const message = await Promise.race([
    once(child, "message").then(([value]) => value as { type: string; ports?: { worker: number } }),
    exited.then(() => undefined),
  ]);
  if (message?.type !== "ready") {
    await exited;
    throw new Error(`The worker did not start: ${log.slice(-2_000)}`);
  }
  return {
    url: `http://127.0.0.1:${message.ports?.worker}`,
    child,
    log: () => log,
    end: async (signal) => {
      child.kill(signal);
      await exited;
      return child.exitCode;
    },
  };
}

/** A loopback port that refuses connections. */
export async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
