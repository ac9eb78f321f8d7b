import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../../errors/index.ts";

/**
 * Every process of a local sandbox carries this variable with the sandbox's id. Children inherit it, also those that leave
 * their process group, and a pid that was used again cannot carry it: so nothing else is ever killed, and nothing is missed
 * but a program that wipes its own environment on purpose.
 */
export const SANDBOX_MARKER = "PROLIFERATE_SANDBOX_ID";

const hasProc = existsSync("/proc/self/environ");

/** Pids of the processes that carry this id. On Linux from /proc; elsewhere from `ps`, which shows variables to their owner. */
export function sandboxProcesses(id: string): number[] {
  const marker = `${SANDBOX_MARKER}=${id}`;
  if (!hasProc) {
    const lines = execFileSync("ps", ["-axEww", "-o", "pid=,command="], { encoding: "utf8", maxBuffer: 2 ** 26 }).split("\n");
    return lines.filter((line) => ` ${line} `.includes(` ${marker} `)).map((line) => Number.parseInt(line, 10));
  }
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && `\0${readOrEmpty(`/proc/${name}/environ`)}`.includes(`\0${marker}\0`))
    .map(Number);
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

/** Kills every process that carries the id but this one. Returns when none is left; throws `sandbox_terminate_failed` after 5 s. */
export async function killSandboxProcesses(id: string): Promise<void> {
  const deadline = Date.now() + 5000;
  for (;;) {
    const pids = sandboxProcesses(id).filter((pid) => pid !== process.pid);
    if (pids.length === 0) return;
    if (Date.now() > deadline) throw new AppError("sandbox_terminate_failed", `${pids.length} processes of the local sandbox ${id} do not end.`, { details: { pids } });
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
