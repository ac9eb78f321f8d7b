import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { constants } from "node:fs";
import { access, rm } from "node:fs/promises";
import { constants as osConstants } from "node:os";
import { join, resolve as resolvePath } from "node:path";
import { Readable } from "node:stream";
import { AppError, isAppError } from "../../errors/index.ts";
import { collectOutput } from "../contract/collected-output.ts";
import { DeadlineExceeded, withDeadline } from "../contract/deadline.ts";
import { LEADS_OUT_STATUS, readFileCommand, startCommand, writeFileCommand } from "../contract/home-scripts.ts";
import type { ExecOptions, ExecResult, Sandbox, SandboxFiles, SandboxPort, SandboxProcess } from "../contract/provider.ts";
import { checkCommand, checkEnvironment, checkSandboxPath } from "../contract/sandbox-options.ts";
import { isRunning, type LocalSandboxRecord, readRecord, sandboxFolder, snapshotFolder } from "./folders.ts";
import { archiveHome } from "./home-archive.ts";
import { killQuietly, SANDBOX_MARKER } from "./processes.ts";

/** What a local sandbox needs of its launcher. */
interface LocalSandboxContext {
  readonly root: string;
  /** PATH of its processes. */
  readonly path: string;
  readonly terminate: (id: string) => Promise<void>;
}

function killGroup({ pid }: ChildProcess): void {
  if (pid !== undefined) killQuietly(-pid);
}

interface SpawnOptions {
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly stdio: ["ignore" | "pipe", "ignore" | "pipe", "ignore" | "pipe"];
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
    checkCommand(command);
    // Gone to by the sandbox's own user: it may be a link.
    const words =
      workingFolder === undefined ? command : ["/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", workingFolder, ...command];
    const output = (stream: Readable | null) => collectOutput(stream ?? Readable.from([]), maxOutputBytes);
    const { child, ended } = await this.#spawn(words, { environment, stdio: ["ignore", "pipe", "pipe"] }, (started, exited) =>
      Promise.all([exited, output(started.stdout), output(started.stderr)]),
    );
    const limitMs = Math.ceil(timeoutMs / 1000) * 1000;
    try {
      const [status, stdout, stderr] = await withDeadline(ended, limitMs, { signal });
      return { status, stdout: stdout.text, stderr: stderr.text, truncated: stdout.truncated || stderr.truncated };
    } catch (error) {
      killGroup(child);
      if (signal?.aborted) throw new AppError("sandbox_launch_cancelled", `${command[0]} was given up in the local sandbox ${this.id}.`);
      if (error instanceof DeadlineExceeded)
        throw new AppError("sandbox_exec_timeout", `${command[0]} did not end within ${limitMs} ms in the local sandbox ${this.id}.`);
      throw new AppError("sandbox_exec_failed", `The output of ${command[0]} in the local sandbox ${this.id} could not be read.`, {
        cause: error,
      });
    }
  }

  async start(
    command: readonly string[],
    { logPath, environment }: { readonly logPath: string; readonly environment?: Readonly<Record<string, string>> },
  ): Promise<SandboxProcess> {
    checkSandboxPath(logPath);
    checkCommand(command);
    await this.#requireProgram(command[0] ?? "", environment);
    const { child, ended } = await this.#spawn(
      startCommand(command, logPath),
      { environment, stdio: ["ignore", "ignore", "ignore"] },
      (_started, exited) => exited,
    );
    child.unref();
    return { exited: ended };
  }

  async writeFiles(files: SandboxFiles): Promise<void> {
    for (const path of Object.keys(files)) checkSandboxPath(path);
    await this.#checkRunning();
    for (const [path, content] of Object.entries(files)) {
      const { child, ended } = await this.#spawn(
        writeFileCommand(path),
        { stdio: ["pipe", "ignore", "ignore"] },
        (_started, exited) => exited,
      );
      // One that ends early is told by its status.
      child.stdin?.on("error", () => undefined).end(content);
      const status = await ended;
      if (status === 0) continue;
      await this.#checkRunning();
      throw new AppError("sandbox_exec_failed", `${path} cannot be written in the local sandbox ${this.id} (status ${status}).`);
    }
  }

  async readFile(path: string): Promise<Uint8Array> {
    checkSandboxPath(path);
    await this.#checkRunning();
    const { ended } = await this.#spawn(readFileCommand(path), { stdio: ["ignore", "pipe", "ignore"] }, (started, exited) =>
      Promise.all([exited, bytesOf(started.stdout)]),
    );
    const [status, bytes] = await ended;
    if (status === 0) return bytes;
    if (status === LEADS_OUT_STATUS)
      throw new AppError("invalid_request", `${path} leads out of the sandbox by a link.`, { param: "path" });
    throw new AppError("sandbox_file_not_found", `${path} cannot be read in the local sandbox ${this.id}.`);
  }

  async snapshot(): Promise<string> {
    await this.#checkRunning();
    const snapshotId = `${this.name}~snapshot-${randomBytes(16).toString("hex")}`;
    const archive = snapshotFolder(this.#context.root, snapshotId);
    try {
      await archiveHome({ cwd: this.#home, env: this.#environment(), ...this.#owner() }, archive);
      await this.#checkRunning();
      return snapshotId;
    } catch (error) {
      await rm(archive, { force: true });
      if (isAppError(error)) throw error;
      throw new AppError("sandbox_snapshot_failed", `The home directory of the local sandbox ${this.id} could not be copied.`, {
        cause: error,
      });
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
   * In the home directory, as the sandbox's user, in a process group of its own, with only the given variables. `watch` is called before the first await: a short command is over by
   * then, and Node throws away what nobody has begun to read.
   */
  async #spawn<T>(
    command: readonly string[],
    options: SpawnOptions,
    watch: (child: ChildProcess, exited: Promise<number>) => Promise<T>,
  ): Promise<{ child: ChildProcess; ended: Promise<T> }> {
    checkEnvironment(options.environment ?? {});
    await this.#checkRunning();
    const [program = "", ...args] = command;
    const child = spawn(program, args, {
      cwd: this.#home,
      env: this.#environment(options.environment),
      detached: true,
      stdio: options.stdio,
      ...this.#owner(),
    });
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
      throw new AppError("sandbox_exec_failed", `${program} could not be started in the local sandbox ${this.id} (${reason}).`, {
        cause: error,
      });
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

  #owner(): { uid: number; gid: number } | undefined {
    const { user } = this.#record;
    return user === undefined ? undefined : { uid: user, gid: user };
  }

  /** Said here, where it can be told from a program that ends: the shell that starts it has no better words than a status. */
  async #requireProgram(program: string, added: Readonly<Record<string, string>> | undefined): Promise<void> {
    const folders = program.includes("/") ? [""] : (this.#environment(added)["PATH"] ?? "").split(":");
    const found = await Promise.all(
      folders.map((folder) =>
        access(resolvePath(this.#home, folder, program), constants.X_OK).then(
          () => true,
          () => false,
        ),
      ),
    );
    if (!found.includes(true))
      throw new AppError(
        "sandbox_exec_failed",
        `${program} could not be started in the local sandbox ${this.id} (there is no such program on this machine).`,
      );
  }
}

async function bytesOf(stream: Readable | null): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of (stream ?? []) as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
