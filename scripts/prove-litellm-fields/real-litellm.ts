import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import type { LitellmInstallation } from "./installation.ts";

const CONFIG = fileURLToPath(new URL("../../apps/llm-proxy/litellm/config.yaml", import.meta.url));
const START_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 10_000;

interface LitellmOptions {
  readonly installation: LitellmInstallation;
  /** An empty database of its own. */
  readonly connectionString: string;
  /** Serves every model; without `/v1`. */
  readonly providerUrl: string;
  /** Written anew. */
  readonly logFile: string;
}

/** A real LiteLLM that listens on the loopback. */
export interface RealLitellm {
  readonly url: string;
  readonly masterKey: string;
  /** Ends it and its query engine. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts one process of LiteLLM with the models of this product's config.yaml, on a database that gets LiteLLM's own migrations.
 * Resolves when it is ready; rejects with the last lines of its log when it ends before, or is not ready after five minutes.
 */
export async function startLitellm(options: LitellmOptions): Promise<RealLitellm> {
  await migrateAsLitellm(options.connectionString, options.installation.migrationsFolder);
  const port = await freePort();
  const masterKey = `sk-${randomBytes(16).toString("hex")}`;
  const log = openSync(options.logFile, "w");
  const child = spawn(options.installation.program, ["--config", CONFIG, "--host", "127.0.0.1", "--port", String(port)], {
    // A group of its own, which the query engine is in.
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...environmentOf(options), LITELLM_MASTER_KEY: masterKey },
  });
  closeSync(log);
  const exited = once(child, "exit");
  const endGroup = (): void => {
    try {
      process.kill(-(child.pid ?? 0), "SIGKILL");
    } catch {
      // Nobody of it is left.
    }
  };
  process.once("exit", endGroup);
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await Promise.race([exited, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    endGroup();
    process.removeListener("exit", endGroup);
  };
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilReady(url, exited);
  } catch (error) {
    await stop();
    const lines = (await readFile(options.logFile, "utf8")).trim().split("\n").slice(-20).join("\n");
    throw new Error(`LiteLLM did not start: ${(error as Error).message}\n${lines}`, { cause: error });
  }
  return { url, masterKey, stop };
}

/** Nothing of ours but what it needs, so that no key of the machine reaches it. */
function environmentOf({ installation, connectionString, providerUrl }: LitellmOptions): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: process.env["HOME"] ?? "",
    ...installation.environment,
    DATABASE_URL: connectionString,
    // Its own way to migrate needs the schema engine, which is a binary too.
    DISABLE_SCHEMA_UPDATE: "true",
    LITELLM_LOCAL_MODEL_COST_MAP: "True",
    LITELLM_TELEMETRY: "False",
    LITELLM_SALT_KEY: "sk-salt-of-the-proof",
    PROXY_BATCH_WRITE_AT: "1",
    ANTHROPIC_API_KEY: "sk-provider-key-of-the-proof",
    OPENAI_API_KEY: "sk-provider-key-of-the-proof",
    ANTHROPIC_API_BASE: providerUrl,
    OPENAI_API_BASE: `${providerUrl}/v1`,
  };
}

/** All migrations that LiteLLM's release has, in order. */
async function migrateAsLitellm(connectionString: string, folder: string): Promise<void> {
  const names = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    for (const name of names.toSorted()) {
      const statements = await readFile(join(folder, name, "migration.sql"), "utf8").catch(() => undefined);
      if (statements !== undefined) await client.query(statements);
    }
  } finally {
    await client.end();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

async function untilReady(url: string, exited: Promise<unknown>): Promise<void> {
  let ended = false;
  void exited.then(() => (ended = true));
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const answer = await fetch(`${url}/health/readiness`).catch(() => undefined);
    if (answer?.ok) return;
    if (ended) throw new Error("it ended");
    if (performance.now() > deadline) throw new Error(`it was not ready after ${START_TIMEOUT_MS / 1_000} s`);
    await delay(500);
  }
}
