import { randomBytes } from "node:crypto";
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { AppError, isAppError } from "../errors/index.ts";
import { copyFolder } from "./local/copy-folder.ts";
import { endLocalSandbox, isRunning, type LocalSandboxRecord, makeRoot, nameInId, publishRecord, readRecord, recordedNames, snapshotFolder, stagingFolder } from "./local/folders.ts";
import { FreePorts } from "./local/free-ports.ts";
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
  readonly #freePorts = new FreePorts();
  /** What this object created: the timer of its time-out and its ports. */
  readonly #own = new Map<string, { readonly timer: NodeJS.Timeout; readonly ports: readonly number[] }>();

  constructor({ rootFolder, path = "/usr/local/bin:/usr/bin:/bin", detached = false }: LocalSandboxProviderOptions) {
    this.#root = rootFolder;
    this.#path = path;
    this.#detached = detached;
  }

  async create(options: SandboxOptions): Promise<Sandbox> {
    checkSandboxOptions(options);
    const name = sandboxName(options.sessionId);
    const id = `${name}~${randomBytes(8).toString("hex")}`;
    const taken: number[] = [];
    try {
      await makeRoot(this.#root);
      const record = await this.#make(id, name, options, taken);
      await this.#publish(record);
      const timer = setTimeout(() => void this.terminate(id).catch(() => undefined), options.timeoutMs);
      this.#own.set(id, { timer: timer.unref(), ports: taken });
      const sandbox = this.#handle(record);
      await sandbox.writeFiles(options.files ?? {});
      return sandbox;
    } catch (error) {
      this.#freePorts.giveBack(taken);
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
    const records = await this.#records();
    return records.filter(isRunning).map(({ id, name }) => ({ id, name }));
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
    const own = this.#own.get(id);
    if (!own) return;
    this.#own.delete(id);
    clearTimeout(own.timer);
    this.#freePorts.giveBack(own.ports);
  }

  async deleteSnapshot(snapshotId: string): Promise<void> {
    if (isSnapshotId(snapshotId)) await rm(snapshotFolder(this.#root, snapshotId), { recursive: true, force: true });
  }

  async removeLeftovers(): Promise<number> {
    const dead = (await this.#records()).filter((record) => !isRunning(record));
    for (const { id } of dead) await this.terminate(id);
    return dead.length;
  }

  async close(): Promise<void> {
    if (!this.#detached) await Promise.all([...this.#own.keys()].map((id) => this.terminate(id)));
    for (const { timer } of this.#own.values()) clearTimeout(timer);
    this.#own.clear();
  }

  async #make(id: string, name: string, options: SandboxOptions, taken: number[]): Promise<LocalSandboxRecord> {
    // First of all, so that from here on somebody cleans up however this process dies.
    const keeper = await startKeeper({ root: this.#root, id, path: this.#path, timeoutMs: options.timeoutMs, detached: this.#detached });
    const staged = stagingFolder(this.#root, id);
    for (const part of ["", "home", "tmp"]) await mkdir(join(staged, part), { recursive: true, mode: 0o700 });
    if (options.snapshotId !== undefined) await this.#restore(options.snapshotId, join(staged, "home"));
    const ports: [number, SandboxPort][] = [];
    for (const port of options.ports ?? []) {
      const listenPort = await this.#freePorts.take();
      taken.push(listenPort);
      ports.push([port, { listenPort, listenHostname: "127.0.0.1", url: `http://127.0.0.1:${listenPort}` }]);
    }
    return { id, name, keeper, environment: options.environment, ports };
  }

  async #restore(snapshotId: string, home: string): Promise<void> {
    const folder = snapshotFolder(this.#root, snapshotId);
    if (!isSnapshotId(snapshotId) || !(await stat(folder).catch(() => undefined))) {
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

const isSnapshotId = (text: string): boolean => /^snapshot_[0-9a-f]{32}$/.test(text);
