import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PORTS = ["LLM_PROXY_PORT", "LLM_PROXY_ADMIN_PORT", "GATEWAY_PORT", "WORKER_PORT"] as const;

/** A development stack that was started as README.md says, and made its pass. */
export interface ProvingStack {
  readonly ports: Readonly<Record<(typeof PORTS)[number], string>>;
  readonly requestId: string;
  /** What `./scripts/billing` finds as well: addresses, tokens, the database. */
  readonly variables: Readonly<Record<string, string>>;
  /** The key and the address that the stack prints to paste. */
  readonly pasted: Readonly<Record<string, string>>;
  stop(): Promise<number | null>;
}

/** Starts it by its script, on free ports, with its state in the folder. Throws with its last words where it does not come up. */
export async function startProvingStack(folder: string, root: string): Promise<ProvingStack> {
  const ports = await freePorts();
  const child = spawn("./scripts/dev-start.sh", ["--json"], {
    cwd: root,
    env: { ...process.env, ...ports, DEV_STATE_FOLDER: folder },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close").then(([status]) => status as number | null);
  const lines: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => lines.push(String(chunk)));
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (line.includes("Everything is up")) break;
  }
  child.stdout.resume();
  const report = lines.find((line) => line.startsWith("{") && line.includes('"request_id"'));
  if (report === undefined) throw new Error(`The stack did not come up:\n${lines.slice(-20).join("\n")}`);
  const pasted = lines.filter((line) => line.includes("export ANTHROPIC_")).join(" ");
  return {
    ports,
    requestId: (JSON.parse(report) as { request_id: string }).request_id,
    variables: variablesOf(await readFile(join(folder, `stack-${ports.LLM_PROXY_PORT}`, "env"), "utf8")),
    pasted: Object.fromEntries([...pasted.matchAll(/([A-Z_]+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value])),
    stop: async () => {
      child.kill("SIGINT");
      return ended;
    },
  };
}

const variablesOf = (text: string): Readonly<Record<string, string>> =>
  Object.fromEntries([...text.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]));

async function freePorts(): Promise<Record<(typeof PORTS)[number], string>> {
  const servers = await Promise.all(
    PORTS.map(async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => String((server.address() as AddressInfo).port));
  await Promise.all(servers.map(async (server) => once(server.close(), "close")));
  return Object.fromEntries(PORTS.map((name, index) => [name, ports[index] ?? ""])) as Record<(typeof PORTS)[number], string>;
}
