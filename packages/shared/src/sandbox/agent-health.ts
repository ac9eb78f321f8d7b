import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "../errors/index.ts";

/** The user of OpenCode's basic authentication, unless OPENCODE_SERVER_USERNAME names another. */
export const OPENCODE_SERVER_USERNAME = "opencode";

/** The `authorization` header for the agent's server. */
export const agentAuthorization = (password: string): string =>
  `Basic ${Buffer.from(`${OPENCODE_SERVER_USERNAME}:${password}`).toString("base64")}`;

/** Which agent is asked, and for how long. */
export interface AgentHealthOptions {
  /** Of the agent's server, without a trailing slash. */
  readonly url: string;
  readonly password: string;
  /** Milliseconds for all tries. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

const tryTimeoutMs = 5000;
const firstPauseMs = 50;
const longestPauseMs = 2000;

/**
 * Returns when `GET /global/health` answers 200 to this password and 401 without one. `/` is no probe: it fetches from the
 * network. Pauses grow from 50 ms by half to 2 s. Throws `sandbox_not_ready` at the time-out, and at once for an answer that
 * waiting cannot better: the password is refused, or none is asked for. Throws the reason of an aborted signal.
 */
export async function waitForAgent({ url, password, timeoutMs, signal }: AgentHealthOptions): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let last = "no answer";
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 1.5, longestPauseMs)) {
    const remainingMs = Math.max(1, deadline - Date.now());
    last = await tryHealth(url, agentAuthorization(password), Math.min(tryTimeoutMs, remainingMs), signal);
    if (last === "status 200") return checkThatItIsClosed(url, signal);
    if (last === "status 401")
      throw new AppError(
        "sandbox_not_ready",
        "The agent's server refuses its own password; another program holds its port, or OPENCODE_SERVER_USERNAME is set.",
      );
    signal?.throwIfAborted();
    if (Date.now() + pauseMs >= deadline)
      throw new AppError("sandbox_not_ready", `The agent's server was not ready within ${timeoutMs} ms; the last try gave ${last}.`);
    await sleep(pauseMs, undefined, signal && { signal });
  }
}

/** Whether the agent's server answers now and refuses whoever has no password; for a caller who has none either. Never throws. */
export async function agentIsClosed(url: string): Promise<boolean> {
  return (await tryHealth(url, undefined, tryTimeoutMs, undefined)) === "status 401";
}

/** `answers`; `refused`: nothing listens at its address; `silent`: no answer in time, or a server error. */
export type AgentSign = "answers" | "refused" | "silent";

/** What the agent's server shows to somebody without its password, within `timeoutMs` (default 5 s). Never throws. */
export async function probeAgent(url: string, timeoutMs = tryTimeoutMs): Promise<AgentSign> {
  const answer = await tryHealth(url, undefined, timeoutMs, undefined);
  if (/^status [1-4]/.test(answer)) return "answers";
  return answer.includes("ECONNREFUSED") ? "refused" : "silent";
}

async function checkThatItIsClosed(url: string, signal: AbortSignal | undefined): Promise<void> {
  const answer = await tryHealth(url, undefined, tryTimeoutMs, signal);
  if (answer === "status 200")
    throw new AppError(
      "sandbox_not_ready",
      "The agent's server answers without a password: whoever reaches its port could run commands in the sandbox.",
    );
}

async function tryHealth(
  url: string,
  authorization: string | undefined,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  const deadline = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(`${url}/global/health`, {
      headers: authorization === undefined ? {} : { authorization },
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    await response.body?.cancel();
    return `status ${response.status}`;
  } catch (error) {
    return deadline.aborted ? "no answer" : `no connection (${causeOf(error)})`;
  }
}

function causeOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: unknown } };
  return typeof cause?.code === "string" ? cause.code : "failed";
}
