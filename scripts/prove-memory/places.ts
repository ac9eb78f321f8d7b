import { execFile } from "node:child_process";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";

/** Who computes where. `shared`: the system gives no process a core of its own (no `taskset`, or one core). */
export type Places = "apart" | "shared";

/** The gateway's core, and everybody else's: attackers are no processes of the gateway's machine. */
const PROXY_CORE = 0;
const OTHERS_CORE = 1;

/** Puts this process, and whatever it starts from now on, onto the core of the others. */
export async function placeOthers(): Promise<Places> {
  if (availableParallelism() < 2) return "shared";
  return (await place(process.pid, OTHERS_CORE)) ? "apart" : "shared";
}

/** Puts a process that has started onto a core that none of ours shares, with all its threads. */
export async function placeProxy(pid: number | undefined, places: Places): Promise<void> {
  if (places === "apart" && pid !== undefined) await place(pid, PROXY_CORE);
}

async function place(pid: number, core: number): Promise<boolean> {
  return promisify(execFile)("taskset", ["--all-tasks", "--pid", "--cpu-list", String(core), String(pid)]).then(
    () => true,
    () => false,
  );
}
