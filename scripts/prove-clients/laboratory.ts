import { type DatabaseClient, openDatabase } from "@proliferate/db";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { until } from "@proliferate/testing/test-patience";
import { manage, mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "../../apps/llm-proxy/test/proxy-process.ts";
import { type Recorded, type Recorder, startRecorder } from "./recorder.ts";
import { modelOf, type Situation } from "./situations.ts";

/** One client in one situation, about to begin. */
export interface Experiment {
  readonly situation: Situation;
  /** Without a trailing slash and without `/v1`. */
  readonly baseUrl: string;
  readonly port: number;
  readonly key: string;
  readonly keyHash: string;
  readonly model: string;
  /** Words that no other experiment has; the client has to send them. */
  readonly mark: string;
}

/** What came of it. */
export interface Observation {
  readonly recorded: Recorded;
  /** Requests for an answer that the provider got. */
  readonly providerRequests: number;
  /** Spend rows that name no session of the client's. */
  readonly rowsWithoutSession: number;
  /** Why what is on record is not what the provider served; empty where it is. */
  readonly differences: readonly string[];
}

type Served = ProviderStandIn["requests"][number];

interface Parts {
  readonly db: DatabaseClient;
  readonly provider: ProviderStandIn;
  readonly proxy: ProxyProcess;
  readonly recorder: Recorder;
}

/** Pings that a client has to pass over before its provider goes on. */
const PINGS = 3;

/** A proxy with a provider that does what a situation says, and a recorder in front of it. Experiments run side by side. */
export class Laboratory {
  readonly #parts: Parts;
  readonly #pinged = new Map<string, () => void>();
  readonly #refused = new Map<string, () => void>();
  #count = 0;

  private constructor(parts: Parts) {
    this.#parts = parts;
    const { recorder } = parts;
    recorder.onPing((key) => {
      if (recorder.of(key).pings >= PINGS) this.#pinged.get(key)?.();
    });
    recorder.onRefusal((key) => this.#refused.get(key)?.());
  }

  /** On a database that is migrated and stays the caller's. Looks for silent streams are hurried: a ping comes within moments. */
  static async start(connectionString: string): Promise<Laboratory> {
    const provider = await startProviderStandIn({ apiKey: PROVIDER_KEY });
    try {
      const environment = { NODE_OPTIONS: `--import=${new URL("../../apps/llm-proxy/test/hurried-pings.ts", import.meta.url)}` };
      const proxy = await startProxyProcess({ connectionString, providerUrl: provider.url, environment });
      return new Laboratory({ db: openDatabase({ connectionString }), provider, proxy, recorder: await startRecorder(proxy.url) });
    } catch (error) {
      await provider.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const { recorder, proxy, provider, db } = this.#parts;
    await recorder.stop();
    await proxy.stop();
    await provider.stop();
    await db.destroy();
  }

  /** The way in for programs that have no other: a Unix socket, and the port that their base URL has. */
  get wayIn(): { readonly socketPath: string; readonly port: number } {
    return this.#parts.recorder;
  }

  /** Makes the situation for one client, whose dialect serves `model`, and that asks so many things at the same time. */
  async begin(situation: Situation, model: string, requestsAtOnce = 1): Promise<Experiment> {
    this.#count += 1;
    const mark = `experiment-${this.#count}-of-the-laboratory`;
    const { key, token } = await this.#mint(situation);
    if (situation.isBusy) await this.#occupy(key, `beside-${mark}`);
    const silence = new Promise<void>((resolve) => this.#pinged.set(key, resolve));
    let left = (situation.times ?? Number.POSITIVE_INFINITY) * requestsAtOnce;
    const isConcerned = ({ body, route }: Served): boolean => {
      if (route === "count_tokens" || !body.includes(mark) || left === 0) return false;
      left -= 1;
      return true;
    };
    if (situation.provider) this.#parts.provider.script(isConcerned, situation.provider);
    if (situation.isSilent) this.#parts.provider.script(isConcerned, { hold: { beforeFrame: 0, until: silence } });
    return {
      situation,
      baseUrl: this.#parts.recorder.url,
      port: this.#parts.recorder.port,
      key,
      keyHash: token,
      model: modelOf(situation, model),
      mark,
    };
  }

  /** What came of an experiment whose client has ended; waits until nothing of its key is in flight. */
  async end({ key, keyHash, mark }: Experiment): Promise<Observation> {
    this.#pinged.delete(key);
    this.#refused.get(key)?.();
    this.#refused.delete(key);
    const { db } = this.#parts;
    const open = () => db.selectFrom("request_attempts").select("attempt_id").where("key_hash", "=", keyHash).execute();
    await until(open, ({ length }) => length === 0);
    const served = this.#parts.provider.requests.filter(({ body, route }) => route !== "count_tokens" && body.includes(mark));
    const rows = await db
      .selectFrom("LiteLLM_SpendLogs")
      .select(["request_id", "session_id", "status", "prompt_tokens", "completion_tokens", "spend", "metadata"])
      .where("api_key", "=", keyHash)
      .execute();
    return {
      recorded: this.#parts.recorder.of(key),
      providerRequests: served.length,
      rowsWithoutSession: rows.filter(({ request_id, session_id }) => request_id === session_id).length,
      differences: differencesOf(rows, served, this.#parts.provider.requests),
    };
  }

  /** A request of this key runs until the first other one of it is refused. */
  async #occupy(key: string, mark: string): Promise<void> {
    const { provider, proxy } = this.#parts;
    const refused = new Promise<void>((resolve) => this.#refused.set(key, resolve));
    const isOurs = ({ body }: Served): boolean => body.includes(mark);
    provider.script(isOurs, { hold: { beforeFrame: 1, until: refused } });
    const asked = fetch(`${proxy.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "authorization": `Bearer ${key}`, "x-session-id": mark },
      body: JSON.stringify({ model: "gpt-5-mini", stream: true, messages: [{ role: "user", content: mark }] }),
    });
    void asked.then((answer) => answer.text());
    await provider.waitFor(isOurs);
  }

  async #mint({ key, isBusy }: Situation): Promise<{ readonly key: string; readonly token: string }> {
    const { proxy } = this.#parts;
    const limits = {
      expired: { duration: "1s" },
      spent: { max_budget: 0 },
      revoked: {},
      of_other_models: { models: ["text-embedding-3-small"] },
      none: {},
    }[key ?? "none"];
    const minted = await mintKey(proxy, isBusy ? { max_parallel_requests: 1 } : limits);
    if (key === "revoked") await manage(proxy, "/key/delete", { keys: [minted.key] });
    if (key === "expired")
      await until(async () => {
        const answer = await fetch(`${proxy.url}/v1/models`, { headers: { authorization: `Bearer ${minted.key}` } });
        await answer.text();
        return answer.status === 401;
      });
    return minted;
  }
}

/** What of a spend row is compared. */
interface Row {
  readonly status: string | null;
  readonly prompt_tokens: number | null;
  readonly completion_tokens: number | null;
  readonly spend: unknown;
  readonly metadata: unknown;
}

const providerIdOf = ({ metadata }: Row): unknown => (metadata as { provider_response_id?: unknown }).provider_response_id;

/** Every whole answer of the provider has one row of success with its tokens; a row of nothing costs nothing. */
function differencesOf(rows: readonly Row[], served: readonly Served[], all: readonly Served[]): readonly string[] {
  const successes = rows.filter(({ status }) => status === "success");
  const ids = new Set(successes.map(providerIdOf));
  const unbilled = served.filter(({ outcome, responseId }) => outcome === "completed" && responseId !== undefined && !ids.has(responseId));
  const charged = rows.filter(
    ({ status, prompt_tokens, completion_tokens, spend }) =>
      status === "failure" && Number(prompt_tokens) + Number(completion_tokens) === 0 && Number(spend) !== 0,
  );
  return [
    ...successes.flatMap((row) => differenceOf(row, all.find(({ responseId }) => responseId === providerIdOf(row))?.usage)),
    ...(ids.size === successes.length ? [] : ["an answer was billed twice"]),
    ...unbilled.map(({ responseId }) => `${responseId} was served and has no row of success`),
    ...charged.map(({ spend }) => `nothing was counted, and it cost ${String(spend)}`),
  ];
}

function differenceOf({ prompt_tokens, completion_tokens }: Row, usage: Served["usage"]): readonly string[] {
  const input = usage && usage.inputTokens + usage.cacheReadTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens;
  if (input === prompt_tokens && usage?.outputTokens === completion_tokens) return [];
  return [`billed ${prompt_tokens} in, ${completion_tokens} out; served ${JSON.stringify(usage)}`];
}
