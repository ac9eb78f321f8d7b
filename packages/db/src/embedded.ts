import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, chown, cp, mkdir, open, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { arch, platform } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { AppError } from "@proliferate/shared/errors";
import pg from "pg";

/** Where the embedded PostgreSQL keeps its data, and what it listens on. */
interface EmbeddedPostgresOptions {
  /** Kept between runs. As root, a folder that others cannot enter is moved to /var/tmp; see `dataFolder` of the result. */
  readonly dataFolder: string;
  /** Default: any free one. */
  readonly port?: number;
  /** `false` trades crash safety for speed; only for tests. Default true. */
  readonly durable?: boolean;
  /** Default 100. */
  readonly maxConnections?: number;
}

/** A PostgreSQL server that this process started; `stop` is idempotent. */
export interface EmbeddedPostgres {
  readonly connectionString: string;
  readonly port: number;
  readonly dataFolder: string;
  /** Clean shutdown; resolves when the server has gone. Idempotent. */
  stop(): Promise<void>;
}

/** The user that runs the server when we are root: PostgreSQL refuses to run as root. `nobody` on Linux. */
const UNPRIVILEGED_ID = 65_534;
const START_TIMEOUT_MS = 30_000;
/** For a server that says that it is starting: after a crash it replays its log first. */
const RECOVERY_TIMEOUT_MS = 600_000;
const CANNOT_CONNECT_NOW = "57P03";
const STOP_TIMEOUT_MS = 20_000;
const USER = "app";

/**
 * Runs the server under a shell that holds our end of a pipe: when we die, even by kill -9, the pipe closes and the
 * shell stops the server (SIGINT = "fast shutdown"). So no server is left behind, and none needs a pid file to be found.
 */
const GUARD_SCRIPT = `
exec 3<&0
"$0" "$@" </dev/null 3<&- &
server=$!
( while read -r _; do :; done; kill -INT "$server" 2>/dev/null ) <&3 >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
`;

/**
 * Starts the PostgreSQL server that an npm package carries: no Docker, no root, no download beyond the package. Waits
 * until it accepts connections. Loopback only, password from a file that only we can read. Throws
 * `embedded_postgres_failed` with the server's last lines.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const native = await usableNativeFolder(await findNativeFolder());
  const dataFolder = await usableDataFolder(resolve(options.dataFolder));
  const password = await initialize(native, dataFolder);
  await waitForFormerServer(dataFolder);

  const port = options.port ?? (await freePort());
  const address = `postgresql://${USER}:${password}@127.0.0.1:${port}`;
  const logFile = join(dataFolder, "..", "postgres.log");
  const server = await spawnServer({
    native,
    dataFolder,
    port,
    logFile,
    durable: options.durable ?? true,
    maxConnections: options.maxConnections ?? 100,
  });
  const exited = new Promise<void>((done) => server.once("exit", () => done()));
  server.once("exit", () => server.stdin?.destroy());

  const stop = async (): Promise<void> => {
    server.stdin?.end();
    await Promise.race([exited, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
  };
  try {
    await waitUntilReady(server, `${address}/postgres`, logFile);
  } catch (error) {
    await stop();
    throw error;
  }
  return { connectionString: `${address}/app`, port, dataFolder, stop };
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function serverIdentity(): { uid?: number; gid?: number } {
  return isRoot() ? { uid: UNPRIVILEGED_ID, gid: UNPRIVILEGED_ID } : {};
}

async function findNativeFolder(): Promise<string> {
  const name = `@embedded-postgres/${platform()}-${arch()}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), "..", "native");
  } catch (error) {
    throw new AppError("embedded_postgres_failed", `There is no embedded PostgreSQL for this machine (${name}); set DATABASE_URL.`, {
      cause: error,
    });
  }
}

/** True when every folder up to the root may be entered by anybody. */
async function isReachableByOthers(path: string): Promise<boolean> {
  for (let folder = path; ; folder = dirname(folder)) {
    const info = await stat(folder).catch(() => undefined);
    if (info && (info.mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/** Under root the binaries must be readable by the unprivileged user; a checkout below /root is not, so they are copied once. */
async function usableNativeFolder(native: string): Promise<string> {
  await recreateSymlinks(native);
  if (!isRoot() || (await isReachableByOthers(native))) return native;
  const id = createHash("sha256").update(native).digest("hex").slice(0, 12);
  const copy = `/var/tmp/llm-gateway-postgres-${id}`;
  const owner = await stat(copy).catch(() => undefined);
  if (owner?.uid === 0) return copy;
  const draft = `${copy}.${process.pid}`;
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  await chmod(draft, 0o755);
  await rename(draft, copy).catch(() => rm(draft, { recursive: true, force: true }));
  return copy;
}

/** What the package's install script does, in case it was not allowed to run. */
async function recreateSymlinks(native: string): Promise<void> {
  const links = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8")) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const path = join(dirname(native), target);
    if (existsSync(path)) continue;
    const from = join(dirname(native), source);
    await symlink(from.startsWith(dirname(path)) ? from.slice(dirname(path).length + 1) : from, path).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      },
    );
  }
}

async function usableDataFolder(requested: string): Promise<string> {
  const parent = dirname(requested);
  await mkdir(parent, { recursive: true });
  if (!isRoot()) return requested;
  if (await isReachableByOthers(parent)) return requested;
  const id = createHash("sha256").update(requested).digest("hex").slice(0, 12);
  const moved = `/var/tmp/llm-gateway-data-${id}`;
  await mkdir(moved, { recursive: true, mode: 0o755 });
  return join(moved, "postgres");
}

/** Creates the cluster once. Returns the password of its only user. */
async function initialize(native: string, dataFolder: string): Promise<string> {
  const passwordFile = join(dirname(dataFolder), "postgres.password");
  if (existsSync(join(dataFolder, "PG_VERSION")) && existsSync(passwordFile)) return (await readFile(passwordFile, "utf8")).trim();
  // An initdb that was interrupted leaves a folder that PostgreSQL would refuse; nothing of worth can be in it.
  const draft = `${dataFolder}.new`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { recursive: true, mode: 0o700 });
  const password = randomBytes(24).toString("base64url");
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (isRoot()) {
    await chown(draft, UNPRIVILEGED_ID, UNPRIVILEGED_ID);
    await chown(passwordFile, UNPRIVILEGED_ID, UNPRIVILEGED_ID);
  }
  const flags = [
    `--pgdata=${draft}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
  ];
  try {
    await promisify(execFile)(join(native, "bin", "initdb"), flags, {
      ...serverIdentity(),
      env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C" },
      cwd: "/",
    });
  } catch (error) {
    throw new AppError("embedded_postgres_failed", `initdb failed: ${((error as { stderr?: string }).stderr ?? String(error)).trim()}`, {
      cause: error,
    });
  }
  await rename(draft, dataFolder);
  return password;
}

/** A server whose owner was killed a moment ago is still shutting down; a live one belongs to somebody else. */
async function waitForFormerServer(dataFolder: string): Promise<void> {
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  for (;;) {
    const pid = Number((await readFile(join(dataFolder, "postmaster.pid"), "utf8").catch(() => "")).split("\n")[0]);
    if (!pid || !isAlive(pid)) return;
    if (Date.now() > deadline) {
      throw new AppError(
        "embedded_postgres_failed",
        `Another PostgreSQL (pid ${pid}) uses ${dataFolder}; stop the program that started it.`,
      );
    }
    await delay(50);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}

interface ServerSettings {
  readonly native: string;
  readonly dataFolder: string;
  readonly port: number;
  readonly logFile: string;
  readonly durable: boolean;
  readonly maxConnections: number;
}

async function spawnServer(settings: ServerSettings): Promise<ChildProcess> {
  const log = await open(settings.logFile, "w", 0o644);
  const parameters: Record<string, string | number> = {
    listen_addresses: "127.0.0.1",
    port: settings.port,
    unix_socket_directories: settings.dataFolder,
    max_connections: settings.maxConnections,
    ...(settings.durable ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  const flags = Object.entries(parameters).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const server = spawn("/bin/sh", ["-c", GUARD_SCRIPT, join(settings.native, "bin", "postgres"), "-D", settings.dataFolder, ...flags], {
    ...serverIdentity(),
    // A group of its own: Ctrl-C in a terminal reaches the whole group, and the store has to stop last.
    detached: true,
    cwd: "/",
    env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C", TZ: "UTC" },
    stdio: ["pipe", log.fd, log.fd],
  });
  server.stdin?.on("error", () => undefined);
  await log.close();
  return server;
}

async function waitUntilReady(server: ChildProcess, connectionString: string, logFile: string): Promise<void> {
  const startedAt = Date.now();
  for (;;) {
    const client = new pg.Client({ connectionString, connectionTimeoutMillis: 2_000 });
    client.on("error", () => undefined);
    try {
      await client.connect();
      const known = await client.query("select 1 from pg_database where datname = 'app'");
      if (known.rowCount === 0) await client.query("create database app");
      return;
    } catch (error) {
      const timeoutMs = (error as { code?: unknown }).code === CANNOT_CONNECT_NOW ? RECOVERY_TIMEOUT_MS : START_TIMEOUT_MS;
      if (server.exitCode !== null || Date.now() - startedAt > timeoutMs) {
        const lines = (await readFile(logFile, "utf8").catch(() => "")).trim().split("\n").slice(-8).join("\n");
        throw new AppError("embedded_postgres_failed", `The embedded PostgreSQL did not start: ${(error as Error).message}\n${lines}`, {
          cause: error,
        });
      }
      await delay(20);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
