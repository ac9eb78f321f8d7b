import { readdir, readFile } from "node:fs/promises";

const TICKS_PER_SECOND = 100;

/** What a process has computed so far, its ended children included, in seconds; 0 where the system (not Linux) does not tell. */
export async function cpuSeconds(pid: number | undefined): Promise<number> {
  const fields = await statOf(pid);
  // utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5), counted from the one after the name.
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
}

/** As {@link cpuSeconds}, of a process and its children that live. */
export async function cpuSecondsOfFamily(parent: number | undefined): Promise<number> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number);
  const parents = await Promise.all(pids.map(async (pid) => Number((await statOf(pid))[1])));
  const family = [parent, ...pids.filter((_, index) => parents[index] === parent)];
  const seconds = await Promise.all(family.map(cpuSeconds));
  return seconds.reduce((sum, each) => sum + each, 0);
}

/** The process that started it; undefined where the system does not tell. */
export async function parentPid(pid: number | undefined): Promise<number | undefined> {
  const [, parent] = await statOf(pid);
  return parent === undefined ? undefined : Number(parent);
}

/** The most memory that a process has held so far, in MB; undefined where the system does not tell. */
export async function peakMemoryMb(pid: number | undefined): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(status) ?? [];
  return kilobytes === undefined ? undefined : Math.round(Number(kilobytes) / 1_024);
}

/** The fields after the name, which may hold blanks itself. */
async function statOf(pid: number | undefined): Promise<string[]> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat === "" ? [] : stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
