import { AppError, isAppError } from "@proliferate/shared/errors";
import type { Sandbox } from "@proliferate/shared/sandbox";

/** What is cloned into {@link WORKSPACE_FOLDER}. */
export interface RepoSource {
  /** Without credentials. */
  readonly url: string;
  /** Branch, tag or commit. Default: the repository's own. */
  readonly ref?: string | undefined;
  /** Sent as a header by git to the URL's own server, for this clone alone. */
  readonly token?: string | undefined;
}

/** Below the home directory of the sandbox. */
const WORKSPACE_FOLDER = "workspace";

const CLONE_TIMEOUT_MS = 10 * 60 * 1000;

/**
 * Clones the repository in the sandbox, then checks it out. The token is in the environment of the fetching git processes
 * and nowhere else: not in the URL, so not in `.git/config`; not in an argument, so not in a list of processes; not in the
 * agent's environment; and not in that of the checkout, which runs the filters and hooks that a repository or an image
 * brings. It goes to the server of `url` alone: with a token no redirect is followed. Throws `repo_unavailable`, and
 * `sandbox_launch_cancelled` at the signal.
 */
export async function cloneRepo(sandbox: Sandbox, { url, ref, token }: RepoSource, signal?: AbortSignal): Promise<void> {
  const git = (args: readonly string[], environment: Readonly<Record<string, string>>) =>
    runGit(sandbox, args, { ...QUIET, ...environment }, url, signal);
  await git(["clone", "--quiet", "--no-checkout", "--", url, WORKSPACE_FOLDER], token === undefined ? {} : authorization(url, token));
  // This holds for an empty repository as well, where there is nothing to check out.
  await git(
    ref === undefined ? ["-C", WORKSPACE_FOLDER, "reset", "--quiet", "--hard"] : ["-C", WORKSPACE_FOLDER, "checkout", "--quiet", ref, "--"],
    {},
  );
}

/** No question to a person, no configuration of the machine, and no transport but those that a URL of ours may name. */
const QUIET = { GIT_TERMINAL_PROMPT: "0", GIT_CONFIG_NOSYSTEM: "1", GIT_ALLOW_PROTOCOL: "http:https" };

/**
 * GitHub and GitLab take any user name with a token as password. Two rules, as each has a gap alone: a header that belongs to
 * this server is still sent on where it redirects, as git has it for the whole fetch; and a header without a server goes
 * wherever a configuration of the sandbox rewrites the URL to.
 */
function authorization(url: string, token: string): Record<string, string> {
  const credentials = Buffer.from(`x-access-token:${token}`).toString("base64");
  return gitConfig([
    [`http.${url}.extraHeader`, `Authorization: Basic ${credentials}`],
    // Git takes the setting that names most of the URL, whatever file it stands in: `http.https://x/a.extraHeader` wins over
    // `http.https://x.extraHeader`. So this one names the whole URL.
    ["http.followRedirects", "false"],
    [`http.${url}.followRedirects`, "false"],
  ]);
}

/** Configuration for one process, which stands above every file. */
function gitConfig(entries: readonly (readonly [key: string, value: string])[]): Record<string, string> {
  const pairs = entries.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return { GIT_CONFIG_COUNT: String(entries.length), ...Object.fromEntries(pairs) };
}

async function runGit(
  sandbox: Sandbox,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  url: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const failed = `The repository ${url} could not be cloned into the sandbox ${sandbox.id}`;
  try {
    const { status, stderr } = await sandbox.exec(["git", ...args], {
      environment,
      timeoutMs: CLONE_TIMEOUT_MS,
      maxOutputBytes: 4096,
      signal,
    });
    if (status !== 0)
      throw new AppError(
        "repo_unavailable",
        `${failed}: ${reasonIn(stderr) ?? `git ${args.includes("clone") ? "clone" : "checkout"} ended with status ${status}`}.`,
        { param: "repo" },
      );
  } catch (error) {
    if (isAppError(error, "sandbox_exec_failed"))
      throw new AppError("repo_unavailable", `${failed}: git could not be run there.`, { cause: error, param: "repo" });
    throw error;
  }
}

/** What git's words mean, in ours: its own may quote what it was given. */
const REASONS: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/returned error: 30\d|redirect/i, "its server redirects, which is not followed with a token; send the URL that it leads to"],
  [
    /could not read (Username|Password)|Authentication failed|returned error: 40[13]/i,
    "its server refuses the token, or asks for one (header x-repo-token)",
  ],
  [/not found|returned error: 404|does not exist/i, "its server knows no such repository, or shows it only to another token"],
  [/Could not resolve host/i, "its host has no address"],
  [/Connection refused|Failed to connect|timed out/i, "its server cannot be reached"],
  [/pathspec|did not match any|unknown revision|invalid reference/i, "it has no such ref"],
];

const reasonIn = (stderr: string): string | undefined => REASONS.find(([pattern]) => pattern.test(stderr))?.[1];
