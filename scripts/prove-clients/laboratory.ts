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
  #count = 0;

  private constructor(parts: Parts) {
    this.#parts = parts;
    const { recorder } = parts;
    recorder.onPing((key) => {
      if (recorder.of(key).pings >= PINGS) this.#pinged.get(key)?.();
    });
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
    recorder.stop();
    await proxy.stop();
    await provider.stop();
    await db.destroy();
  }

  /** Makes the situation for one client, whose dialect serves `model`. */
  async begin(situation: Situation, model: string): Promise<Experiment> {
    this.#count += 1;
    const mark = `experiment-${this.#count}-of-the-laboratory`;
    const { key, token } = await this.#mint(situation);
    const silence = new Promise<void>((resolve) => this.#pinged.set(key, resolve));
    let left = situation.times ?? Number.POSITIVE_INFINITY;
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
    const { db } = this.#parts;
    const open = () => db.selectFrom("request_attempts").select("attempt_id").where("key_hash", "=", keyHash).execute();
    await until(open, ({ length }) => length === 0);
    const served = this.#parts.provider.requests.filter(({ body, route }) => route !== "count_tokens" && body.includes(mark));
    return { recorded: this.#parts.recorder.of(key), providerRequests: served.length, differences: await this.#compare(keyHash, served) };
  }

  async #mint({ key }: Situation): Promise<{ readonly key: string; readonly token: string }> {
    const { proxy } = this.#parts;
    const limits = { expired: { duration: "1s" }, spent: { max_budget: 0 }, revoked: {}, none: {} }[key ?? "none"];
    const minted = await mintKey(proxy, limits);
    if (key === "revoked") await manage(proxy, "/key/delete", { keys: [minted.key] });
    if (key === "expired")
      await until(async () => {
        const answer = await fetch(`${proxy.url}/v1/models`, { headers: { authorization: `Bearer ${minted.key}` } });
        await answer.text();
        return answer.status === 401;
      });
    return minted;
  }

  /** Every whole answer of the provider has one row of success with its tokens; a row of nothing costs nothing. */
  async #compare(keyHash: string, served: readonly Served[]): Promise<readonly string[]> {
    const rows = await this.#parts.db
      .selectFrom("LiteLLM_SpendLogs")
      .select(["status", "prompt_tokens", "completion_tokens", "spend", "metadata"])
      .where("api_key", "=", keyHash)
      .execute();
    const successes = rows.filter(({ status }) => status === "success");
    const idOf = ({ metadata }: (typeof rows)[number]): unknown => (metadata as { provider_response_id?: unknown }).provider_response_id;
    const differences = successes.flatMap((row) => {
      const usage = this.#parts.provider.requests.find(({ responseId }) => responseId === idOf(row))?.usage;
      const isSame = usage?.inputTokens === row.prompt_tokens && usage.outputTokens === row.completion_tokens;
      return isSame ? [] : [`billed ${row.prompt_tokens} in, ${row.completion_tokens} out; served ${JSON.stringify(usage)}`];
    });
    const ids = new Set(successes.map(idOf));
    const unbilled = served.filter(
      ({ outcome, responseId }) => outcome === "completed" && responseId !== undefined && !ids.has(responseId),
    );
    const charged = rows.filter(
      ({ status, prompt_tokens, completion_tokens, spend }) =>
        status === "failure" && Number(prompt_tokens) + Number(completion_tokens) === 0 && Number(spend) !== 0,
    );
    return [
      ...differences,
      ...(ids.size === successes.length ? [] : ["an answer was billed twice"]),
      ...unbilled.map(({ responseId }) => `${responseId} was served and has no row of success`),
      ...charged.map(({ spend }) => `nothing was counted, and it cost ${spend}`),
    ];
  }
}
