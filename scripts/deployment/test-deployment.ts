import { mkdtemp, readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { DatabaseClient } from "@proliferate/db";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { type Child, spawnChild } from "../dev-stack/child-process.ts";
import { patience } from "@proliferate/testing/test-patience";

export const TOKEN = "token-of-the-deployment-tests";
const METRICS_TOKEN = "metrics-token-of-the-deployment-tests";
const MASTER_KEY = "sk-master-of-the-deployment-tests";
const REPOSITORY = new URL("../../", import.meta.url);

interface TestDeploymentOptions {
  /** What every process is told of the database. */
  readonly databaseEnvironment: Readonly<Record<string, string>>;
  /** The same database as the test itself sees it. */
  readonly db: DatabaseClient;
  /** Whose code runs. Default: this repository. */
  readonly root?: URL;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Proxy, gateway and worker as processes of their own, before a provider and an Autumn that stand in. */
export interface TestDeployment {
  readonly gateway: string;
  /** Undefined where one listener of the gateway serves all. */
  readonly operators: string | undefined;
  readonly worker: string;
  readonly proxy: string;
  readonly management: string;
  readonly provider: ProviderStandIn;
  readonly autumn: AutumnEmulator;
  /** A session, one request with its key, and its credits at Autumn; resolves when the sum has arrived there. */
  followOneRequest(sessionId: string): Promise<void>;
  /** What all processes wrote. */
  logs(): Promise<string>;
  stop(): Promise<void>;
}

export async function startTestDeployment(options: TestDeploymentOptions): Promise<TestDeployment> {
  const folder = await mkdtemp("/var/tmp/llm-gateway-deployment-");
  const children: Child[] = [];
  const [provider, autumn] = await Promise.all([startProviderStandIn(), startAutumnEmulator({ newCustomerCredits: "10000" })]);
  const stop = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.stop()));
    await Promise.all([provider.stop(), autumn.stop()]);
    await rm(folder, { recursive: true, force: true });
  };
  const start = async (name: string, environment: Readonly<Record<string, string>>): Promise<Readonly<Record<string, number>>> => {
    const entry = fileURLToPath(new URL(`apps/${name}/src/main.ts`, options.root ?? REPOSITORY));
    const child = spawnChild({
      name,
      entry,
      environment: { METRICS_TOKEN, ...options.databaseEnvironment, ...environment, ...options.environment },
      logFile: `${folder}/${name}.log`,
    });
    children.push(child);
    return child.ready;
  };
  try {
    const urls = await startProcesses(start, provider, autumn);
    return {
      ...urls,
      provider,
      autumn,
      followOneRequest: (sessionId) => followOneRequest(urls.gateway, options.db, sessionId),
      logs: async () => (await Promise.all(children.map(({ name }) => readFile(`${folder}/${name}.log`, "utf8")))).join(""),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Start = (name: string, environment: Readonly<Record<string, string>>) => Promise<Readonly<Record<string, number>>>;

async function startProcesses(
  start: Start,
  provider: ProviderStandIn,
  autumn: AutumnEmulator,
): Promise<Pick<TestDeployment, "gateway" | "operators" | "worker" | "proxy" | "management">> {
  const keys = {
    ANTHROPIC_API_KEY: "provider-key",
    ANTHROPIC_API_BASE: provider.url,
    OPENAI_API_KEY: "provider-key",
    OPENAI_API_BASE: `${provider.url}/v1`,
  };
  const proxy = await start("llm-proxy", { ...keys, LITELLM_MASTER_KEY: MASTER_KEY, LLM_PROXY_PORT: "0", LLM_PROXY_ADMIN_PORT: "0" });
  const proxyUrls = {
    LLM_PROXY_URL: `http://127.0.0.1:${proxy["dataPlane"]}`,
    LLM_PROXY_ADMIN_URL: `http://127.0.0.1:${proxy["management"]}`,
    LLM_PROXY_MASTER_KEY: MASTER_KEY,
  };
  const settings = {
    AUTUMN_API_KEY: "am_sk_test_of_the_test",
    AUTUMN_API_URL: autumn.url,
    BILLING_WEBHOOK_URL: "http://127.0.0.1:1/",
    BILLING_WEBHOOK_SECRET: "secret-of-the-webhook",
  };
  const intervals = {
    LLM_SYNC_INTERVAL_MS: "300",
    OUTBOX_INTERVAL_MS: "300",
    GATE_INTERVAL_MS: "300",
    BALANCE_INTERVAL_MS: "300",
    RECONCILE_INTERVAL_MS: "300",
  };
  const [gateway, worker] = await Promise.all([
    start("gateway", { ...proxyUrls, GATEWAY_PORT: "0", GATEWAY_API_TOKEN: TOKEN, BILLING_GATE: "enforce" }),
    start("worker", { ...proxyUrls, ...settings, ...intervals, WORKER_PORT: "0" }),
  ]);
  return {
    gateway: `http://127.0.0.1:${gateway["gateway"]}`,
    operators: gateway["operators"] === undefined ? undefined : `http://127.0.0.1:${gateway["operators"]}`,
    worker: `http://127.0.0.1:${worker["worker"]}`,
    proxy: proxyUrls.LLM_PROXY_URL,
    management: proxyUrls.LLM_PROXY_ADMIN_URL,
  };
}

async function followOneRequest(gateway: string, db: DatabaseClient, sessionId: string): Promise<void> {
  const orgId = `org_of_${sessionId}`;
  const session = await post(
    `${gateway}/v1/sessions`,
    { authorization: `Bearer ${TOKEN}` },
    { session_id: sessionId, org_id: orgId, model: "claude-sonnet-5", max_budget_usd: "5", duration: "1h" },
  );
  const messages = [{ role: "user", content: "Say hello." }];
  await post(
    `${String(session["base_url"]).replace(/\/v1$/, "")}/v1/messages`,
    { "x-api-key": String(session["api_key"]), "anthropic-version": "2023-06-01" },
    { model: "claude-sonnet-5", max_tokens: 64, messages },
  );
  await waitUntil(`the credits of ${orgId} are delivered`, async () => {
    const delivered = await db
      .selectFrom("settlement_batches")
      .select("batch_id")
      .where("org_id", "=", orgId)
      .where("state", "=", "delivered")
      .execute();
    return delivered.length > 0;
  });
}

async function post(url: string, headers: Readonly<Record<string, string>>, body: object): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}

/** Looks every 50 ms; throws after a minute of the reference machine. */
export async function waitUntil(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patience(60_000);
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`not so in time: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
