import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../../errors/index.ts";
import { isSandboxUser, type UserId } from "./sandbox-user.ts";

/**
 * Every process of a local sandbox carries this variable with the sandbox's id. Children inherit it, also those that leave
 * their process group, and a pid that was used again cannot carry it: so nothing else is ever killed, and nothing is missed
 * but a program that wipes its own environment on purpose.
 */
export const SANDBOX_MARKER = "PROLIFERATE_SANDBOX_ID";

const hasProc = existsSync("/proc/self/environ");

interface SeenProcess {
  readonly pid: number;
  readonly carries: (marker: string) => boolean;
  readonly user: UserId | undefined;
}

let nextLook: Promise<readonly SeenProcess[]> | undefined;

/**
 * Every process of the machine, as seen after the call. Looking costs some reads for each of them, so all who ask at once share
 * one look: fifty sandboxes that end together would else take seconds for nothing.
 */
function lookAtProcesses(): Promise<readonly SeenProcess[]> {
  nextLook ??= new Promise((done, failed) => {
    setImmediate(() => {
      nextLook = undefined;
      try {
        done(hasProc ? seenInProc() : seenByPs());
      } catch (error) {
        failed(error as Error);
      }
    });
  });
  return nextLook;
}

function seenInProc(): readonly SeenProcess[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map((name) => {
    const variables = `\0${readOrEmpty(`/proc/${name}/environ`)}`;
    const user = /^Uid:\s+(\d+)\s/m.exec(readOrEmpty(`/proc/${name}/status`))?.[1];
    return {
      pid: Number(name),
      carries: (marker) => variables.includes(`\0${marker}\0`),
      user: user === undefined ? undefined : Number(user),
    };
  });
}

/** Elsewhere than on Linux: `ps`, which shows variables to their owner. */
function seenByPs(): readonly SeenProcess[] {
  const lines = execFileSync("ps", ["-axEww", "-o", "pid=,command="], { encoding: "utf8", maxBuffer: 2 ** 26 }).split("\n");
  return lines.map((line) => ({
    pid: Number.parseInt(line, 10),
    carries: (marker) => ` ${line} `.includes(` ${marker} `),
    user: undefined,
  }));
}

/** Pids of the living processes that carry this id, or are its own user's: of no other user, whatever a record says. */
async function sandboxProcesses(id: string, user: UserId | undefined): Promise<number[]> {
  const marker = `${SANDBOX_MARKER}=${id}`;
  const seen = await lookAtProcesses();
  const carriers = seen.filter((one) => one.carries(marker)).map(({ pid }) => pid);
  // One that has ended, and only waits to be taken off the list, has no variables any more, but its user still.
  const owned = isSandboxUser(user)
    ? seen.filter((one) => one.user === user && processStartTime(one.pid) !== undefined).map(({ pid }) => pid)
    : [];
  return [...new Set([...carriers, ...owned])];
}

/** When a process started, in the system's own words; `undefined` when it is gone or has ended. Pid and start time together name a process. */
export function processStartTime(pid: number): string | undefined {
  if (!hasProc) {
    try {
      return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim() || undefined;
    } catch {
      return undefined;
    }
  }
  // The second field is the program's name in brackets, which may hold anything; state is the third, start time the 22nd.
  const [state, ...fields] = readOrEmpty(`/proc/${pid}/stat`).split(") ").at(-1)?.split(" ") ?? [];
  return state === undefined || state === "" || state === "Z" || state === "X" ? undefined : fields[18];
}

/**
 * Kills every process that carries the id but this one, and every process of the sandbox's own user, where it has one: that also
 * finds what has wiped its environment. Returns when none is left; throws `sandbox_terminate_failed` after 5 s.
 */
export async function killSandboxProcesses(id: string, user?: UserId): Promise<void> {
  const deadline = Date.now() + 5000;
  for (;;) {
    const pids = (await sandboxProcesses(id, user)).filter((pid) => pid !== process.pid);
    if (pids.length === 0) return;
    if (Date.now() > deadline)
      throw new AppError("sandbox_terminate_failed", `${pids.length} processes of the local sandbox ${id} do not end.`, {
        details: { pids },
      });
    for (const pid of pids) killQuietly(pid);
    await sleep(10);
  }
}

/** Kills a process, or with a negative pid its group. One that is gone is no error. */
export function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already, or became another user's: not ours to end.
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Ended meanwhile, or another user's.
    return "";
  }
}
