import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What a stack keeps between runs: database, stand-in state, logs, secrets of its own making. */
export interface StateFolder {
  readonly path: string;
  readonly secrets: StackSecrets;
  file(name: string): string;
  /** Writes `env`, one NAME=value a line, readable by this user alone; `unlock` takes it away. */
  publishEnvironment(variables: Readonly<Record<string, string>>): Promise<void>;
  unlock(): Promise<void>;
}

interface StackSecrets {
  readonly masterKey: string;
  readonly gatewayToken: string;
}

/**
 * Opens `<parent>/stack-<port>`: one folder per data-plane port, so that two stacks run side by side, from one checkout or
 * two. Random secrets are made once and kept, so that keys of an earlier run go on working. Throws when another live
 * process holds the folder; a lock left by a kill -9 is taken over.
 */
export async function openStateFolder(parent: string, dataPlanePort: number): Promise<StateFolder> {
  const path = join(parent, `stack-${dataPlanePort}`);
  await mkdir(join(path, "logs"), { recursive: true });
  const lock = join(path, "lock");
  await takeLock(lock);
  const environment = join(path, "env");
  await rm(environment, { force: true });
  return {
    path,
    secrets: await readOrMakeSecrets(join(path, "secrets.json")),
    file: (name) => join(path, name),
    publishEnvironment: (variables) =>
      writeFile(
        environment,
        Object.entries(variables)
          .map(([name, value]) => `${name}=${value}\n`)
          .join(""),
        { mode: 0o600, flag: "wx" },
      ),
    unlock: async () => {
      await rm(environment, { force: true });
      await rm(lock, { force: true });
    },
  };
}

async function takeLock(lock: string): Promise<void> {
  try {
    const handle = await open(lock, "wx");
    await handle.writeFile(`${process.pid}\n`);
    await handle.close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const holder = Number(await readFile(lock, "utf8").catch(() => ""));
    if (holder && isDevelopmentStack(holder, await commandOf(holder))) {
      throw new Error(
        `A development stack on these ports runs already (pid ${holder}). Stop it with Ctrl-C, or set LLM_PROXY_PORT, LLM_PROXY_ADMIN_PORT, GATEWAY_PORT and WORKER_PORT for a second one.`,
        { cause: error },
      );
    }
    await rm(lock, { force: true });
    await takeLock(lock);
  }
}

/** Process ids are reused; where the system shows command lines, the holder must really be one of us. */
function isDevelopmentStack(pid: number, command: string | undefined): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return command === undefined || command.includes("dev-stack");
}

async function commandOf(pid: number): Promise<string | undefined> {
  return readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
}

async function readOrMakeSecrets(file: string): Promise<StackSecrets> {
  const known = await readFile(file, "utf8").catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as StackSecrets;
  const secrets = { masterKey: `sk-${randomBytes(24).toString("base64url")}`, gatewayToken: randomBytes(24).toString("base64url") };
  await writeFile(file, `${JSON.stringify(secrets)}\n`, { mode: 0o600 });
  return secrets;
}
