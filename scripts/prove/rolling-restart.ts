import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type DatabaseClient, migrate, openDatabase } from "@proliferate/db";
import { startEmbeddedPostgres } from "@proliferate/db/embedded";
import { findListedModel, priceUsage } from "@proliferate/metering/pricing";
import { addDecimals, compareDecimals, decimalFromPicoUsd } from "@proliferate/shared/money";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "../../apps/llm-proxy/test/proxy-process.ts";
import { runScript, wholeNumber } from "../command-line.ts";
import { makeTemporaryFolder } from "../temporary-folder.ts";

const HELP = `Proves that an upgrade of the LLM proxies cuts nobody, and that a killed one loses no row.

Two proxies on one database serve streams of two seconds to callers that take whichever proxy listens. Then, under that load:
each is restarted in turn, as an orchestrator does it (SIGTERM, and its successor on the same port at once); then one is killed (SIGKILL).

  ./scripts/prove-rolling-restart.sh                       about a minute
  ./scripts/prove-rolling-restart.sh --callers 40 --rounds 3

Exit status: 0 all of it holds; 1 a stream broke in a restart, a row is missing, doubled or not exact, or something stays reserved; 2 wrong options.
`;
const MODEL = "claude-haiku-4-5";
const FRAME_GAP_MS = 100;

interface Settings {
  readonly callers: number;
  readonly rounds: number;
}

/** One of the two: a port that outlives its process. */
class Seat {
  readonly #start: (environment: Readonly<Record<string, string>>) => Promise<ProxyProcess>;
  #proxy: ProxyProcess | undefined;

  constructor(start: (environment: Readonly<Record<string, string>>) => Promise<ProxyProcess>) {
    this.#start = start;
  }

  get proxy(): ProxyProcess {
    if (!this.#proxy) throw new Error("nobody has taken this seat");
    return this.#proxy;
  }

  async take(): Promise<void> {
    const port = this.#proxy ? new URL(this.#proxy.url).port : "0";
    this.#proxy = await this.#start({ LLM_PROXY_PORT: port, DRAIN_MS: "60000" });
  }

  /** The old one drains while the new one serves. Resolves with the old one's exit status. */
  async replace(): Promise<number | null> {
    const stopped = this.proxy.stop();
    await this.take();
    return stopped;
  }

  async kill(): Promise<void> {
    await this.proxy.kill();
    await this.take();
  }
}

interface Tally {
  whole: number;
  broken: number;
  /** Connections that ended before an answer had begun; the caller asks again, as SDKs do. */
  lost: number;
  /** Provider ids of the answers whose end a caller saw. */
  readonly seen: Set<string>;
}

/** Asks until it is told to stop; a proxy that does not listen is left for the other, as a load balancer does it. */
async function call(seats: readonly Seat[], key: string, first: number, tally: Tally, signal: AbortSignal): Promise<void> {
  for (let turn = first; !signal.aborted; turn += 1) {
    const seat = seats[turn % seats.length];
    if (!seat) return;
    let response: Response;
    try {
      response = await fetch(`${seat.proxy.url}/v1/messages`, {
        method: "POST",
        headers: { "x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01" },
        body: JSON.stringify({ model: MODEL, max_tokens: 200, stream: true, messages: [{ role: "user", content: "Say something." }] }),
      });
    } catch (error) {
      const { code } = (error as { cause?: { code?: string } }).cause ?? {};
      if (code !== "ECONNREFUSED") tally.lost += 1;
      await delay(20);
      continue;
    }
    const text = await response.text().catch(() => "");
    const isWhole = response.status === 200 && text.includes("message_stop");
    tally[isWhole ? "whole" : "broken"] += 1;
    const id = /"id":"(msg_\w+)"/.exec(text)?.[1];
    if (isWhole && id) tally.seen.add(id);
  }
}

async function underLoad(seats: readonly Seat[], key: string, callers: number, work: () => Promise<void>): Promise<Tally> {
  const tally: Tally = { whole: 0, broken: 0, lost: 0, seen: new Set() };
  const over = new AbortController();
  const load = Array.from({ length: callers }, (_, index) => call(seats, key, index, tally, over.signal));
  await work();
  over.abort();
  await Promise.all(load);
  return tally;
}

/** What is not as it must be, in words; empty when all is. */
async function faultsOf(db: DatabaseClient, provider: ProviderStandIn, seen: ReadonlySet<string>): Promise<readonly string[]> {
  const rows = await db.selectFrom("LiteLLM_SpendLogs").selectAll().execute();
  const served = new Map(provider.requests.map((entry) => [entry.responseId, entry.usage]));
  const price = findListedModel("anthropic", "claude-haiku-4-5-20251001")?.prices?.at(new Date());
  if (!price) throw new Error(`${MODEL} has no price`);
  const rowsOf = Map.groupBy(rows, (row) => String(row.metadata["provider_response_id"]));
  const faults: string[] = [];
  for (const id of seen) {
    const usage = served.get(id);
    const own = rowsOf.get(id) ?? [];
    if (own.length !== 1) faults.push(`answer ${id} has ${own.length} rows`);
    else if (!usage || own[0]?.spend !== decimalFromPicoUsd(priceUsage(price, usage)))
      faults.push(`answer ${id} costs ${own[0]?.spend}, which is not what was served`);
  }
  if (rows.length < provider.requests.length)
    faults.push(`${provider.requests.length} requests reached the provider, and there are ${rows.length} rows`);
  const attempts = await db.selectFrom("request_attempts").select("attempt_id").execute();
  if (attempts.length > 0) faults.push(`${attempts.length} requests are not settled`);
  const counters = await db.selectFrom("limit_counters").selectAll().execute();
  const spent = addDecimals("0", ...rows.map((row) => row.spend));
  for (const { principal_kind: scope, used: counted, reserved } of counters) {
    if (compareDecimals(counted, spent) !== 0) faults.push(`the ${scope}'s counter says ${counted}, its rows ${spent}`);
    if (compareDecimals(reserved, "0") !== 0) faults.push(`${reserved} stay reserved`);
  }
  return faults;
}

async function prove({ callers, rounds }: Settings): Promise<boolean> {
  const postgres = await startEmbeddedPostgres({ dataFolder: join(await makeTemporaryFolder("rolling-restart"), "postgres") });
  const { connectionString } = postgres;
  await migrate({ connectionString });
  const provider = await startProviderStandIn({ apiKey: PROVIDER_KEY, frameGapMs: FRAME_GAP_MS, journalSize: 100_000 });
  provider.script(() => true, { text: "x".repeat(400) });
  const db = openDatabase({ connectionString });
  const seats = [0, 1].map(
    () => new Seat((environment) => startProxyProcess({ connectionString, providerUrl: provider.url, environment })),
  );
  try {
    for (const seat of seats) await seat.take();
    const [first] = seats;
    if (!first) throw new Error("no seats");
    const { key } = await mintKey(first.proxy);
    const statuses: (number | null)[] = [];
    const restarts = await underLoad(seats, key, callers, async () => {
      for (let round = 0; round < rounds; round += 1) {
        for (const seat of seats) {
          await delay(1_000);
          statuses.push(await seat.replace());
        }
      }
    });
    const kill = await underLoad(seats, key, callers, async () => {
      await delay(3_000);
      await first.kill();
      await delay(3_000);
    });
    const faults = await faultsOf(db, provider, new Set([...restarts.seen, ...kill.seen]));
    process.stdout.write(`
| under ${callers} streaming callers | streams whole | streams broken | lost before an answer | exit status |
|---|---|---|---|---|
| ${rounds * seats.length} rolling restarts | ${restarts.whole} | ${restarts.broken} | ${restarts.lost} | ${statuses.join(", ")} |
| 1 SIGKILL | ${kill.whole} | ${kill.broken} | ${kill.lost} | - |

Rows: ${provider.requests.length} requests reached the provider; ${faults.length === 0 ? "each answer whose end was seen has one exact row, nothing is reserved, the counters are the sum" : faults.slice(0, 10).join("; ")}.
`);
    return restarts.broken === 0 && statuses.every((status) => status === 0) && faults.length === 0;
  } finally {
    await Promise.all(seats.map((seat) => seat.proxy.stop()));
    await provider.stop();
    await db.destroy();
    await postgres.stop();
  }
}

process.exitCode = await runScript({
  help: HELP,
  options: { callers: { type: "string", default: "20" }, rounds: { type: "string", default: "2" } },
  check: ({ callers, rounds }): Settings => ({
    callers: wholeNumber("callers", callers, { to: 10_000 }),
    rounds: wholeNumber("rounds", rounds, { to: 1_000 }),
  }),
  run: async (settings) => ((await prove(settings)) ? 0 : 1),
});
