import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { FailedMessage, ReadyMessage } from "@proliferate/runtime";

interface ChildOptions {
  readonly name: string;
  /** A .ts file that reports `ready` over IPC. */
  readonly entry: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly logFile: string;
}

export interface Child {
  readonly name: string;
  /** Resolves with the ports it listens on; rejects with its own message when it does not start. */
  readonly ready: Promise<Readonly<Record<string, number>>>;
  /** Resolves when the process has gone, with a line that says how. */
  readonly exited: Promise<string>;
  /** Asks it to stop, then makes it. Idempotent. */
  stop(): Promise<void>;
}

const START_TIMEOUT_MS = 60_000;
/** Together with the store's own stop this stays below the 5 s that Ctrl-C may take. */
const STOP_TIMEOUT_MS = 3_000;

/**
 * Starts a process. It gets its own process group, so that Ctrl-C reaches only us and we stop the parts in order; when we
 * die, its IPC channel closes and it stops by itself.
 */
export function spawnChild(options: ChildOptions): Child {
  const log = openSync(options.logFile, "a");
  const child = spawn(process.execPath, [options.entry], {
    detached: true,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...options.environment },
    stdio: ["ignore", log, log, "ipc"],
  });
  closeSync(log);
  const exited = new Promise<string>((done) => {
    child.once("exit", (code, signal) => done(`${options.name} ended (${signal ?? `status ${code}`}); its log: ${options.logFile}`));
  });
  const ready = waitUntilReady(child, exited, options);
  // Whoever stops the stack while it starts does not wait for readiness any more.
  ready.catch(() => undefined);
  return { name: options.name, ready, exited, stop: () => stopChild(child, exited) };
}

async function waitUntilReady(
  child: ChildProcess,
  exited: Promise<string>,
  options: ChildOptions,
): Promise<Readonly<Record<string, number>>> {
  const answer = new Promise<ReadyMessage | FailedMessage>((done) =>
    child.once("message", (message) => done(message as ReadyMessage | FailedMessage)),
  );
  const late = delay(START_TIMEOUT_MS, `${options.name} was not ready after ${START_TIMEOUT_MS / 1_000} s; its log: ${options.logFile}`, {
    ref: false,
  });
  const first = await Promise.race([answer, exited, late]);
  if (typeof first === "string") {
    const lines = (await readFile(options.logFile, "utf8")).trim().split("\n").slice(-8).join("\n");
    throw new Error(`${first}\n${lines}`);
  }
  if (first.type === "failed") throw new Error(first.message);
  return first.ports;
}

async function stopChild(child: ChildProcess, exited: Promise<string>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}
