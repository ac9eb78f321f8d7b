import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, chmod, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** A user of the machine, by number; its group has the same number, and nobody else is in it. */
export type UserId = number;

/**
 * The user of a sandbox that holds this port: a port is one sandbox's on the whole machine as long as it lives, and so is the
 * user. 40000 to 49999, which no distribution hands out by itself.
 */
export const userOfPort = (port: number): UserId => port + 20_000;
/** Belongs to no port: only asks whether such a user gets where it must. */
const PROBING_USER: UserId = 50_000;

/** Whether a number is one that {@link userOfPort} gives: whatever is killed or given away by user is so. */
export const isSandboxUser = (user: UserId | undefined): user is UserId => user !== undefined && user >= 40_000 && user < 50_000;

/** Whose processes the sandboxes of a root are. */
export type SandboxUser =
  /** Each sandbox has a user of its own, who reads neither this process's memory and files nor other sandboxes. */
  | { readonly isOwn: true }
  /** This process's user, and why. */
  | { readonly isOwn: false; readonly why: string };

/** For whoever starts or watches the launcher: what sandboxes can read of it. */
export function describeSandboxUser(user: SandboxUser): string {
  if (user.isOwn)
    return "each sandbox is a user of its own, who reads neither this machine's secrets of other users nor other sandboxes; they share its network and /tmp";
  return `sandboxes run as this process's own user, as ${user.why}: whatever runs in one can read its variables (master key, provider keys, database), its files and other sandboxes`;
}

const no = (why: string): SandboxUser => ({ isOwn: false, why });

/**
 * Finds out whether sandboxes below `root` can have users of their own: this process may start processes of other users, and
 * such a user reaches the root and the files that `command` names, its program on `path` too. The root, which is made
 * where it is missing, is opened for passing through; what lies above it is left as it is.
 */
export async function findSandboxUser(root: string, path: string, command: readonly string[]): Promise<SandboxUser> {
  if (process.platform !== "linux") return no("only on Linux are sandboxes given users of their own");
  if (process.getuid?.() !== 0) return no("it does not run as root, who alone may start processes of other users");
  await mkdir(root, { recursive: true, mode: 0o711 });
  const { mode } = await stat(root);
  await chmod(root, (mode & 0o7777) | 0o011);
  const reaches = 'cd -- "$1" || exit 10; shift; for file in "$@"; do [ -r "$file" ] || exit 11; done';
  const status = await runAsUser(PROBING_USER, path, [reaches, "sh", root, ...(await filesOf(command, path))]);
  if (status === 0) return { isOwn: true };
  if (status === 10) return no(`${root} lies in a folder that other users cannot pass through`);
  if (status === 11) return no(`other users cannot read the agent's program (${command.join(" ")})`);
  return no(`the system refuses to start a process of another user (${status})`);
}

/** The files that a command names: absolute words, and its program where it is on the path. What is missing for us is missing for all. */
async function filesOf(command: readonly string[], path: string): Promise<readonly string[]> {
  const [program = "", ...rest] = command;
  const places = program.includes("/") ? [program] : path.split(":").map((folder) => join(folder, program));
  const there = await Promise.all(
    places.map((place) =>
      access(place).then(
        () => true,
        () => false,
      ),
    ),
  );
  const found = places.find((_place, index) => there[index]);
  return [...(found === undefined ? [] : [found]), ...rest.filter((word) => word.startsWith("/"))];
}

/** The exit status of a shell script, or the code of the error with which it could not be started. */
async function runAsUser(user: UserId, path: string, [script = "", ...args]: readonly string[]): Promise<number | string> {
  try {
    const child = spawn("/bin/sh", ["-c", script, ...args], { uid: user, gid: user, cwd: "/", env: { PATH: path }, stdio: "ignore" });
    const [status, signal] = (await once(child, "exit")) as [number | null, string | null];
    return status ?? signal ?? "unknown";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "unknown";
  }
}
