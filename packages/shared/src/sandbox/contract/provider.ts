/**
 * What a sandbox launcher must do, and nothing that only one of them can. Two implement it: `createLocalSandboxProvider`
 * (child processes on this machine, for development and tests) and `createModalSandboxProvider` (Modal).
 *
 * Paths are relative to the home directory of the sandbox. Every failure is an `AppError`; "there is no such sandbox" is
 * `sandbox_not_found` and nothing else is. A message never holds a variable's value, a file's content or a command's output.
 */

/** Path below the home directory → content. Text is written as UTF-8. */
export type SandboxFiles = Readonly<Record<string, string | Uint8Array>>;

/** What a sandbox is made of, and how long it lives. */
export interface SandboxOptions {
  /** One running sandbox a session: a second one is refused with `sandbox_exists`. */
  readonly sessionId: string;
  /** The variables of every process in the sandbox, and the only ones besides HOME, PATH, TMPDIR and LANG. */
  readonly environment: Readonly<Record<string, string>>;
  /** Life of the sandbox in milliseconds, then it ends by itself. A multiple of 1000, 1 s to 24 h. */
  readonly timeoutMs: number;
  /** Ports that the processes in it will listen on. Default none. */
  readonly ports?: readonly number[];
  /** Result of {@link Sandbox.snapshot}: the home directory starts as it was then. */
  readonly snapshotId?: string;
  /** Written before `create` returns. */
  readonly files?: SandboxFiles;
  /** Gives the creation up at once with `sandbox_launch_cancelled`; what it makes all the same is ended when it comes. */
  readonly signal?: AbortSignal | undefined;
}

/** How a port of the sandbox is reached. */
export interface SandboxPort {
  /** What the process in the sandbox must listen on. Not always the port that was asked for: a local sandbox shares its host's. */
  readonly listenPort: number;
  /** The address to listen on. */
  readonly listenHostname: string;
  /** From outside, without a trailing slash. */
  readonly url: string;
}

/** The limits of one command in a sandbox. */
export interface ExecOptions {
  /** Milliseconds until the command is killed and `sandbox_exec_timeout` is thrown; rounded up to whole seconds. Default 60 000. */
  readonly timeoutMs?: number;
  /** Added to the environment of the sandbox, for this command. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Below the home directory. Default: the home directory. */
  readonly workingFolder?: string;
  /** Of stdout and of stderr each; what comes after is read and dropped. Default 1 MiB. */
  readonly maxOutputBytes?: number;
  /** Gives the command up at once with `sandbox_launch_cancelled`. Locally it is killed; at Modal it ends with its own limit, or its sandbox. */
  readonly signal?: AbortSignal | undefined;
}

/** How a command ended. Its status says whether it succeeded; a failed command is a result, not an error. */
export interface ExecResult {
  /** The exit status; 128 + n for a command that signal n ended. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether stdout or stderr was longer than `maxOutputBytes`. */
  readonly truncated: boolean;
}

/** A command that runs on by itself, until it or the sandbox ends. */
export interface SandboxProcess {
  /** The exit status, or `undefined` when it cannot be known any more (handle released, sandbox gone). Never rejects. */
  readonly exited: Promise<number | undefined>;
}

/** A handle on one running sandbox. */
export interface Sandbox {
  /** The launcher's own id; another one for every sandbox, also for the same session. */
  readonly id: string;
  /** {@link sandboxName} of the session. */
  readonly name: string;
  /** By the port that was asked for. */
  readonly ports: ReadonlyMap<number, SandboxPort>;
  /** Runs a program without a shell and returns when it has exited; a status other than 0 is a result, not an error. */
  exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** Starts a program without a shell and returns at once; its output is appended to `logPath`. */
  start(
    command: readonly string[],
    options: { readonly logPath: string; readonly environment?: Readonly<Record<string, string>> },
  ): Promise<SandboxProcess>;
  /** Creates folders as needed and replaces what is there. Files are readable by the sandbox's user only. Not atomic over several. */
  writeFiles(files: SandboxFiles): Promise<void>;
  /** Throws `sandbox_file_not_found`. */
  readFile(path: string): Promise<Uint8Array>;
  /** Copies the home directory, while the sandbox runs on, and returns an id for `SandboxOptions.snapshotId`. */
  snapshot(): Promise<string>;
  /** Ends every process of it and frees what it holds. Idempotent; returns when nothing is left. */
  terminate(): Promise<void>;
  /** Drops what this handle holds here; the sandbox runs on. The handle is of no use afterwards. */
  release(): void;
}

/** What a list tells of a sandbox. */
export interface SandboxSummary {
  readonly id: string;
  readonly name: string;
}

/** Whether a sandbox runs. One that was never there is `ended`, too. */
export type SandboxState = "running" | "ended";

/** Makes and finds sandboxes; each launcher implements it, and one contract test holds them to it. */
export interface SandboxProvider {
  readonly kind: "local" | "modal";
  /** All or nothing: when it throws, no sandbox is left, unless the message says that it could not be ended. */
  create(options: SandboxOptions): Promise<Sandbox>;
  /** The running sandbox of a session, also after a restart of this process. Throws `sandbox_not_found`. */
  find(sessionId: string): Promise<Sandbox>;
  /**
   * Every sandbox of which something is left, for a reaper that compares them with its sessions: running ones, and what a
   * process that died left half made or half ended.
   */
  list(): Promise<readonly SandboxSummary[]>;
  /** Every snapshot, by the name of the sandbox that it was taken of; empty where the launcher deletes old ones by itself. */
  listSnapshots(): Promise<readonly SandboxSummary[]>;
  /** Whether each sandbox runs, in one pass; one that was never known here counts as ended. Throws rather than guess. */
  checkSandboxes(ids: readonly string[]): Promise<ReadonlyMap<string, SandboxState>>;
  /** Ends a sandbox by its id, without a handle. Idempotent: one that is gone already is no error. */
  terminate(id: string): Promise<void>;
  /** Ends whatever is left of the session's sandboxes, a half-made one too. Idempotent. */
  terminateSession(sessionId: string): Promise<void>;
  /** Idempotent. */
  deleteSnapshot(snapshotId: string): Promise<void>;
  /** Frees what this object holds here. What happens to running sandboxes is said by each launcher. */
  close(): Promise<void>;
}
