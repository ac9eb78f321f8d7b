import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { findSpendLog, type StoredSpendLog } from "@proliferate/access/spend-logs";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { until } from "@proliferate/testing/test-patience";
import { mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { startTcpRelay, type TcpRelay } from "./tcp-relay.ts";

/** A proxy process on a database of its own, with a provider that can be told to fail, and a key without limits. */
export interface TestStack {
  readonly database: TestDatabase;
  readonly provider: ProviderStandIn;
  /** The proxy's way to PostgreSQL; the test's own does not lead through it. */
  readonly store: TcpRelay;
  readonly proxy: ProxyProcess;
  readonly key: string;
  readonly keyHash: string;
  stop(): Promise<void>;
}

export async function startTestStack(environment: Readonly<Record<string, string | undefined>> = {}): Promise<TestStack> {
  const database = await createTestDatabase();
  const provider = await startProviderStandIn({ apiKey: PROVIDER_KEY });
  const store = await startTcpRelay(database.connectionString);
  const stop = async (): Promise<void> => {
    await store.stop();
    await provider.stop();
    await database.drop();
  };
  try {
    const proxy = await startProxyProcess({
      connectionString: store.through(database.connectionString),
      providerUrl: provider.url,
      environment,
    });
    const { key, token } = await mintKey(proxy);
    return { database, provider, store, proxy, key, keyHash: token, stop: async () => void (await proxy.stop(), await stop()) };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A small request in each dialect. */
export const MESSAGE = { model: "claude-haiku-4-5", max_tokens: 200, messages: [{ role: "user", content: "Say something." }] } as const;
export const CHAT = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Say something." }] } as const;
export const RESPONSE = { model: "gpt-4o-mini", input: "Say something." } as const;
export const EMBEDDING = { model: "text-embedding-3-small", input: "Say something." } as const;

interface PostOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** POSTs a JSON value, or bytes as they are, to the data plane with a key. */
export async function post(stack: TestStack, path: string, body: unknown, options: PostOptions = {}): Promise<Response> {
  return fetch(`${stack.proxy.url}${path}`, {
    method: "POST",
    headers: { "x-api-key": stack.key, "content-type": "application/json", "anthropic-version": "2023-06-01", ...options.headers },
    body: typeof body === "string" || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
    ...(options.signal && { signal: options.signal }),
  });
}

/** The spend row of a request, polled for, because an aborted request is settled after its caller left. */
export async function spendLogOf(stack: TestStack, requestId: string): Promise<StoredSpendLog> {
  const row = await until(
    () => findSpendLog(stack.database.db, requestId),
    (found) => found !== undefined,
  );
  return row as StoredSpendLog;
}

/** How much is reserved or in flight now. */
export async function inFlight(stack: TestStack): Promise<{ readonly attempts: number; readonly reservedUsd: readonly string[] }> {
  const attempts = await stack.database.db.selectFrom("request_attempts").select("attempt_id").execute();
  const counters = await stack.database.db.selectFrom("limit_counters").select("reserved").where("reserved", ">", "0").execute();
  return { attempts: attempts.length, reservedUsd: counters.map((counter) => counter.reserved) };
}

export const NOTHING_IN_FLIGHT = { attempts: 0, reservedUsd: [] };

/** Until every request is settled: an answer waits for its settlement, but not for ever. Also of a test that runs beside others. */
export async function untilNothingIsInFlight(stack: TestStack): Promise<void> {
  await until(
    () => inFlight(stack),
    ({ attempts, reservedUsd }) => attempts === 0 && reservedUsd.length === 0,
  );
}
