import type { DatabaseClient } from "@proliferate/db";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { DIALECTS } from "../../apps/llm-proxy/src/providers/spoken-dialects.ts";
import { manage, mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "../../apps/llm-proxy/test/proxy-process.ts";
import { type Sample, samplesOf } from "./samples.ts";
import type { RecordedAnswer } from "./stream-cases.ts";

/** A real proxy process on a migrated database, with a provider that notes what reaches it. */
export interface FuzzStack {
  readonly db: DatabaseClient;
  readonly provider: ProviderStandIn;
  readonly proxy: ProxyProcess;
  /** Without a limit, with one beside a large budget, and of a team. */
  readonly keys: readonly string[];
  /** Of every dialect that the proxy serves, those that it answers with 200. */
  readonly samples: readonly Sample[];
  /** Dialects of which nothing was answered with 200: their requests are sent, too, their streams cannot be. */
  readonly unanswered: readonly string[];
  stop(): Promise<void>;
}

/** Starts proxy and provider; the database is the caller's. */
export async function openFuzzStack({
  connectionString,
  db,
}: {
  readonly connectionString: string;
  readonly db: DatabaseClient;
}): Promise<FuzzStack> {
  // Of one batch all requests are kept, and little more: bodies may be large.
  const provider = await startProviderStandIn({ apiKey: PROVIDER_KEY, journalSize: 5_000 });
  const proxy = await startProxyProcess({ connectionString, providerUrl: provider.url });
  const stop = async (): Promise<void> => {
    await proxy.stop();
    await provider.stop();
  };
  try {
    const keys = await mintKeys(proxy);
    const every = samplesOf(DIALECTS);
    const answered = await Promise.all(every.map(async (sample) => (await ask(proxy, keys[0] ?? "", sample)).ok));
    const samples = every.filter((_, index) => answered[index]);
    const names = new Set(samples.map(({ dialect }) => dialect.name));
    return {
      db,
      provider,
      proxy,
      keys,
      samples: every,
      unanswered: DIALECTS.map(({ name }) => name).filter((name) => !names.has(name)),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function mintKeys(proxy: ProxyProcess): Promise<readonly string[]> {
  await manage(proxy, "/team/new", { team_id: "fuzzed", max_budget: 1_000_000_000 });
  const [free, limited, ofTeam] = [
    await mintKey(proxy),
    await mintKey(proxy, { user_id: "fuzzer", max_budget: 1_000_000_000 }),
    await mintKey(proxy, { team_id: "fuzzed" }),
  ];
  const limit = { principal_kind: "user", principal_id: "fuzzer", meter: "tokens", window: "day", amount: "900000000000000" };
  const { status } = await manage(proxy, "/limit/set", limit);
  if (status !== 200) throw new Error(`/limit/set answered ${status}`);
  return [free.key, limited.key, ofTeam.key];
}

async function ask(
  { url }: Pick<ProxyProcess, "url">,
  key: string,
  { path, body }: Sample,
): Promise<{ readonly ok: boolean; readonly isStream: boolean; readonly bytes: Buffer }> {
  const answer = await fetch(`${url}${path}`, {
    method: "POST",
    headers: { "authorization": `Bearer ${key}`, "anthropic-version": "2023-06-01", "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const isStream = (answer.headers.get("content-type") ?? "").startsWith("text/event-stream");
  return { ok: answer.status === 200, isStream, bytes: Buffer.from(await answer.arrayBuffer()) };
}

/** What the proxy's callers get for the good requests that are billed: what the provider answers, as both speak one dialect. */
export async function recordAnswers({ proxy, keys, samples }: FuzzStack): Promise<readonly RecordedAnswer[]> {
  const recorded: RecordedAnswer[] = [];
  for (const sample of samples.filter(({ isCounted }) => isCounted)) {
    const { ok, isStream, bytes } = await ask(proxy, keys[0] ?? "", sample);
    if (ok) recorded.push({ sample, isStream, bytes });
  }
  return recorded;
}
