import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export const MASTER_KEY = "sk-master-of-the-proxy-tests";
export const PROVIDER_KEY = "sk-provider-key-of-the-tests";

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));

interface ProxyProcessOptions {
  readonly connectionString: string;
  readonly providerUrl: string;
  /** Added to, or taken from (undefined), the environment. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Flags of Node; default: none. */
  readonly flags?: readonly string[];
}

export interface ProxyProcess {
  /** Of the data plane, without `/v1`. */
  readonly url: string;
  /** Of the management API. */
  readonly adminUrl: string;
  readonly child: ChildProcess;
  /** Everything it wrote to stderr. */
  log(): string;
  /** SIGTERM, and resolves with the exit status. */
  stop(): Promise<number | null>;
  /** SIGKILL. */
  kill(): Promise<void>;
}

interface ProcessMessage {
  readonly type: "ready" | "failed";
  readonly ports?: Readonly<Record<string, number>>;
  readonly message?: string;
}

/** Starts `src/main.ts` as a process of its own, on free ports, with nothing of the test's own environment; rejects with its message when it does not start. */
export async function startProxyProcess(options: ProxyProcessOptions): Promise<ProxyProcess> {
  const child = fork(MAIN, [], {
    execArgv: [...(options.flags ?? [])],
    stdio: ["ignore", "inherit", "pipe", "ipc"],
    env: {
      DATABASE_URL: options.connectionString,
      LITELLM_MASTER_KEY: MASTER_KEY,
      LLM_PROXY_PORT: "0",
      LLM_PROXY_ADMIN_PORT: "0",
      DRAIN_MS: "1000",
      // Most tests look at what happens when the provider's side is cut at once; unfinished.test.ts looks at the rest.
      DETACHED_READ_MS: "0",
      LLM_PROXY_HOST: "127.0.0.1",
      ANTHROPIC_API_KEY: PROVIDER_KEY,
      OPENAI_API_KEY: PROVIDER_KEY,
      GEMINI_API_KEY: PROVIDER_KEY,
      ANTHROPIC_API_BASE: options.providerUrl,
      OPENAI_API_BASE: options.providerUrl,
      GEMINI_API_BASE: options.providerUrl,
      ...options.environment,
    },
  });
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  const exited = once(child, "exit") as Promise<[number | null]>;
  const [message] = (await Promise.race([once(child, "message"), exited.then(() => [undefined])])) as [ProcessMessage | undefined];
  if (message?.type !== "ready") throw new Error(message?.message ?? `the proxy did not start: ${log}`);
  return {
    url: `http://127.0.0.1:${message.ports?.["dataPlane"]}`,
    adminUrl: `http://127.0.0.1:${message.ports?.["management"]}`,
    child,
    log: () => log,
    stop: async () => {
      child.kill("SIGTERM");
      return (await exited)[0];
    },
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** One call of the management API; the status and the parsed body. */
export async function manage(
  proxy: ProxyProcess,
  path: string,
  body?: unknown,
  key = MASTER_KEY,
): Promise<{ status: number; body: never }> {
  const response = await fetch(`${proxy.adminUrl}${path}`, {
    headers: { "authorization": `Bearer ${key}`, "content-type": "application/json" },
    ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as never };
}

/** Mints a key; returns it and its hash. */
export async function mintKey(
  proxy: ProxyProcess,
  request: Readonly<Record<string, unknown>> = {},
): Promise<{ key: string; token: string }> {
  const { status, body } = await manage(proxy, "/key/generate", request);
  if (status !== 200) throw new Error(`/key/generate answered ${status}: ${JSON.stringify(body)}`);
  return body;
}
