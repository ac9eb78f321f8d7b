import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import type { SessionKeys } from "@proliferate/services/sessions/session-keys";
import { SessionLauncher } from "@proliferate/services/sessions/session-launcher";
import { opencodeServeArguments } from "@proliferate/shared";
import { createLocalSandboxProvider, type LocalSandboxProvider } from "@proliferate/shared/sandbox";
import { type LiteLLMStandIn, startLiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { connectLLMProxy } from "../src/llm-proxy.ts";
import { serveGateway, type TestGateway } from "./test-gateway.ts";

/** The stand-in for OpenCode, as a command. */
export const STAND_IN_AGENT = [process.execPath, fileURLToPath(new URL("../../../packages/testing/src/agent-stand-in/main.ts", import.meta.url))];

export interface SandboxGateway extends Pick<TestGateway, "call"> {
  readonly database: TestDatabase;
  readonly proxy: LiteLLMStandIn;
  readonly provider: LocalSandboxProvider;
  readonly launcher: SessionLauncher;
  readonly keys: SessionKeys;
  readonly rootFolder: string;
  /** Further arguments of the agent from now on. */
  agentArguments: readonly string[];
  stop(): Promise<void>;
}

/** For tests only: a gateway with the local launcher, in this process, and the agent's stand-in. */
export async function startSandboxGateway(): Promise<SandboxGateway> {
  const database = await createTestDatabase();
  const proxy = await startLiteLLMStandIn();
  const rootFolder = await mkdtemp(join(tmpdir(), "gateway-sandboxes-"));
  const provider = createLocalSandboxProvider({ rootFolder, detached: true });
  const gateway: { agentArguments: readonly string[] } = { agentArguments: [] };
  const launcher = new SessionLauncher({
    db: database.db,
    providers: new Map([["local", provider]]),
    command: ({ listenPort, listenHostname }) => [...STAND_IN_AGENT, ...opencodeServeArguments({ port: listenPort, hostname: listenHostname }), ...gateway.agentArguments],
    readyTimeoutMs: 60_000,
  });
  const settings = { adminUrl: proxy.url, baseUrl: "https://llm.example.com/v1", masterKey: proxy.masterKey };
  const served = await serveGateway(database.db, settings, undefined, launcher);
  return Object.assign(gateway, {
    ...served,
    database,
    proxy,
    provider,
    launcher,
    keys: connectLLMProxy(settings).keys,
    rootFolder,
    stop: async () => {
      await served.stop();
      await launcher.stop();
      for (const { id } of await provider.list()) await provider.terminate(id);
      await proxy.stop();
      await database.drop();
      await rm(rootFolder, { recursive: true, force: true });
    },
  });
}

/** What is left on disk of sandboxes that run or are being made. */
export async function sandboxFolders(rootFolder: string): Promise<readonly string[]> {
  const inFolder = async (name: string): Promise<readonly string[]> => readdir(join(rootFolder, name)).catch(() => []);
  return [...(await inFolder("sandboxes")), ...(await inFolder("staging"))];
}
