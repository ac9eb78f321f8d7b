import { fork } from "node:child_process";
import { once } from "node:events";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import type { LLMProxyConfig } from "@proliferate/shared";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";

const MASTER_KEY = "sk-master-of-the-gateway-tests";
const PROVIDER_KEY = "sk-provider-key-of-the-tests";

/** Our own engine as a process, on a database of its own, before a provider. */
export interface Engine {
  readonly database: TestDatabase;
  readonly provider: ProviderStandIn;
  /** How the gateway reaches it. */
  readonly settings: Required<Pick<LLMProxyConfig, "url" | "adminUrl" | "baseUrl" | "masterKey">>;
  stop(): Promise<void>;
}

/** For tests only. `frameGapMs`: pause between two frames of the provider's streams. */
export async function startEngine({ frameGapMs = 0 } = {}): Promise<Engine> {
  const database = await createTestDatabase();
  const provider = await startProviderStandIn({ apiKey: PROVIDER_KEY, frameGapMs });
  const engine = fork(new URL("../../llm-proxy/src/main.ts", import.meta.url), [], {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: {
      DATABASE_URL: database.connectionString,
      LITELLM_MASTER_KEY: MASTER_KEY,
      LLM_PROXY_PORT: "0",
      LLM_PROXY_ADMIN_PORT: "0",
      DRAIN_MS: "1000",
      // A caller that left is settled at once: what is read on after it is the proxy's own tests' matter.
      DETACHED_READ_MS: "0",
      ANTHROPIC_API_KEY: PROVIDER_KEY,
      ANTHROPIC_API_BASE: provider.url,
    },
  });
  const [{ ports }] = (await once(engine, "message")) as [{ ports: Record<string, number> }];
  const url = `http://127.0.0.1:${ports["dataPlane"]}`;
  return {
    database,
    provider,
    settings: { url, adminUrl: `http://127.0.0.1:${ports["management"]}`, baseUrl: `${url}/v1`, masterKey: MASTER_KEY },
    stop: async () => {
      const exited = once(engine, "exit");
      engine.kill("SIGTERM");
      await exited;
      await provider.stop();
      await database.drop();
    },
  };
}
