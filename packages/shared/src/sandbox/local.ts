import { randomBytes } from "node:crypto";
import { chown, mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { AppError, isAppError } from "../errors/index.ts";
import {
  endLocalSandbox,
  isRunning,
  type LocalSandboxRecord,
  makeRoot,
  nameInId,
  publishRecord,
  readRecord,
  recordedNames,
  snapshotFolder,
  snapshotIds,
  stagedIds,
  stagingFolder,
} from "./local/folders.ts";
import { takePort } from "./local/free-ports.ts";
import { restoreHome } from "./local/home-archive.ts";
import { LocalSandbox } from "./local/local-sandbox.ts";
import { SANDBOX_MARKER } from "./local/processes.ts";
import { findSandboxUser, type SandboxUser, type UserId, userOfPort } from "./local/sandbox-user.ts";
import { startKeeper } from "./local/start-keeper.ts";
import type { Sandbox, SandboxOptions, SandboxPort, SandboxProvider, SandboxState, SandboxSummary } from "./contract/provider.ts";
import { sandboxName } from "./sandbox-name.ts";
import { checkSandboxOptions } from "./contract/sandbox-options.ts";

/** Where local sandboxes live, and whose processes they are. */
export interface LocalSandboxProviderOptions {
  /** Absolute; made when missing. What lies in it is readable by this user, or its sandbox's, only. Two processes may share it. */
  readonly rootFolder: string;
  /** PATH of everything in a sandbox, unless its environment has one. Default `/usr/local/bin:/usr/bin:/bin`. */
  readonly path?: string;
  /**
   * Default false: a sandbox ends with the process that created it, even one that is killed, and with `close`. True: it
   * runs on until its time-out, so that a process that starts again finds it.
   */
  readonly detached?: boolean;
  /**
   * Whose processes sandboxes are. `auto` (default): each sandbox's own user where that can be, else this process's. `own`: where
   * that cannot be, `create` throws `sandbox_refused`. `same`: this process's.
   */
  readonly user?: "auto" | "own" | "same";
  /** What sandboxes will run: users of their own must reach it. Default nothing. */
  readonly command?: readonly string[];
}

/** Sandboxes that are processes of this machine; for development. */
export interface LocalSandboxProvider extends SandboxProvider {
  readonly kind: "local";
  /** Whose processes new sandboxes are, and where they are this process's user's, why. */
  sandboxUser(): Promise<SandboxUser>;
  /** Ends what is left of sandboxes that no longer run, after a crash of the whole machine. Returns how many. Idempotent. */
  removeLeftovers(): Promise<number>;
}

/**
 * Sandboxes as child processes of this machine, with their own home directory (0700) and only the variables that they are
 * given. For development and tests. On Linux as root each has a user of its own (`sandboxUser` says whether), so that it reads
 * neither this process nor its files nor another sandbox; it shares the machine's network and its /tmp all the same. Else they run
 * as this process's user, and contain a mistake, not an attacker. Linux and macOS. Nothing is touched before the first call.
 */
export function createLocalSandboxProvider(options: LocalSandboxProviderOptions): LocalSandboxProvider {
  return new LocalProvider(options);
}

class LocalProvider implements LocalSandboxProvider {
  readonly kind = "local";
  readonly #root: string;
  readonly #path: string;
  readonly #detached: boolean;
  readonly #user: "auto" | "own" | "same";
  readonly #command: readonly string[];
  #sandboxUser: Promise<SandboxUser> | undefined;
  /** What this object created: the timers of their time-outs. */
  readonly #own = new Map<string, NodeJS.Timeout>();

  constructor({
    rootFolder,
    path = "/usr/local/bin:/usr/bin:/bin",
    detached = false,
    user = "auto",
    command = [],
  }: LocalSandboxProviderOptions) {
    this.#root = rootFolder;
    this.#path = path;
    this.#detached = detached;
    this.#user = user;
    this.#command = command;
  }

  sandboxUser(): Promise<SandboxUser> {
    this.#sandboxUser ??=
      this.#user === "same"
        ? Promise.resolve({ isOwn: false, why: "it is set so" })
        : findSandboxUser(this.#root, this.#path, this.#command);
    return this.#sandboxUser;
  }

  async create(options: SandboxOptions): Promise<Sandbox> {
    checkSandboxOptions(options);
    const name = sandboxName(options.sessionId);
    const id = `${name}~${randomBytes(8).toString("hex")}`;
    try {
      const user = await this.sandboxUser();
      if (!user.isOwn && this.#user === "own")
        throw new AppError("sandbox_refused", `Local sandboxes cannot have users of their own: ${user.why}.`);
      await makeRoot(this.#root, user.isOwn);
      const record = await this.#make(id, name, options, user.isOwn);
      checkNotCancelled(options);
      await this.#publish(record);
      this.#own.set(id, setTimeout(() => void this.terminate(id).catch(() => undefined), options.timeoutMs).unref());
      const sandbox = this.#handle(record);
      await sandbox.writeFiles(options.files ?? {});
      checkNotCancelled(options);
      return sandbox;
    } catch (error) {
      await this.terminate(id);
      if (isAppError(error)) throw error;
      throw new AppError(
        "sandbox_create_failed",
        `A local sandbox for session ${options.sessionId} could not be created (${(error as NodeJS.ErrnoException).code ?? "unexpected"}).`,
        { cause: error },
      );
    }
  }

  async find(sessionId: string): Promise<Sandbox> {
    const record = await readRecord(this.#root, sandboxName(sessionId));
    if (!record || !isRunning(record)) throw new AppError("sandbox_not_found", `Session ${sessionId} has no running local sandbox.`);
    return this.#handle(record);
  }

  async list(): Promise<readonly SandboxSummary[]> {
    // Staged ones first: one that is published meanwhile is seen twice rather than not at all.
    const staged = (await stagedIds(this.#root)).map((id) => ({ id, name: nameInId(id) }));
    const ids = new Set(staged.map(({ id }) => id));
    const recorded = (await this.#records()).filter(({ id }) => !ids.has(id));
    return [...staged, ...recorded.map(({ id, name }) => ({ id, name }))];
  }

  async listSnapshots(): Promise<readonly SandboxSummary[]> {
    return (await snapshotIds(this.#root)).map((id) => ({ id, name: nameInSnapshotId(id) ?? "" }));
  }

  async checkSandboxes(ids: readonly string[]): Promise<ReadonlyMap<string, SandboxState>> {
    const stateOf = async (id: string): Promise<[string, SandboxState]> => {
      const record = await readRecord(this.#root, nameInId(id));
      return [id, record?.id === id && isRunning(record) ? "running" : "ended"];
    };
    return new Map(await Promise.all(ids.map(stateOf)));
  }

  async terminate(id: string): Promise<void> {
    if (nameInId(id) === "~") return;
    await endLocalSandbox(this.#root, id);
    clearTimeout(this.#own.get(id));
    this.#own.delete(id);
  }

  async terminateSession(sessionId: string): Promise<void> {
    const name = sandboxName(sessionId);
    for (const id of await stagedIds(this.#root)) if (nameInId(id) === name) await this.terminate(id);
    const record = await readRecord(this.#root, name);
    if (record) await this.terminate(record.id);
  }

  async deleteSnapshot(snapshotId: string): Promise<void> {
    if (nameInSnapshotId(snapshotId) !== undefined) await rm(snapshotFolder(this.#root, snapshotId), { recursive: true, force: true });
  }

  async removeLeftovers(): Promise<number> {
    const dead = (await this.#records()).filter((record) => !isRunning(record));
    for (const { id } of dead) await this.terminate(id);
    return dead.length;
  }

  async close(): Promise<void> {
    if (!this.#detached) await Promise.all([...this.#own.keys()].map((id) => this.terminate(id)));
    for (const timer of this.#own.values()) clearTimeout(timer);
    this.#own.clear();
  }

  async #make(id: string, name: string, options: SandboxOptions, hasOwnUser: boolean): Promise<LocalSandboxRecord> {
    const staged = stagingFolder(this.#root, id);
    // The folder first, so that whoever lists sandboxes sees this one; then the keeper, who cleans up however this process dies.
    await mkdir(staged, { mode: hasOwnUser ? 0o711 : 0o700 });
    const keeper = await startKeeper({ root: this.#root, id, path: this.#path, timeoutMs: options.timeoutMs, detached: this.#detached });
    const ports: [number, SandboxPort][] = [];
    for (const port of options.ports ?? []) {
      const listenPort = await takePort(staged);
      ports.push([port, { listenPort, listenHostname: "127.0.0.1", url: `http://127.0.0.1:${listenPort}` }]);
    }
    const user = hasOwnUser ? userOfPort(ports[0]?.[1].listenPort ?? (await takePort(staged))) : undefined;
    // Not made with their parents: where the sandbox was ended meanwhile, its folder stays gone.
    for (const part of ["home", "tmp"]) {
      await mkdir(join(staged, part), { mode: 0o700 });
      if (user !== undefined) await chown(join(staged, part), user, user);
    }
    const record = { id, name, keeper, environment: options.environment, ports, ...(user !== undefined && { user }) };
    if (options.snapshotId !== undefined) await this.#restore(options.snapshotId, record);
    return record;
  }

  async #restore(snapshotId: string, { id, user }: { readonly id: string; readonly user?: UserId }): Promise<void> {
    const archive = snapshotFolder(this.#root, snapshotId);
    if (nameInSnapshotId(snapshotId) === undefined || !(await stat(archive).catch(() => undefined))) {
      throw new AppError("sandbox_snapshot_not_found", `There is no local snapshot ${JSON.stringify(snapshotId)}.`, {
        param: "snapshotId",
      });
    }
    const env = { PATH: this.#path, [SANDBOX_MARKER]: id };
    await restoreHome(archive, {
      cwd: join(stagingFolder(this.#root, id), "home"),
      env,
      ...(user !== undefined && { uid: user, gid: user }),
    });
  }

  /** Takes the name, once also from a sandbox that no longer runs. */
  async #publish(record: LocalSandboxRecord): Promise<void> {
    if (await publishRecord(this.#root, record)) return;
    const holder = await readRecord(this.#root, record.name);
    if (holder && !isRunning(holder)) {
      await this.terminate(holder.id);
      if (await publishRecord(this.#root, record)) return;
    }
    throw new AppError("sandbox_exists", `The session of the local sandbox ${record.name} has a running sandbox already.`);
  }

  async #records(): Promise<LocalSandboxRecord[]> {
    const records = await Promise.all((await recordedNames(this.#root)).map((name) => readRecord(this.#root, name)));
    return records.filter((record) => record !== undefined);
  }

  #handle(record: LocalSandboxRecord): Sandbox {
    return new LocalSandbox(record, { root: this.#root, path: this.#path, terminate: (id) => this.terminate(id) });
  }
}

function checkNotCancelled({ signal, sessionId }: SandboxOptions): void {
  if (signal?.aborted) throw new AppError("sandbox_launch_cancelled", `The launch of session ${sessionId} was cancelled.`);
}

/** The name of the sandbox that a snapshot was taken of; undefined for a text that is no snapshot's id. */
const nameInSnapshotId = (text: string): string | undefined => /^([A-Za-z0-9][A-Za-z0-9._-]*)~snapshot-[0-9a-f]{32}$/.exec(text)?.[1];
