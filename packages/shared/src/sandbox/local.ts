import { randomBytes } from "node:crypto";
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { AppError, isAppError } from "../errors/index.ts";
import { copyFolder } from "./local/copy-folder.ts";
import { endLocalSandbox, isRunning, type LocalSandboxRecord, makeRoot, nameInId, publishRecord, readRecord, recordedNames, snapshotFolder, snapshotIds, stagedIds, stagingFolder } from "./local/folders.ts";
import { takePort } from "./local/free-ports.ts";
import { LocalSandbox } from "./local/local-sandbox.ts";
import { startKeeper } from "./local/start-keeper.ts";
import type { Sandbox, SandboxOptions, SandboxPort, SandboxProvider, SandboxState, SandboxSummary } from "./provider.ts";
import { sandboxName } from "./sandbox-name.ts";
import { checkSandboxOptions } from "./sandbox-options.ts";

export interface LocalSandboxProviderOptions {
  /** Absolute; made when missing. What lies in it is readable by this user only. Two processes may share it. */
  readonly rootFolder: string;
  /** PATH of everything in a sandbox, unless its environment has one. Default `/usr/local/bin:/usr/bin:/bin`. */
  readonly path?: string;
  /**
   * Default false: a sandbox ends with the process that created it, even one that is killed, and with `close`. True: it
   * runs on until its time-out, so that a process that starts again finds it.
   */
  readonly detached?: boolean;
}

export interface LocalSandboxProvider extends SandboxProvider {
  readonly kind: "local";
  /** Ends what is left of sandboxes that no longer run, after a crash of the whole machine. Returns how many. Idempotent. */
  removeLeftovers(): Promise<number>;
}

/**
 * Sandboxes as child processes of this machine, with their own home directory (0700) and only the variables that they are
 * given. For development and tests: they run as the same user on the same network, so they contain a mistake, not an
 * attacker. Linux and macOS. Nothing is touched before the first call.
 */
export function createLocalSandboxProvider(options: LocalSandboxProviderOptions): LocalSandboxProvider {
  return new LocalProvider(options);
}

class LocalProvider implements LocalSandboxProvider {
  readonly kind = "local";
  readonly #root: string;
  readonly #path: string;
  readonly #detached: boolean;
  /** What this object created: the timers of their time-outs. */
  readonly #own = new Map<string, NodeJS.Timeout>();

  constructor({ rootFolder, path = "/usr/local/bin:/usr/bin:/bin", detached = false }: LocalSandboxProviderOptions) {
    this.#root = rootFolder;
    this.#path = path;
    this.#detached = detached;
  }

  async create(options: SandboxOptions): Promise<Sandbox> {
    checkSandboxOptions(options);
    const name = sandboxName(options.sessionId);
    const id = `${name}~${randomBytes(8).toString("hex")}`;
    try {
      await makeRoot(this.#root);
      const record = await this.#make(id, name, options);
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
      throw new AppError("sandbox_create_failed", `A local sandbox for session ${options.sessionId} could not be created (${(error as NodeJS.ErrnoException).code ?? "unexpected"}).`, { cause: error });
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

  async #make(id: string, name: string, options: SandboxOptions): Promise<LocalSandboxRecord> {
    const staged = stagingFolder(this.#root, id);
    // The folder first, so that whoever lists sandboxes sees this one; then the keeper, who cleans up however this process dies.
    await mkdir(staged, { mode: 0o700 });
    const keeper = await startKeeper({ root: this.#root, id, path: this.#path, timeoutMs: options.timeoutMs, detached: this.#detached });
    // Not made with their parents: where the sandbox was ended meanwhile, its folder stays gone.
    for (const part of ["home", "tmp"]) await mkdir(join(staged, part), { mode: 0o700 });
    if (options.snapshotId !== undefined) await this.#restore(options.snapshotId, join(staged, "home"));
    const ports: [number, SandboxPort][] = [];
    for (const port of options.ports ?? []) {
      const listenPort = await takePort(staged);
      ports.push([port, { listenPort, listenHostname: "127.0.0.1", url: `http://127.0.0.1:${listenPort}` }]);
    }
    return { id, name, keeper, environment: options.environment, ports };
  }

  async #restore(snapshotId: string, home: string): Promise<void> {
    const folder = snapshotFolder(this.#root, snapshotId);
    if (nameInSnapshotId(snapshotId) === undefined || !(await stat(folder).catch(() => undefined))) {
      throw new AppError("sandbox_snapshot_not_found", `There is no local snapshot ${JSON.stringify(snapshotId)}.`, { param: "snapshotId" });
    }
    await copyFolder(folder, home);
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
