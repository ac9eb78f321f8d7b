import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { EnvironmentSource } from "@proliferate/shared/env";
import { AppError } from "@proliferate/shared/errors";

const FOLDER = /^stack-(\d+)$/;

/**
 * The variables of the development stack that runs on this machine: what it wrote to `stack-<port>/env`, as long as the
 * process in `stack-<port>/lock` lives. Throws `env_invalid` when none runs, or several and `port` does not say which.
 */
export async function findDevelopmentStack(stateFolder: string, port: string | undefined): Promise<EnvironmentSource> {
  const folders = (await readdir(stateFolder).catch(() => [])).filter((name) => FOLDER.test(name));
  const stacks = (await Promise.all(folders.map((name) => readStack(stateFolder, name)))).filter((stack) => stack !== undefined);
  const asked = port === undefined ? stacks : stacks.filter((stack) => stack.port === port);
  const [only, second] = asked;
  if (second !== undefined) {
    throw new AppError(
      "env_invalid",
      `${asked.length} development stacks run here (${asked.map((stack) => stack.port).join(", ")}): say which with --stack PORT, or set DATABASE_URL.`,
    );
  }
  if (only !== undefined) return only.variables;
  if (port !== undefined)
    throw new AppError(
      "env_invalid",
      `No development stack runs on port ${port}; start it with LLM_PROXY_PORT=${port} ./scripts/dev-start.sh.`,
    );
  throw new AppError(
    "env_invalid",
    "DATABASE_URL is not set, and no development stack runs here: set it, or start one with ./scripts/dev-start.sh.",
  );
}

interface RunningStack {
  readonly port: string;
  readonly variables: EnvironmentSource;
}

async function readStack(stateFolder: string, name: string): Promise<RunningStack | undefined> {
  const [lock, text] = await Promise.all(
    ["lock", "env"].map((file) => readFile(join(stateFolder, name, file), "utf8").catch(() => undefined)),
  );
  if (text === undefined || !isAlive(Number(lock))) return undefined;
  const lines = text
    .split("\n")
    .map((line) => /^([A-Z_]+)=(.*)$/.exec(line))
    .filter((line) => line !== null);
  return {
    port: FOLDER.exec(name)?.[1] ?? "",
    variables: Object.fromEntries(lines.map(([, variable = "", value = ""]) => [variable, value])),
  };
}

/** A stack that was killed leaves its files behind. */
function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
