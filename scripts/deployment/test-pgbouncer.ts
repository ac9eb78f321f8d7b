import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import pg from "pg";
import { waitUntil } from "./test-deployment.ts";

/** It refuses to run as root; `nobody` on Linux. */
const UNPRIVILEGED_ID = 65_534;

export interface PgBouncer {
  /** The connection string, by way of the pooler. */
  through(connectionString: string): string;
  stop(): Promise<void>;
}

/** A real PgBouncer with its own defaults, but for the mode: no startup parameter is ignored. Throws when the program is not there. */
export async function startPgBouncer(program: string, server: string, mode: "session" | "transaction"): Promise<PgBouncer> {
  const folder = await mkdtemp("/var/tmp/llm-gateway-pgbouncer-");
  const { hostname, port: serverPort, username, password } = new URL(server);
  const port = await freePort();
  const users = join(folder, "users.txt");
  const settings = join(folder, "pgbouncer.ini");
  await writeFile(users, `"${decodeURIComponent(username)}" "${decodeURIComponent(password)}"\n`);
  await writeFile(
    settings,
    [
      "[databases]",
      `* = host=${hostname} port=${serverPort || 5432}`,
      "[pgbouncer]",
      "listen_addr = 127.0.0.1",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = md5",
      `auth_file = ${users}`,
      `pool_mode = ${mode}`,
      // In session mode each connection of ours has one of its own: all that docs/operations.md counts. With less, a busy process has another one wait.
      `default_pool_size = ${mode === "session" ? 60 : 20}`,
      `logfile = ${join(folder, "log")}`,
      "",
    ].join("\n"),
  );
  const isRoot = process.getuid?.() === 0;
  for (const path of [folder, users, settings]) {
    await chmod(path, path === folder ? 0o700 : 0o600);
    if (isRoot) await chown(path, UNPRIVILEGED_ID, UNPRIVILEGED_ID);
  }
  const child = spawn(program, [settings], { stdio: "ignore", cwd: "/", ...(isRoot && { uid: UNPRIVILEGED_ID, gid: UNPRIVILEGED_ID }) });
  const exited = once(child, "exit");
  const through = (connectionString: string): string => {
    const url = new URL(connectionString);
    url.host = `127.0.0.1:${port}`;
    return url.toString();
  };
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
    await rm(folder, { recursive: true, force: true });
  };
  await waitUntil("PgBouncer answers", async () => isAnswering(through(server))).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { through, stop };
}

async function isAnswering(connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 2_000 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}
