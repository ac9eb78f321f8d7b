import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DatabaseClient } from "@proliferate/db";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { type SessionAdmission, type SessionKeys, SessionLauncher } from "@proliferate/services/sessions";
import { type LLMProxyConfig, opencodeServeArguments } from "@proliferate/shared";
import { createLocalSandboxProvider, type LocalSandboxProvider, PORT_CLAIMS_FOLDER } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { until } from "@proliferate/testing/test-patience";
import { connectLLMProxy } from "../src/llm-proxy.ts";
import { serveGateway, type TestGateway } from "./test-gateway.ts";

/** The stand-in for OpenCode, as a command. */
export const STAND_IN_AGENT = [
  process.execPath,
  fileURLToPath(new URL("../../../packages/testing/src/agent-stand-in/main.ts", import.meta.url)),
];

/** A gateway with the local launcher, before whatever proxy. */
export interface ServedSandboxes extends Pick<TestGateway, "call"> {
  readonly provider: LocalSandboxProvider;
  readonly launcher: SessionLauncher;
  readonly keys: SessionKeys;
  readonly rootFolder: string;
  /** Further arguments of the agent from now on. */
  agentArguments: readonly string[];
  stop(): Promise<void>;
}

export interface SandboxGateway extends ServedSandboxes {
  readonly database: TestDatabase;
  readonly proxy: LiteLLMStandIn;
}

/** For tests only: a gateway with the local launcher, in this process, on a database of its own before LiteLLM's stand-in. */
export async function startSandboxGateway(): Promise<SandboxGateway> {
  const database = await createTestDatabase();
  const proxy = await startLiteLLMStandIn();
  const gateway = await serveSandboxes(database.db, {
    adminUrl: proxy.url,
    baseUrl: "https://llm.example.com/v1",
    masterKey: proxy.masterKey,
  });
  const { stop } = gateway;
  return Object.assign(gateway, {
    database,
    proxy,
    stop: async () => {
      await stop();
      await proxy.stop();
      await database.drop();
    },
  });
}

/** For tests only: a gateway with the local launcher, in this process; its agents are the stand-in. */
export async function serveSandboxes(db: DatabaseClient, proxy: LLMProxyConfig, admission?: SessionAdmission): Promise<ServedSandboxes> {
  const rootFolder = await mkdtemp(join(tmpdir(), "gateway-sandboxes-"));
  const provider = createLocalSandboxProvider({ rootFolder, detached: true });
  const gateway: { agentArguments: readonly string[] } = { agentArguments: [] };
  const launcher = new SessionLauncher({
    db,
    providers: new Map([["local", provider]]),
    command: ({ listenPort, listenHostname }) => [
      ...STAND_IN_AGENT,
      ...opencodeServeArguments({ port: listenPort, hostname: listenHostname }),
      ...gateway.agentArguments,
    ],
    readyTimeoutMs: 60_000,
  });
  const served = await serveGateway(db, proxy, admission, launcher);
  return Object.assign(gateway, {
    ...served,
    provider,
    launcher,
    keys: connectLLMProxy(proxy).keys,
    rootFolder,
    stop: async () => {
      await served.stop();
      await launcher.stop();
      for (const { id } of await provider.list()) await provider.terminate(id);
      await rm(rootFolder, { recursive: true, force: true });
    },
  });
}

/** What is left on disk of sandboxes that run or are being made. */
export async function sandboxFolders(rootFolder: string): Promise<readonly string[]> {
  return [...(await filesIn(rootFolder, "sandboxes")), ...(await filesIn(rootFolder, "staging"))];
}

const filesIn = (rootFolder: string, name: string): Promise<readonly string[]> => readdir(join(rootFolder, name)).catch(() => []);

/** Everything that a launcher may leave: folders, snapshots, ports that are taken, processes. */
export async function leftBehind(rootFolder: string): Promise<readonly string[]> {
  const files = await Promise.all(
    ["sandboxes", "staging", "snapshots"].map(async (name) => (await filesIn(rootFolder, name)).map((file) => `${name}/${file}`)),
  );
  return [...files.flat(), ...(await takenPorts(rootFolder)), ...(await processesIn(rootFolder))];
}

/**
 * Resolves once nothing is left of any sandbox of this root. Not at once: an end may be answered with 202 and go on (after 5 s, on a slow
 * machine), and what a killed gateway left is removed by the next one's upkeep in its own time.
 */
export async function untilNothingIsLeft(rootFolder: string): Promise<void> {
  await until(
    () => leftBehind(rootFolder),
    (left) => left.length === 0,
  );
}

/** Ports that are claimed for sandboxes of this root. */
export async function takenPorts(rootFolder: string): Promise<readonly string[]> {
  const ports = await Promise.all(
    (await readdir(PORT_CLAIMS_FOLDER)).map(
      async (port) => [port, await readlink(join(PORT_CLAIMS_FOLDER, port)).catch(() => "")] as const,
    ),
  );
  return ports.filter(([, holder]) => holder.startsWith(`${rootFolder}/`)).map(([port]) => `port ${port}`);
}

/** Processes that name the folder: a sandbox's have their HOME there, its keeper has it among its arguments. */
async function processesIn(rootFolder: string): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const named = await Promise.all(
    pids.map(async (pid) => {
      const [environment, command] = await Promise.all(
        ["environ", "cmdline"].map((file) => readFile(`/proc/${pid}/${file}`, "latin1").catch(() => "")),
      );
      return environment?.includes(`HOME=${rootFolder}/`) || command?.includes(`\0${rootFolder}\0`) ? [`process ${pid}`] : [];
    }),
  );
  return named.flat();
}
