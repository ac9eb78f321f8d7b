import { status } from "@grpc/grpc-js";
import { isAppError } from "@proliferate/shared/errors";
import type { ExecResult, Sandbox } from "@proliferate/shared/sandbox";
import { RpcFailure } from "./faults.ts";

/** Where Modal's own file tool lies in every sandbox; the SDK runs it to read and write files. */
const fileTool = "/__modal/.bin/modal-sandbox-fs-tools";

interface ExecRequest {
  readonly execId: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly timeoutMs: number | undefined;
  /** Neither output is read: the command may run for as long as the sandbox does. */
  readonly isSilent: boolean;
}

/** A command in a container, running or ended. */
interface Exec {
  readonly stdin: Uint8Array[];
  readonly closeStdin: () => void;
  readonly isStdinClosed: () => boolean;
  readonly ended: Promise<{ readonly status: number; readonly stdout: Uint8Array; readonly stderr: Uint8Array }>;
}

/**
 * What a Modal sandbox is inside, played by a local one that really runs its commands. Two things differ, as there is no
 * namespace: paths are taken relative to the home directory, and an argument that is the number of an open port becomes the
 * port that stands for it here. Output is sent when a command has ended.
 */
export class Container {
  readonly sandbox: Sandbox;
  readonly home: string;
  readonly #execs = new Map<string, Exec>();

  constructor(sandbox: Sandbox, home: string) {
    this.sandbox = sandbox;
    this.home = home;
  }

  /** Starts a command once: the SDK repeats a start whose answer was lost, with the same id. */
  start(request: ExecRequest): void {
    if (this.#execs.has(request.execId)) return;
    const stdin: Uint8Array[] = [];
    const closed = Promise.withResolvers<void>();
    let isClosed = false;
    const closeStdin = (): void => {
      isClosed = true;
      closed.resolve();
    };
    const ended = request.command[0] === fileTool ? this.#runFileTool(request.command[1] ?? "", stdin, closed.promise) : this.#run(request);
    ended.catch(() => undefined);
    this.#execs.set(request.execId, { stdin, closeStdin, isStdinClosed: () => isClosed, ended });
  }

  /** Throws NOT_FOUND for a command that was never started. */
  exec(execId: string): Exec {
    const exec = this.#execs.get(execId);
    if (!exec) throw new RpcFailure(status.NOT_FOUND, `no exec ${execId}`);
    return exec;
  }

  async #run({
    command,
    environment,
    workdir,
    timeoutMs,
    isSilent,
  }: ExecRequest): Promise<{ status: number; stdout: Uint8Array; stderr: Uint8Array }> {
    const args = command.map((argument) => this.#translate(argument));
    const none = new Uint8Array();
    try {
      if (isSilent) {
        const { exited } = await this.sandbox.start(args, { logPath: ".stand-in.log", environment });
        return { status: (await exited) ?? 137, stdout: none, stderr: none };
      }
      const folder = this.#relative(workdir);
      const result: ExecResult = await this.sandbox.exec(args, {
        environment,
        timeoutMs: timeoutMs ?? 24 * 60 * 60 * 1000,
        maxOutputBytes: 2 ** 24,
        ...(folder !== "" && { workingFolder: folder }),
      });
      return { status: result.status, stdout: Buffer.from(result.stdout), stderr: Buffer.from(result.stderr) };
    } catch (error) {
      if (isAppError(error, "sandbox_exec_timeout")) return { status: 137, stdout: none, stderr: none };
      // As a shell says it: not found.
      if (isAppError(error, "sandbox_exec_failed")) return { status: 127, stdout: none, stderr: none };
      throw error;
    }
  }

  async #runFileTool(
    command: string,
    stdin: readonly Uint8Array[],
    stdinClosed: Promise<void>,
  ): Promise<{ status: number; stdout: Uint8Array; stderr: Uint8Array }> {
    const { ReadFile, WriteFile } = JSON.parse(command) as { ReadFile?: { path: string }; WriteFile?: { path: string } };
    const none = new Uint8Array();
    try {
      if (WriteFile) {
        await stdinClosed;
        await this.sandbox.writeFiles({ [this.#relative(WriteFile.path)]: Buffer.concat(stdin) });
        return { status: 0, stdout: none, stderr: none };
      }
      return { status: 0, stdout: await this.sandbox.readFile(this.#relative(ReadFile?.path ?? "")), stderr: none };
    } catch (error) {
      const kind = isAppError(error, "sandbox_file_not_found") ? "NotFound" : "Other";
      return {
        status: 1,
        stdout: none,
        stderr: Buffer.from(JSON.stringify({ error_kind: kind, message: kind === "NotFound" ? "no such file" : "the file tool failed" })),
      };
    }
  }

  #translate(argument: string): string {
    if (argument === "0.0.0.0") return "127.0.0.1";
    return String(this.sandbox.ports.get(Number(argument))?.listenPort ?? argument);
  }

  #relative(path: string): string {
    if (path === "" || path === this.home) return "";
    if (path.startsWith(`${this.home}/`)) return path.slice(this.home.length + 1);
    throw new RpcFailure(status.INVALID_ARGUMENT, "the stand-in has no files outside the home directory");
  }
}
