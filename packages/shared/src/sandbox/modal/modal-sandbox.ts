import { posix } from "node:path";
import { AppError, isAppError } from "../../errors/index.ts";
import { collectOutput } from "../contract/collected-output.ts";
import { withDeadline } from "../contract/deadline.ts";
import { clearWayCommand, startCommand } from "../contract/home-scripts.ts";
import type { ExecOptions, ExecResult, Sandbox, SandboxFiles, SandboxPort, SandboxProcess } from "../contract/provider.ts";
import { checkCommand, checkEnvironment, checkSandboxPath } from "../contract/sandbox-options.ts";
import { modalError, modalStatus } from "./errors.ts";
import type { ModalSandbox } from "./sdk.ts";

/** Beyond a command's own limit, which Modal enforces, for the way there and back. */
const graceMs = 5000;

/** What one sandbox at Modal needs from its provider. */
interface ModalSandboxContext {
  readonly name: string;
  readonly homeFolder: string;
  readonly ports: ReadonlyMap<number, SandboxPort>;
  readonly secrets?: readonly string[];
  /** For each call, files and snapshots twice that: the SDK would try for ever. */
  readonly callTimeoutMs: number;
  readonly deleteSnapshot: (snapshotId: string) => Promise<void>;
  readonly terminate: (id: string) => Promise<void>;
}

/** A handle on a running Modal sandbox. The SDK's own handle underneath dials the sandbox at its first command. */
export class ModalSandboxHandle implements Sandbox {
  readonly id: string;
  readonly name: string;
  readonly ports: ReadonlyMap<number, SandboxPort>;
  readonly #sandbox: ModalSandbox;
  readonly #context: ModalSandboxContext;

  constructor(sandbox: ModalSandbox, context: ModalSandboxContext) {
    this.id = sandbox.sandboxId;
    this.name = context.name;
    this.ports = context.ports;
    this.#sandbox = sandbox;
    this.#context = context;
  }

  async exec(command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { timeoutMs = 60_000, environment = {}, workingFolder, maxOutputBytes = 2 ** 20, signal } = options;
    checkCommand(command);
    checkEnvironment(environment);
    if (workingFolder !== undefined) checkSandboxPath(workingFolder);
    const limitMs = Math.ceil(timeoutMs / 1000) * 1000;
    const began = Date.now();
    const timedOut = (): AppError =>
      new AppError("sandbox_exec_timeout", `${command[0]} did not end within ${limitMs} ms in the sandbox ${this.id}.`);
    try {
      const result = await withDeadline(
        this.#run([...command], { limitMs, environment, workdir: this.#path(workingFolder), maxOutputBytes }),
        limitMs + graceMs,
        { signal },
      );
      // Modal kills a command at its limit and tells it like any other end.
      if (result.status >= 124 && Date.now() - began >= limitMs) throw timedOut();
      return result;
    } catch (error) {
      if (signal?.aborted) throw this.#cancelled(command[0] ?? "");
      if (Date.now() - began >= limitMs) throw timedOut();
      throw await this.#error(error, `${command[0]} could not be run in the sandbox ${this.id}`, "sandbox_exec_failed");
    }
  }

  async start(
    command: readonly string[],
    { logPath, environment = {} }: { readonly logPath: string; readonly environment?: Readonly<Record<string, string>> },
  ): Promise<SandboxProcess> {
    checkCommand(command);
    checkEnvironment(environment);
    checkSandboxPath(logPath);
    try {
      const started = this.#sandbox.exec([...startCommand(command, logPath)], {
        stdout: "ignore",
        stderr: "ignore",
        workdir: this.#context.homeFolder,
        env: { ...environment },
      });
      const process = await withDeadline(started, this.#context.callTimeoutMs);
      return { exited: process.wait().catch(() => undefined) };
    } catch (error) {
      throw await this.#error(error, `${command[0]} could not be started in the sandbox ${this.id}`, "sandbox_exec_failed");
    }
  }

  /** Puts aside whatever stands where these files belong, links that lead out of the home directory too. */
  async clearWay(paths: readonly string[], signal?: AbortSignal): Promise<void> {
    const { status } = await this.exec(clearWayCommand(paths), { signal, timeoutMs: this.#context.callTimeoutMs });
    if (status !== 0) throw new AppError("sandbox_exec_failed", `Files cannot be written in the sandbox ${this.id} (status ${status}).`);
  }

  async writeFiles(files: SandboxFiles, signal?: AbortSignal): Promise<void> {
    for (const path of Object.keys(files)) checkSandboxPath(path);
    for (const [path, content] of Object.entries(files)) {
      try {
        const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
        await withDeadline(this.#sandbox.filesystem.writeBytes(bytes, this.#path(path)), 2 * this.#context.callTimeoutMs, { signal });
      } catch (error) {
        if (signal?.aborted) throw this.#cancelled(path);
        throw await this.#error(error, `${path} could not be written in the sandbox ${this.id}`, "sandbox_exec_failed");
      }
    }
  }

  async readFile(path: string): Promise<Uint8Array> {
    checkSandboxPath(path);
    try {
      return await withDeadline(this.#sandbox.filesystem.readBytes(this.#path(path)), 2 * this.#context.callTimeoutMs);
    } catch (error) {
      throw await this.#error(error, `${path} could not be read in the sandbox ${this.id}`, "sandbox_exec_failed");
    }
  }

  /** Modal keeps the whole file system as an image, for 30 days. */
  async snapshot(): Promise<string> {
    try {
      const timeoutMs = 2 * this.#context.callTimeoutMs;
      const taken = this.#sandbox.snapshotFilesystem({ timeoutMs });
      // A snapshot that comes after we gave up is nobody's.
      const { imageId } = await withDeadline(taken, timeoutMs + graceMs, {
        late: (late) => void this.#context.deleteSnapshot(late.imageId).catch(() => undefined),
      });
      return imageId;
    } catch (error) {
      throw await this.#error(error, `The sandbox ${this.id} could not be kept as a snapshot`, "sandbox_snapshot_failed");
    }
  }

  async terminate(): Promise<void> {
    await this.#context.terminate(this.id);
    this.release();
  }

  release(): void {
    this.#sandbox.detach();
  }

  /** The SDK's `exec` returns when the command has started; its end is asked for. */
  async #run(
    command: string[],
    {
      limitMs,
      environment,
      workdir,
      maxOutputBytes,
    }: { limitMs: number; environment: Readonly<Record<string, string>>; workdir: string; maxOutputBytes: number },
  ): Promise<ExecResult> {
    const process = await this.#sandbox.exec(command, { mode: "binary", timeoutMs: limitMs, workdir, env: { ...environment } });
    const [status, stdout, stderr] = await Promise.all([
      process.wait(),
      collectOutput(process.stdout, maxOutputBytes),
      collectOutput(process.stderr, maxOutputBytes),
    ]);
    return { status, stdout: stdout.text, stderr: stderr.text, truncated: stdout.truncated || stderr.truncated };
  }

  #path(path = ""): string {
    return posix.join(this.#context.homeFolder, path);
  }

  #cancelled(what: string): AppError {
    return new AppError("sandbox_launch_cancelled", `${what} was given up in the sandbox ${this.id}.`);
  }

  async #error(error: unknown, failed: string, otherwise: "sandbox_exec_failed" | "sandbox_snapshot_failed"): Promise<AppError> {
    if (await this.#hasEnded(error))
      return new AppError("sandbox_not_found", `The sandbox ${this.id} has ended.`, { details: { status: modalStatus(error) } });
    return modalError(error, { failed, otherwise, ...(this.#context.secrets && { secrets: this.#context.secrets }) });
  }

  /** A sandbox that has ended refuses commands in many ways, so it is asked. When it cannot be asked, it counts as running. */
  async #hasEnded(error: unknown): Promise<boolean> {
    if (isAppError(error)) return false;
    if (error instanceof Error && error.name === "ClientClosedError") return true;
    try {
      return (await withDeadline(this.#sandbox.poll(), graceMs)) !== null;
    } catch (unknown) {
      return modalStatus(unknown) === "NOT_FOUND";
    }
  }
}
