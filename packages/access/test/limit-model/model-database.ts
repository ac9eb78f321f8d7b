import { connectSession, type DatabaseClient } from "@proliferate/db";
import type { TestDatabase } from "@proliferate/db/test-database";
import { CLOCKED_SEARCH_PATH, installTestClock } from "@proliferate/db/test/test-clock";
import { writePayer } from "../../src/principals/index.ts";
import type { Session } from "./facts.ts";

/** Connections of each proxy: two operations at once, of which each takes one, and a recovery two. */
const CONNECTIONS = 4;

const EMPTY = `
  delete from request_attempts; delete from limits; delete from limit_counters; delete from "LiteLLM_SpendLogs"; delete from "LiteLLM_VerificationToken";
  delete from key_hashes; delete from "LiteLLM_DeprecatedVerificationToken";
  update "LiteLLM_TeamTable" set spend = 0, max_budget = null`;

/** A database that plans are played on, one after the other. */
export interface ModelDatabase {
  readonly db: DatabaseClient;
  /** Of each of the two proxies: what it works on, and the session by which it lives. */
  readonly proxies: readonly { readonly clients: readonly Session[]; readonly life: Session }[];
  /** Looks on; never holds a lock. */
  readonly observer: Session;
  /** Nothing is left but that one team pays for two. */
  empty(): Promise<void>;
  close(): Promise<void>;
}

export async function openModelDatabase({ connectionString, db }: TestDatabase): Promise<ModelDatabase> {
  await installTestClock(db);
  const clients: Session[] = [];
  const open = async (): Promise<Session> => {
    const client = await connectSession({ connectionString, applicationName: "limit model" });
    clients.push(client);
    await client.query(`set search_path = ${CLOCKED_SEARCH_PATH}`);
    return client;
  };
  const openProxy = async () => ({ clients: await Promise.all(Array.from({ length: CONNECTIONS }, open)), life: await open() });
  await writePayer(db, "org_b", "org_a");
  const proxies = [await openProxy(), await openProxy()];
  const observer = await open();
  return {
    db,
    proxies,
    observer,
    empty: async () => void (await observer.query(EMPTY)),
    close: async () => void (await Promise.all(clients.map((client) => client.end()))),
  };
}
