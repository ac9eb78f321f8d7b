import { AppError, isAppError } from "@proliferate/shared/errors";
import type { Sandbox } from "@proliferate/shared/sandbox";

/** What is cloned into {@link WORKSPACE_FOLDER}. */
export interface RepoSource {
  /** Without credentials. */
  readonly url: string;
  /** Branch, tag or commit. Default: the repository's own. */
  readonly ref?: string | undefined;
  /** Sent as a header by git, for this clone alone. */
  readonly token?: string | undefined;
}

/** Below the home directory of the sandbox. */
export const WORKSPACE_FOLDER = "workspace";

const CLONE_TIMEOUT_MS = 10 * 60 * 1000;

/**
 * Clones the repository in the sandbox. The token is in the environment of these git processes and nowhere else: not in the
 * URL, so not in `.git/config`; not in an argument, so not in a list of processes; not in the agent's environment. Throws
 * `repo_unavailable`.
 */
export async function cloneRepo(sandbox: Sandbox, { url, ref, token }: RepoSource): Promise<void> {
  const environment = { GIT_TERMINAL_PROMPT: "0", GIT_CONFIG_NOSYSTEM: "1", ...(token !== undefined && authorization(token)) };
  await git(sandbox, ["clone", "--quiet", "--", url, WORKSPACE_FOLDER], environment, url);
  if (ref !== undefined) await git(sandbox, ["-C", WORKSPACE_FOLDER, "checkout", "--quiet", ref, "--"], environment, url);
}

/** GitHub and GitLab take any user name with a token as password. */
function authorization(token: string): Record<string, string> {
  const credentials = Buffer.from(`x-access-token:${token}`).toString("base64");
  return { GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "http.extraHeader", GIT_CONFIG_VALUE_0: `Authorization: Basic ${credentials}` };
}

async function git(sandbox: Sandbox, args: readonly string[], environment: Readonly<Record<string, string>>, url: string): Promise<void> {
  const failed = `The repository ${url} could not be cloned into the sandbox ${sandbox.id}`;
  try {
    const { status } = await sandbox.exec(["git", ...args], { environment, timeoutMs: CLONE_TIMEOUT_MS, maxOutputBytes: 4096 });
    if (status !== 0) throw new AppError("repo_unavailable", `${failed}: git ${args.includes("checkout") ? "checkout" : "clone"} ended with status ${status}.`, { param: "repo" });
  } catch (error) {
    if (isAppError(error, "sandbox_exec_failed")) throw new AppError("repo_unavailable", `${failed}: git could not be run there.`, { cause: error, param: "repo" });
    throw error;
  }
}
