import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type DatabaseClient, migrate, openDatabase } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { sql } from "kysely";
import { manage, mintKey, type ProxyProcess, startProxyProcess } from "../../../apps/llm-proxy/test/proxy-process.ts";
import { makeTemporaryFolder } from "../../temporary-folder.ts";
import { runBenchmark } from "../command.ts";
import { describeMachine, median, whole } from "../figures.ts";
import { cpuSeconds, cpuSecondsOfFamily, parentPid, peakMemoryMb } from "../process-stats.ts";
import { type LoadResult, putUnderLoad, type Target } from "./load.ts";
import { CASES, type CaseFigures, describeFigures, type ProxyFigures } from "./report.ts";

const HELP = `Measures the LLM proxy against two references in the same run: the provider's stand-in asked directly, and a proxy in Node
that only passes bytes on. Interleaved rounds, medians; load generator, proxy, provider and PostgreSQL share this machine.

  ./scripts/bench-proxy.sh                        about a minute
  ./scripts/bench-proxy.sh --requests 3000 --rounds 3
  ./scripts/bench-proxy.sh --json                 figures as one line of JSON
  ./scripts/bench-proxy.sh --write                replaces the section in docs/benchmarks.md
`;
const ORGS = 32;

interface Options {
  readonly requests: number;
  readonly rounds: number;
  readonly say: (line: string) => void;
}

async function startChild(file: string, ...options: string[]): Promise<[ChildProcess, string]> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), options, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const [{ port }] = (await once(child, "message")) as [{ port: number }];
  return [child, `http://127.0.0.1:${port}`];
}

/** A key in each of `ORGS` teams, all with budgets, as sessions have them. */
async function mintKeys(proxy: ProxyProcess): Promise<string[]> {
  const keys: string[] = [];
  for (let index = 0; index < ORGS; index += 1) {
    const team = `org_${index}`;
    await manage(proxy, "/team/new", { team_id: team, max_budget: 1_000_000 });
    keys.push((await mintKey(proxy, { team_id: team, user_id: `session_${index}`, max_budget: 1_000_000, duration: "1h" })).key);
  }
  return keys;
}

/** The parent of the server process that serves us. */
async function readPostmasterPid(db: DatabaseClient): Promise<number | undefined> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db);
  return parentPid(rows[0]?.pid);
}

const middle = (results: readonly LoadResult[]): LoadResult => ({
  requestsPerSecond: median(results.map((result) => result.requestsPerSecond)),
  medianMs: median(results.map((result) => result.medianMs)),
  p99Ms: median(results.map((result) => result.p99Ms)),
  firstByteMs: median(results.map((result) => result.firstByteMs)),
});

interface Targets {
  readonly direct: Target;
  readonly relay: Target;
  readonly proxy: Target;
}

/** What the proxy and its database have computed so far, in seconds. */
type ReadCpu = () => Promise<{ readonly proxy: number; readonly database: number }>;

async function measureCase(
  benchCase: (typeof CASES)[number],
  targets: Targets,
  readCpu: ReadCpu,
  { requests, rounds }: Options,
): Promise<CaseFigures> {
  const { name, isStreamed, connections, isOneOrg } = benchCase;
  const load = { requests: connections === 1 ? Math.ceil(requests / 5) : requests, connections, isStreamed };
  const proxy = isOneOrg ? { ...targets.proxy, keys: targets.proxy.keys.slice(0, 1) } : targets.proxy;
  const results = { direct: [] as LoadResult[], relay: [] as LoadResult[], proxy: [] as LoadResult[] };
  const cpuMs = { proxy: [] as number[], database: [] as number[] };
  // The first round of each warms up.
  for (let round = 0; round <= rounds; round += 1) {
    const direct = await putUnderLoad(targets.direct, load);
    const relay = await putUnderLoad(targets.relay, load);
    const before = await readCpu();
    const result = await putUnderLoad(proxy, load);
    const after = await readCpu();
    if (round === 0) continue;
    results.direct.push(direct);
    results.relay.push(relay);
    results.proxy.push(result);
    for (const part of ["proxy", "database"] as const) cpuMs[part].push(((after[part] - before[part]) * 1_000) / load.requests);
  }
  return {
    name,
    direct: middle(results.direct),
    relay: middle(results.relay),
    proxy: middle(results.proxy),
    proxyCpuMs: median(cpuMs.proxy),
    databaseCpuMs: median(cpuMs.database),
  };
}

async function measure(options: Options): Promise<ProxyFigures> {
  const postgres = await startEmbeddedPostgres({ dataFolder: join(await makeTemporaryFolder("bench-proxy"), "postgres") });
  const { connectionString } = postgres;
  await migrate({ connectionString });
  const [provider, providerUrl] = await startChild("provider-process.ts");
  const [relay, relayUrl] = await startChild("relay-process.ts", new URL(providerUrl).port);
  const proxy = await startProxyProcess({ connectionString, providerUrl });
  const db = openDatabase({ connectionString });
  try {
    const keys = await mintKeys(proxy);
    const anyKey = ["sk-any"];
    const targets = { direct: { url: providerUrl, keys: anyKey }, relay: { url: relayUrl, keys: anyKey }, proxy: { url: proxy.url, keys } };
    const postmaster = await readPostmasterPid(db);
    const readCpu: ReadCpu = async () => ({ proxy: await cpuSeconds(proxy.child.pid), database: await cpuSecondsOfFamily(postmaster) });
    const cases: CaseFigures[] = [];
    for (const benchCase of CASES) {
      const figures = await measureCase(benchCase, targets, readCpu, options);
      options.say(
        `${figures.name}: direct ${whole(figures.direct.requestsPerSecond)}, relay ${whole(figures.relay.requestsPerSecond)}, proxy ${whole(figures.proxy.requestsPerSecond)} requests/s; CPU ${figures.proxyCpuMs.toFixed(2)} + ${figures.databaseCpuMs.toFixed(2)} ms`,
      );
      cases.push(figures);
    }
    const left = await db.selectFrom("request_attempts").select("attempt_id").execute();
    if (left.length > 0) throw new Error(`${left.length} requests are not settled`);
    return {
      machine: describeMachine(),
      date: new Date().toISOString().slice(0, 10),
      ...options,
      orgs: ORGS,
      cases,
      proxyMemoryMb: await peakMemoryMb(proxy.child.pid),
    };
  } finally {
    await db.destroy();
    await proxy.stop();
    for (const child of [provider, relay]) child.kill("SIGTERM");
    await postgres.stop();
  }
}

process.exitCode = await runBenchmark({
  help: HELP,
  counts: { requests: 2_000, rounds: 3 },
  measure: (counts, say) => measure({ ...counts, say }),
  describe: describeFigures,
  section: ({ requests, rounds }) => ({
    name: "proxy",
    title: "LLM proxy",
    command: `./scripts/bench-proxy.sh --requests ${requests} --rounds ${rounds} --write`,
  }),
});
