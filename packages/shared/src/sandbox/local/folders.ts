import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SandboxPort } from "../contract/provider.ts";
import { giveBackPorts } from "./free-ports.ts";
import { makePrivateFolder } from "./private-folder.ts";
import { killSandboxProcesses, processStartTime } from "./processes.ts";
import type { UserId } from "./sandbox-user.ts";

/**
 * Where local sandboxes lie on disk, below one root:
 *
 * - `sandboxes/NAME/` a running sandbox: `sandbox.json`, `home/`, `tmp/`. It comes and goes by one rename, so that it is
 *   whole or not there, and a name is taken by one.
 * - `staging/ID/` a sandbox that is being made or ended. It is there before anything else of the sandbox is, and goes last.
 * - `snapshots/ID` archives of home directories (folders, in former versions).
 *
 * Where each sandbox has a user of its own, `home/` and `tmp/` are that user's, and the folders above can be passed through,
 * and neither listed nor changed; everything else is ours alone.
 */
export interface LocalSandboxRecord {
  /** `NAME~` and 16 hex digits. */
  readonly id: string;
  readonly name: string;
  /** The process whose life is the sandbox's; `startTime` tells it from a later one with the same pid. */
  readonly keeper: { readonly pid: number; readonly startTime: string };
  readonly environment: Readonly<Record<string, string>>;
  readonly ports: readonly (readonly [number, SandboxPort])[];
  /** Whose its processes and its home are; absent: ours. */
  readonly user?: UserId;
}

/** Where a published sandbox lies; `name` must be a valid sandbox name, as nothing is checked here. */
export const sandboxFolder = (root: string, name: string): string => join(root, "sandboxes", name);
/** Where a sandbox lies while it is made or ended. */
export const stagingFolder = (root: string, id: string): string => join(root, "staging", id);
/** Where a snapshot lies. */
export const snapshotFolder = (root: string, snapshotId: string): string => join(root, "snapshots", snapshotId);

/** The name in a sandbox's id. A text that is no id gives a name that no sandbox has. */
export const nameInId = (id: string): string => /^([A-Za-z0-9][A-Za-z0-9._-]*)~[0-9a-f]{16}$/.exec(id)?.[1] ?? "~";

/**
 * Makes what is missing, readable by this user only, or with `passage` to be passed through by others. Idempotent. Throws
 * `sandbox_refused` where a part is a link or another user's, who could read what sandboxes hold.
 */
export async function makeRoot(root: string, passage: boolean): Promise<void> {
  for (const part of ["sandboxes", "staging"]) await makePrivateFolder(join(root, part), { passage });
  await makePrivateFolder(join(root, "snapshots"));
}

/** Names that have a folder, whether their sandbox runs or not. */
export const recordedNames = (root: string): Promise<string[]> => namesIn(join(root, "sandboxes"));

/** Ids of sandboxes that are being made or ended, or were when somebody died. */
export const stagedIds = (root: string): Promise<string[]> => namesIn(join(root, "staging"));

/** Ids of the snapshots there are; none where the root is not there. */
export const snapshotIds = (root: string): Promise<string[]> => namesIn(join(root, "snapshots"));

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** What stands on disk, whether the sandbox runs or not; `undefined` when there is nothing. */
export async function readRecord(root: string, name: string): Promise<LocalSandboxRecord | undefined> {
  return readRecordIn(sandboxFolder(root, name));
}

async function readRecordIn(folder: string): Promise<LocalSandboxRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, "sandbox.json"), "utf8")) as LocalSandboxRecord;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** True while the keeper of the sandbox lives: the process of its id, started when the record says, so a reused id is no keeper. */
export const isRunning = ({ keeper }: LocalSandboxRecord): boolean => processStartTime(keeper.pid) === keeper.startTime;

/** Puts a staged sandbox in its place. False when the name is taken. */
export async function publishRecord(root: string, record: LocalSandboxRecord): Promise<boolean> {
  const staged = stagingFolder(root, record.id);
  await writeFile(join(staged, "sandbox.json"), JSON.stringify(record), { mode: 0o600 });
  try {
    await rename(staged, sandboxFolder(root, record.name));
    return true;
  } catch (error) {
    if (["ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}

/**
 * Ends a sandbox wherever it stands between made and gone: out of sight, then its processes, its ports, its files. The order
 * matters: a process that is started while this runs either finds the folder gone or is found by the search, and what is
 * seen last tells whoever repeats this after a crash. Idempotent, and harmless beside itself in another process.
 */
export async function endLocalSandbox(root: string, id: string): Promise<void> {
  const staged = stagingFolder(root, id);
  const record = await readRecord(root, nameInId(id)).catch(() => undefined);
  if (record?.id === id) await rename(sandboxFolder(root, record.name), staged).catch(() => undefined);
  const known = record?.id === id ? record : await readRecordIn(staged).catch(() => undefined);
  await killSandboxProcesses(id, known?.user);
  await giveBackPorts(stagingFolder(root, id));
  await rm(staged, { recursive: true, force: true, maxRetries: 3 });
}
