import { connectSession, type DatabaseClient, openDatabase } from "@proliferate/db";
import { CLOCKED_SEARCH_PATH, installTestClock } from "@proliferate/db/test/test-clock";
import type pg from "pg";

/** Processes that a schedule may have, and connections of each. */
const PROCESSES = 3;
const CONNECTIONS = 3;
/** Of each of our two proxies: two things at once, of which one may be a recovery. */
const PROXY_CONNECTIONS = 4;
/** Open transactions of writers. */
const TRANSACTIONS = 3;

/** Everything of a database that seeds share: connections are opened once, tables are emptied before each seed. */
export interface SimulationDatabase {
  /** Of each simulated process. */
  readonly pools: readonly (readonly pg.Client[])[];
  /** Of the engines that write spend rows. */
  readonly writers: readonly pg.Client[];
  /** What our two proxies work on, and the session by which each lives; the clock of these is the schedule's. */
  readonly proxies: readonly { readonly clients: readonly pg.Client[]; readonly life: pg.Client }[];
  /** For what stands before a schedule begins. */
  readonly db: DatabaseClient;
  /** Looks on; never holds a lock. */
  readonly observer: pg.Client;
  /** Makes it as it was after the migrations. */
  empty(): Promise<void>;
  close(): Promise<void>;
}

/** Opens a migrated database that nobody else uses. Its user must be allowed to bypass triggers (the embedded one is). */
export async function openSimulationDatabase(connectionString: string): Promise<SimulationDatabase> {
  const clients: pg.Client[] = [];
  const open = async (): Promise<pg.Client> => {
    const client = await connectSession({ connectionString, applicationName: "simulation" });
    clients.push(client);
    return client;
  };
  const openAll = (count: number): Promise<pg.Client[]> => Promise.all(Array.from({ length: count }, open));
  const pools = await Promise.all(Array.from({ length: PROCESSES }, () => openAll(CONNECTIONS)));
  const db = openDatabase({ connectionString, applicationName: "simulation", maxConnections: 1 });
  await installTestClock(db);
  const openClocked = async (): Promise<pg.Client> => {
    const client = await open();
    await client.query(`set search_path = ${CLOCKED_SEARCH_PATH}`);
    return client;
  };
  const openProxy = async () => ({
    clients: await Promise.all(Array.from({ length: PROXY_CONNECTIONS }, openClocked)),
    life: await openClocked(),
  });
  const proxies = [await openProxy(), await openProxy()];
  const writers = await openAll(TRANSACTIONS + 1);
  const observer = await open();
  const emptyStatement = `set session_replication_role = replica; ${(await readVolatileTables(observer)).map((table) => `delete from ${table};`).join(" ")}
    insert into billing_deployment (deployment_id) values ('00000000-0000-4000-8000-000000000001') on conflict do nothing; set session_replication_role = default;`;
  let seeds = 0;
  return {
    pools,
    writers,
    proxies,
    db,
    observer,
    empty: async () => {
      await observer.query(emptyStatement);
      seeds += 1;
      if (seeds % 50 === 0) await observer.query("vacuum");
    },
    close: async () => {
      await db.destroy();
      await Promise.all(clients.map((client) => client.end()));
    },
  };
}

/** Tables that hold nothing after the migrations; what these put in is kept. */
async function readVolatileTables(observer: pg.Client): Promise<readonly string[]> {
  const { rows } = await observer.query<{ name: string }>(`
    select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(current_schemas(false)) and c.relkind in ('r', 'p') and not c.relispartition order by 1`);
  const volatile: string[] = [];
  for (const { name } of rows) {
    const { rowCount } = await observer.query(`select from ${name} limit 1`);
    if (rowCount === 0 || name.endsWith(".billing_deployment")) volatile.push(name);
  }
  return volatile;
}

/** Orgs $1 were read at Autumn at $3, and had $2 credits. */
export const FIRST_READING = `with account as (insert into billing_accounts (org_id, balance_credits) select org_id, $2::numeric from unnest($1::text[]) org_id)
  insert into org_gates (org_id, state, remote_granted_credits, reconciled_at) select org_id, 'active', $2::numeric, $3::timestamptz from unnest($1::text[]) org_id`;

/** Events that follow from the source exactly. Of a request that was adjusted, the audit can only tell that it is gone. */
export const RESTORABLE_EVENTS = `select e.event_id from billing_events e join billing_event_keys k on k.idempotency_key = 'llm:' || e.request_id
  where (e.event_type = 'llm' and k.adjustment_count = 0)
    or (e.event_type = 'adjustment' and k.adjustment_count = 1 and not exists (select from spend_reviews r where r.review_key = 'cut:' || e.request_id || ':correction'))
  order by e.event_id`;

export interface OpenFinding {
  readonly batch_id: string;
  readonly org_id: string;
  readonly counts_as_taken: boolean;
  /** No comparison of the org found nothing amiss yet: its balances at the sink were never noted. */
  readonly is_never_noted: boolean;
  readonly expected: string;
}

/** What comparisons left to a person. */
export const OPEN_FINDINGS = `select f.batch_id, f.org_id, b.state in ('delivered', 'shortfall', 'unapplied') as counts_as_taken, trim_scale(f.expected_credits)::text as expected,
    not exists (select 1 from delivery_baselines d where d.org_id = f.org_id) as is_never_noted
  from delivery_findings f join settlement_batches b using (batch_id) where f.resolved_at is null and f.kind = 'unresolved' order by f.org_id, b.sequence`;
