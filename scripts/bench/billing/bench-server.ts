import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectSession, type DatabaseClient, migrate, openDatabase } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { createAutumnSink, type SettlementSink } from "@proliferate/services/sinks";
import pg from "pg";
import { makeTemporaryFolder } from "../../temporary-folder.ts";

/** A migrated database of the benchmark, opened twice: as the product opens it, and bare. */
export interface BenchDatabase {
  readonly db: DatabaseClient;
  readonly client: pg.Client;
  readonly connectionString: string;
}

/** A durable PostgreSQL of its own and Autumn's emulator in its own process, both gone with the run. */
interface BenchServer {
  createDatabase(name: string): Promise<BenchDatabase>;
  readonly autumnUrl: string;
  readonly sink: SettlementSink;
  stop(): Promise<void>;
}

export const AUTUMN_KEY = "am_sk_test_bench";

export async function startBenchServer(orgs: readonly string[]): Promise<BenchServer> {
  const folder = await makeTemporaryFolder("bench");
  const postgres = await startEmbeddedPostgres({ dataFolder: join(folder, "postgres") });
  const [emulator, autumnUrl] = await startEmulator(orgs);
  const opened: BenchDatabase[] = [];
  return {
    autumnUrl,
    sink: createAutumnSink({ secretKey: AUTUMN_KEY, serverUrl: autumnUrl, apiVersion: "2.3.0", featureId: "credits" }),
    createDatabase: async (name) => {
      const url = new URL(postgres.connectionString);
      const admin = new pg.Client({ connectionString: postgres.connectionString });
      await admin.connect();
      await admin.query(`create database ${name}`);
      await admin.end();
      url.pathname = `/${name}`;
      const connectionString = url.toString();
      await migrate({ connectionString });
      const client = await connectSession({ connectionString, applicationName: "bench" });
      const database = { db: openDatabase({ connectionString }), client, connectionString };
      opened.push(database);
      return database;
    },
    stop: async () => {
      await Promise.all(opened.flatMap(({ db, client }) => [db.destroy(), client.end()]));
      emulator.kill("SIGTERM");
      await postgres.stop();
    },
  };
}

async function startEmulator(orgs: readonly string[]): Promise<[ChildProcess, string]> {
  const entry = fileURLToPath(new URL("../../../packages/testing/src/autumn-emulator/main.ts", import.meta.url));
  const child = fork(entry, {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { AUTUMN_EMULATOR_SECRET_KEY: AUTUMN_KEY, AUTUMN_EMULATOR_CUSTOMERS: orgs.map((org) => `${org}=1000000000`).join(",") },
  });
  const [message] = (await once(child, "message")) as [{ ports?: { autumn: number } }];
  if (!message.ports) throw new Error("the Autumn emulator did not start");
  return [child, `http://127.0.0.1:${message.ports.autumn}`];
}
