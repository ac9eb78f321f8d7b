import { fileURLToPath } from "node:url";
import { type DatabaseClient, migrate, openDatabase } from "@proliferate/db";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@proliferate/db/embedded";
import { createLocalSandboxProvider, describeSandboxUser } from "@proliferate/shared/sandbox";
import { type Child, spawnChild } from "./child-process.ts";
import type { DevStackEnvironment } from "./environment.ts";
import type { Screen } from "./screen.ts";
import type { StateFolder } from "./state-folder.ts";
import { openTunnel, type Tunnel } from "./tunnel.ts";

/** Everything that runs, and where. */
export interface Stack {
  readonly engine: "builtin" | "external";
  readonly db: DatabaseClient;
  readonly gatewayUrl: string;
  readonly gatewayToken: string;
  /** What sandboxes call, without `/v1`: the tunnel's address where there is one. */
  readonly dataPlaneUrl: string;
  readonly autumn: { readonly apiKey: string; readonly url: string | undefined; readonly isStandIn: boolean };
  /** Resolves with a line when a part that should be running has gone. */
  readonly failed: Promise<string>;
}

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const STAND_IN_PROVIDER_KEY = "stand-in-provider-key";
const STAND_IN_AUTUMN_KEY = "am_sk_test_standin";
/** A demonstration should not wait half a minute; production's 30 s and 60 s are the worker's own defaults. */
const SYNC_INTERVAL_MS = 1_000;
const OUTBOX_INTERVAL_MS = 2_000;

/** A fetched OpenCode, told not to look for a model list that no sandbox needs. */
const agentCommand = (program: string): readonly string[] => ["env", "OPENCODE_DISABLE_MODELS_FETCH=1", program];

/** Starts parts in the order in which they need each other, and stops what it started in reverse. */
export class StackStarter {
  readonly #environment: DevStackEnvironment;
  readonly #state: StateFolder;
  readonly #screen: Screen;
  readonly #children: Child[] = [];
  #postgres: EmbeddedPostgres | undefined;
  #db: DatabaseClient | undefined;
  #tunnel: Tunnel | undefined;
  #stopping: Promise<void> | undefined;

  constructor(environment: DevStackEnvironment, state: StateFolder, screen: Screen) {
    this.#environment = environment;
    this.#state = state;
    this.#screen = screen;
  }

  /** `opencode`: the program that the gateway runs in local sandboxes; without it sessions find whatever is on PATH. */
  async start(opencode?: string): Promise<Stack> {
    const database = await this.#startDatabase();
    const provider = await this.#startProvider();
    const autumn = await this.#startAutumn();
    const proxy = await this.#startProxy(database, provider);
    const sink = { AUTUMN_API_KEY: autumn.apiKey, ...(autumn.url ? { AUTUMN_API_URL: autumn.url } : {}) };
    const gateway = await this.#startGateway(database, { ...proxy, ...sink }, opencode);
    await this.#startWorker(database, { ...proxy, ...sink });
    // What ./scripts/billing and ./scripts/session need to find this stack; gone when the stack is.
    await this.#state.publishEnvironment({
      ...database,
      ...sink,
      LLM_PROXY_ADMIN_URL: proxy["LLM_PROXY_ADMIN_URL"] ?? proxy["LLM_PROXY_URL"] ?? "",
      LLM_PROXY_MASTER_KEY: proxy["LLM_PROXY_MASTER_KEY"] ?? "",
      GATEWAY_URL: gateway.gatewayUrl,
      GATEWAY_API_TOKEN: gateway.gatewayToken,
      DEV_ORG_ID: this.#environment.DEV_ORG_ID,
      ...(opencode !== undefined && { OPENCODE_COMMAND: JSON.stringify(agentCommand(opencode)) }),
    });
    const failed = Promise.race(this.#children.map((child) => child.exited));
    return {
      engine: this.#environment.LLM_PROXY_URL ? "external" : "builtin",
      db: this.#requireDatabase(),
      ...gateway,
      dataPlaneUrl: proxy["LLM_PROXY_PUBLIC_URL"] ?? "",
      autumn,
      failed,
    };
  }

  /** Children first (they still have something to write), the store last. Idempotent; stays below 5 s. */
  async stop(): Promise<void> {
    this.#stopping ??= (async () => {
      await this.#tunnel?.close();
      await Promise.all(this.#children.map((child) => child.stop()));
      await this.#endSandboxes();
      await this.#db?.destroy();
      await this.#postgres?.stop();
      await this.#state.unlock();
    })();
    return this.#stopping;
  }

  /** They outlive their gateway, so that one that starts again finds them. Nobody comes back to those of a demonstration. */
  async #endSandboxes(): Promise<void> {
    const sandboxes = createLocalSandboxProvider({ rootFolder: this.#state.file("sandboxes"), detached: true });
    for (const { id } of await sandboxes.list()) await sandboxes.terminate(id);
  }

  #requireDatabase(): DatabaseClient {
    if (!this.#db) throw new Error("the database was not started");
    return this.#db;
  }

  async #startDatabase(): Promise<Record<string, string>> {
    const { databaseUrl, LITELLM_DB_SCHEMA: litellmSchema } = this.#environment;
    if (!databaseUrl) this.#postgres = await startEmbeddedPostgres({ dataFolder: this.#state.file("postgres") });
    const connectionString = databaseUrl ?? this.#postgres?.connectionString ?? "";
    const options = { connectionString, ...(litellmSchema ? { litellmSchema } : {}) };
    // A remote engine migrates its own schema; ours must not create tables in it.
    const applied = await migrate({ ...options, sets: this.#environment.LLM_PROXY_URL ? ["gateway"] : ["litellm", "gateway"] });
    this.#db = openDatabase({ ...options, maxConnections: 4, applicationName: "dev-stack" });
    const what = this.#postgres
      ? `PostgreSQL 18 embedded, 127.0.0.1:${this.#postgres.port}, data in ${this.#postgres.dataFolder}`
      : "the server of DATABASE_URL";
    this.#screen.part("database", `${what}; ${applied.length} migrations applied`);
    return { DATABASE_URL: connectionString, ...(litellmSchema ? { LITELLM_DB_SCHEMA: litellmSchema } : {}) };
  }

  /** Each provider without a key is played by the local one; with a key, calls go to the real one. */
  async #startProvider(): Promise<Record<string, string>> {
    const { LLM_PROXY_URL, ANTHROPIC_API_KEY, ANTHROPIC_API_BASE, OPENAI_API_KEY, OPENAI_API_BASE } = this.#environment;
    if (LLM_PROXY_URL) return {};
    const settings: Record<string, string> = {};
    const real = [];
    if (ANTHROPIC_API_KEY) real.push("Anthropic");
    if (OPENAI_API_KEY) real.push("OpenAI");
    if (ANTHROPIC_API_KEY) Object.assign(settings, { ANTHROPIC_API_KEY, ...(ANTHROPIC_API_BASE ? { ANTHROPIC_API_BASE } : {}) });
    if (OPENAI_API_KEY) Object.assign(settings, { OPENAI_API_KEY, ...(OPENAI_API_BASE ? { OPENAI_API_BASE } : {}) });
    if (real.length > 0) this.#screen.part("provider", `${real.join(" and ")}, with your key`);
    if (real.length === 2) return settings;
    const ports = await this.#startChild("provider", "packages/testing/src/provider-stand-in/main.ts", {
      PROVIDER_STAND_IN_API_KEY: STAND_IN_PROVIDER_KEY,
    });
    const url = `http://127.0.0.1:${ports["provider"]}`;
    if (!ANTHROPIC_API_KEY) Object.assign(settings, { ANTHROPIC_API_KEY: STAND_IN_PROVIDER_KEY, ANTHROPIC_API_BASE: url });
    if (!OPENAI_API_KEY) Object.assign(settings, { OPENAI_API_KEY: STAND_IN_PROVIDER_KEY, OPENAI_API_BASE: `${url}/v1` });
    const played = [!ANTHROPIC_API_KEY && "ANTHROPIC_API_KEY", !OPENAI_API_KEY && "OPENAI_API_KEY"].filter(Boolean).join(", ");
    this.#screen.part("provider", `local provider at ${url} (unset: ${played})`, "stand-in");
    return settings;
  }

  async #startAutumn(): Promise<Stack["autumn"]> {
    const { AUTUMN_API_KEY, AUTUMN_API_URL } = this.#environment;
    if (AUTUMN_API_KEY) {
      this.#screen.part("autumn", AUTUMN_API_URL ?? "Autumn, with your key");
      return { apiKey: AUTUMN_API_KEY, url: AUTUMN_API_URL, isStandIn: false };
    }
    const ports = await this.#startChild("autumn", "packages/testing/src/autumn-emulator/main.ts", {
      AUTUMN_EMULATOR_SECRET_KEY: STAND_IN_AUTUMN_KEY,
      AUTUMN_EMULATOR_STATE_FILE: this.#state.file("autumn.jsonl"),
      AUTUMN_EMULATOR_CUSTOMERS: `${this.#environment.DEV_ORG_ID}=10000`,
      AUTUMN_EMULATOR_NEW_CUSTOMER_CREDITS: "10000",
    });
    const url = `http://127.0.0.1:${ports["autumn"]}`;
    this.#screen.part(
      "autumn",
      `local Autumn emulator at ${url} (unset: AUTUMN_API_KEY); each new organization is granted 10000 credits`,
      "stand-in",
    );
    return { apiKey: STAND_IN_AUTUMN_KEY, url, isStandIn: true };
  }

  /** Returns the LLM_PROXY_* settings of whoever mints keys. */
  async #startProxy(database: Record<string, string>, provider: Record<string, string>): Promise<Record<string, string>> {
    const {
      LLM_PROXY_URL,
      LLM_PROXY_ADMIN_URL,
      LLM_PROXY_MASTER_KEY,
      LLM_PROXY_PORT,
      LLM_PROXY_ADMIN_PORT,
      LLM_PROXY_MANAGEMENT,
      REDIS_URL,
    } = this.#environment;
    if (LLM_PROXY_URL) {
      this.#screen.part("llm-proxy", `${LLM_PROXY_URL} (LLM_PROXY_URL)`);
      return {
        LLM_PROXY_URL,
        LLM_PROXY_PUBLIC_URL: LLM_PROXY_URL,
        LLM_PROXY_MASTER_KEY: LLM_PROXY_MASTER_KEY ?? "",
        ...(LLM_PROXY_ADMIN_URL ? { LLM_PROXY_ADMIN_URL } : {}),
      };
    }
    const { masterKey } = this.#state.secrets;
    const ports = await this.#startChild("llm-proxy", "apps/llm-proxy/src/main.ts", {
      ...database,
      ...provider,
      LITELLM_MASTER_KEY: masterKey,
      LLM_PROXY_PORT: String(LLM_PROXY_PORT),
      LLM_PROXY_ADMIN_PORT: String(LLM_PROXY_ADMIN_PORT),
      LLM_PROXY_MANAGEMENT: LLM_PROXY_MANAGEMENT ?? "separate",
      ...(REDIS_URL ? { REDIS_URL } : {}),
      // Ctrl-C ends the stack within 5 s; what a deployment would wait for is cut here.
      DRAIN_MS: "500",
    });
    const [dataPlane, management] = [`http://127.0.0.1:${ports["dataPlane"]}`, `http://127.0.0.1:${ports["management"]}`];
    this.#screen.part("llm-proxy", `our engine: data plane ${dataPlane}, management ${management}`);
    this.#tunnel = await openTunnel(this.#environment.NGROK_AUTHTOKEN, dataPlane);
    if (this.#tunnel) this.#screen.part("tunnel", `${this.#tunnel.url} → data plane only`);
    return {
      LLM_PROXY_URL: dataPlane,
      LLM_PROXY_ADMIN_URL: management,
      LLM_PROXY_PUBLIC_URL: this.#tunnel?.url ?? dataPlane,
      LLM_PROXY_MASTER_KEY: masterKey,
    };
  }

  async #startGateway(
    database: Record<string, string>,
    services: Record<string, string>,
    opencode: string | undefined,
  ): Promise<{ gatewayUrl: string; gatewayToken: string }> {
    const { gatewayToken } = this.#state.secrets;
    const { BILLING_GATE = "enforce", GATEWAY_PORT, LLM_PROXY_URL, LLM_PROXY_ENGINE = "litellm" } = this.#environment;
    const local = { rootFolder: this.#state.file("sandboxes"), path: process.env["PATH"] ?? "" };
    const opencodeCommand = opencode === undefined ? undefined : agentCommand(opencode);
    const ports = await this.#startChild("gateway", "apps/gateway/src/main.ts", {
      ...database,
      ...services,
      BILLING_GATE,
      LLM_PROXY_ENGINE: LLM_PROXY_URL ? LLM_PROXY_ENGINE : "ours",
      GATEWAY_API_TOKEN: gatewayToken,
      GATEWAY_PORT: String(GATEWAY_PORT),
      SANDBOX_LAUNCHERS: "local",
      SANDBOX_ROOT_FOLDER: local.rootFolder,
      SANDBOX_PATH: local.path,
      // Its list of models would be fetched from the network; it is told every model that it may use.
      ...(opencodeCommand && { OPENCODE_COMMAND: JSON.stringify(opencodeCommand) }),
    });
    const gatewayUrl = `http://127.0.0.1:${ports["gateway"]}`;
    this.#screen.part("gateway", `${gatewayUrl} (API: ${gatewayUrl}/openapi.json)`);
    const sandboxes = createLocalSandboxProvider({ ...local, command: opencodeCommand ?? ["opencode"] });
    this.#screen.part("sandboxes", `local: ${describeSandboxUser(await sandboxes.sandboxUser())}`);
    return { gatewayUrl, gatewayToken };
  }

  async #startWorker(database: Record<string, string>, services: Record<string, string>): Promise<void> {
    const { REDIS_URL, WORKER_PORT } = this.#environment;
    const ports = await this.#startChild("worker", "apps/worker/src/main.ts", {
      ...database,
      ...services,
      ...(REDIS_URL ? { REDIS_URL } : {}),
      WORKER_PORT: String(WORKER_PORT),
      LLM_SYNC_INTERVAL_MS: String(SYNC_INTERVAL_MS),
      OUTBOX_INTERVAL_MS: String(OUTBOX_INTERVAL_MS),
      GATE_INTERVAL_MS: String(SYNC_INTERVAL_MS),
      BALANCE_INTERVAL_MS: String(SYNC_INTERVAL_MS),
    });
    const queue = REDIS_URL ? "queue on Redis" : "queue in PostgreSQL";
    this.#screen.part(
      "worker",
      `http://127.0.0.1:${ports["worker"]}/status (${queue}; sync every ${SYNC_INTERVAL_MS / 1_000} s, outbox every ${OUTBOX_INTERVAL_MS / 1_000} s here)`,
    );
  }

  /** Returns the ports that the process listens on. Starts nothing once stopping has begun. */
  async #startChild(name: string, entry: string, environment: Record<string, string>): Promise<Readonly<Record<string, number>>> {
    if (this.#stopping) throw new Error("the stack is stopping");
    const child = spawnChild({ name, entry: `${REPOSITORY}${entry}`, environment, logFile: this.#state.file(`logs/${name}.log`) });
    this.#children.push(child);
    return child.ready;
  }
}
