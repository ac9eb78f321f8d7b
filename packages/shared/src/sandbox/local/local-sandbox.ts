import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { constants } from "node:fs";
import { mkdir, open, readFile, realpath, rm } from "node:fs/promises";
import { constants as osConstants } from "node:os";
import { dirname, join, sep } from "node:path";
import { Readable } from "node:stream";
import { AppError, isAppError } from "../../errors/index.ts";
import { collectOutput } from "../collected-output.ts";
import { DeadlineExceeded, withDeadline } from "../deadline.ts";
import type { ExecOptions, ExecResult, Sandbox, SandboxFiles, SandboxPort, SandboxProcess } from "../provider.ts";
import { checkCommand, checkEnvironment, checkSandboxPath } from "../sandbox-options.ts";
import { copyFolder } from "./copy-folder.ts";
import { isRunning, type LocalSandboxRecord, readRecord, sandboxFolder, snapshotFolder } from "./folders.ts";
import { killQuietly, SANDBOX_MARKER } from "./processes.ts";

/** What a local sandbox needs of its launcher. */
export interface LocalSandboxContext {
  readonly root: string;
  /** PATH of its processes. */
  readonly path: string;
  readonly terminate: (id: string) => Promise<void>;
}

function killGroup({ pid }: ChildProcess): void {
  if (pid !== undefined) killQuietly(-pid);
}

interface SpawnOptions {
  readonly environment: Readonly<Record<string, string>> | undefined;
  readonly workdir: string;
  readonly stdio: ["ignore", "pipe" | number, "pipe" | number];
}

/** A handle on a running local sandbox; any number of them may exist, also in several processes. */
export class LocalSandbox implements Sandbox {
  readonly id: string;
  readonly name: string;
  readonly ports: ReadonlyMap<number, SandboxPort>;
  readonly #record: LocalSandboxRecord;
  readonly #context: LocalSandboxContext;
  readonly #folder: string;
  readonly #home: string;

  constructor(record: LocalSandboxRecord, context: LocalSandboxContext) {
    this.id = record.id;
    this.name = record.name;
    this.ports = new Map(record.ports);
    this.#record = record;
    this.#context = context;
    this.#folder = sandboxFolder(context.root, record.name);
    this.#home = join(this.#folder, "home");
  }

  async exec(command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { timeoutMs = 60_000, environment, workingFolder, maxOutputBytes = 2 ** 20, signal } = options;
    if (workingFolder !== undefined) checkSandboxPath(workingFolder);
    const workdir = join(this.#home, workingFolder ?? "");
    const output = (stream: Readable | null) => collectOutput(stream ?? Readable.from([]), maxOutputBytes);
    const { child, ended } = await this.#spawn(command, { environment, workdir, stdio: ["ignore", "pipe", "pipe"] }, (started, exited) => Promise.all([exited, output(started.stdout), output(started.stderr)]));
    const limitMs = Math.ceil(timeoutMs / 1000) * 1000;
    try {
      const [status, stdout, stderr] = await withDeadline(ended, limitMs, { signal });
      return { status, stdout: stdout.text, stderr: stderr.text, truncated: stdout.truncated || stderr.truncated };
    } catch (error) {
      killGroup(child);
      if (signal?.aborted) throw new AppError("sandbox_launch_cancelled", `${command[0]} was given up in the local sandbox ${this.id}.`);
      if (error instanceof DeadlineExceeded) throw new AppError("sandbox_exec_timeout", `${command[0]} did not end within ${limitMs} ms in the local sandbox ${this.id}.`);
      throw new AppError("sandbox_exec_failed", `The output of ${command[0]} in the local sandbox ${this.id} could not be read.`, { cause: error });
    }
  }

  async start(command: readonly string[], { logPath, environment }: { readonly logPath: string; readonly environment?: Readonly<Record<string, string>> }): Promise<SandboxProcess> {
    const log = await this.#openForWriting(logPath, constants.O_APPEND);
    try {
      const { child, ended } = await this.#spawn(command, { environment, workdir: this.#home, stdio: ["ignore", log.fd, log.fd] }, (_started, exited) => exited);
      child.unref();
      return { exited: ended };
    } finally {
      await log.close();
    }
  }

  async writeFiles(files: SandboxFiles): Promise<void> {
    await this.#checkRunning();
    for (const [path, content] of Object.entries(files)) {
      const file = await this.#openForWriting(path, constants.O_TRUNC);
      try {
        await file.writeFile(content);
      } finally {
        await file.close();
      }
    }
  }

  async readFile(path: string): Promise<Uint8Array> {
    checkSandboxPath(path);
    await this.#checkRunning();
    try {
      const target = await realpath(join(this.#home, path));
      if (!target.startsWith((await realpath(this.#home)) + sep)) throw outside(path);
      return await readFile(target);
    } catch (error) {
      if (isAppError(error)) throw error;
      const code = (error as NodeJS.ErrnoException).code ?? "";
      throw new AppError("sandbox_file_not_found", `${path} cannot be read in the local sandbox ${this.id} (${code}).`, { cause: error });
    }
  }

  async snapshot(): Promise<string> {
    await this.#checkRunning();
    const snapshotId = `${this.name}~snapshot-${randomBytes(16).toString("hex")}`;
    const folder = snapshotFolder(this.#context.root, snapshotId);
    try {
      await copyFolder(this.#home, folder);
      await this.#checkRunning();
      return snapshotId;
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      if (isAppError(error)) throw error;
      throw new AppError("sandbox_snapshot_failed", `The home directory of the local sandbox ${this.id} could not be copied.`, { cause: error });
    }
  }

  async terminate(): Promise<void> {
    await this.#context.terminate(this.id);
  }

  release(): void {
    // Nothing is held: everything is read from disk.
  }

  async #checkRunning(): Promise<void> {
    const record = await readRecord(this.#context.root, this.name);
    if (record?.id !== this.id || !isRunning(record)) throw new AppError("sandbox_not_found", `The local sandbox ${this.id} has ended.`);
  }

  /**
   * Its own process group, only the given variables. `watch` is called before the first await: a short command is over by
   * then, and Node throws away what nobody has begun to read.
   */
  async #spawn<T>(command: readonly string[], options: SpawnOptions, watch: (child: ChildProcess, exited: Promise<number>) => Promise<T>): Promise<{ child: ChildProcess; ended: Promise<T> }> {
    checkCommand(command);
    checkEnvironment(options.environment ?? {});
    await this.#checkRunning();
    const [program = "", ...args] = command;
    const child = spawn(program, args, { cwd: options.workdir, env: this.#environment(options.environment), detached: true, stdio: options.stdio });
    const exited = new Promise<number>((resolve) => {
      child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal])));
    });
    const ended = watch(child, exited);
    ended.catch(() => undefined);
    try {
      await once(child, "spawn");
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
      const reason = code === "ENOENT" ? "there is no such program on this machine" : code;
      throw new AppError("sandbox_exec_failed", `${program} could not be started in the local sandbox ${this.id} (${reason}).`, { cause: error });
    }
    try {
      // Asked again: a sandbox that ended since then has not seen this process.
      await this.#checkRunning();
    } catch (error) {
      killGroup(child);
      throw error;
    }
    return { child, ended };
  }

  #environment(added: Readonly<Record<string, string>> = {}): Record<string, string> {
    return {
      PATH: this.#context.path,
      LANG: "C.UTF-8",
      ...this.#record.environment,
      ...added,
      HOME: this.#home,
      TMPDIR: join(this.#folder, "tmp"),
      [SANDBOX_MARKER]: this.id,
    };
  }

  /** Follows no link out of the home directory, which the sandbox may have laid there. */
  async #openForWriting(path: string, flag: number) {
    checkSandboxPath(path);
    const target = join(this.#home, path);
    try {
      await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      const [folder, home] = [await realpath(dirname(target)), await realpath(this.#home)];
      if (folder !== home && !folder.startsWith(home + sep)) throw outside(path);
      return await open(target, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | flag, 0o600);
    } catch (error) {
      if (isAppError(error)) throw error;
      await this.#checkRunning();
      throw new AppError("sandbox_exec_failed", `${path} cannot be written in the local sandbox ${this.id} (${(error as NodeJS.ErrnoException).code}).`, { cause: error });
    }
  }
}

const outside = (path: string): AppError => new AppError("invalid_request", `${path} leads out of the sandbox by a link.`, { param: "path" });
