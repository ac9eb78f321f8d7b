import {
  findListedModel,
  findPricesById,
  type Price,
  type PriceSchedule,
  type RequestPrices,
  requestPrices,
} from "@proliferate/metering/pricing";
import type { Dialect } from "../dialects/dialect.ts";
import type { Provider } from "../providers/provider.ts";
import { AppError } from "@proliferate/shared/errors";

/** One entry of `model_list`: a name that callers use, and where it leads. */
export interface Deployment {
  /** `model_name`: what the caller asks for. */
  readonly modelName: string;
  /** Who serves it. */
  readonly provider: Provider;
  /** What it is served in: its provider's dialects. Where the caller speaks one of them, bytes pass untouched. */
  readonly dialects: readonly Dialect[];
  /** `litellm_params.model`, with its provider prefix; the `model` of the spend row. */
  readonly model: string;
  /** The same without the prefix: what the provider is asked for. */
  readonly upstreamModel: string;
  /** Without `/v1` and without a trailing slash. */
  readonly apiBase: string;
  /** Undefined when the variable is not set: the model is listed, its calls are refused. */
  readonly apiKey: string | undefined;
  /** The variable that holds the key, to name it in an error; undefined when the key stands in the file. */
  readonly apiKeyVariable: string | undefined;
  /** Undefined: the model has no known price. It is listed, and its calls are refused (`priceAt`). */
  readonly prices: PriceSchedule | undefined;
  /** `prices.id`; the same after a restart with the same file. */
  readonly priceId: string;
  /** Most tokens that the model takes and answers together, and that it answers; undefined where nobody says. */
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
  /** ISO day on which the provider stops to serve it; undefined where none is announced. */
  readonly retiresOn: string | undefined;
}

/** What a model that a body or an answer names costs and can do. */
export type NamedModel = Pick<Deployment, "prices" | "contextTokens" | "maxOutputTokens">;

/** What an attempt says of its price. */
interface PricedAttempt {
  readonly price_id: string;
  readonly provider: string;
  /** With the provider's prefix. */
  readonly model: string;
  readonly started_at: Date;
}

/** The price of a request that began at this moment. Throws `model_unpriced`, naming what sets a price. */
export function priceAt(deployment: Deployment, startedAt: Date): Price {
  if (deployment.prices) return deployment.prices.at(startedAt);
  const where = `model_info of "${deployment.modelName}" in litellm/config.yaml`;
  throw new AppError(
    "model_unpriced",
    `Model "${deployment.modelName}" has no price; set input_cost_per_token and output_cost_per_token in ${where}.`,
    { param: "model" },
  );
}

/** Models that can be called, each by its names. Immutable. Of several deployments of one name the first is found. */
export class ModelTable {
  readonly #byName: ReadonlyMap<string, Deployment>;
  /** By `anthropic/NAME`, and by the NAME alone; of several deployments of one model the first. */
  readonly #byUpstream: ReadonlyMap<string, Deployment>;
  readonly #byBareUpstream: ReadonlyMap<string, Deployment>;
  readonly #schedules: ReadonlyMap<string, PriceSchedule>;

  constructor(deployments: readonly Deployment[]) {
    this.#byName = firstOfEach(deployments.map((deployment) => [deployment.modelName, deployment]));
    this.#byUpstream = firstOfEach(deployments.map((deployment) => [deployment.model, deployment]));
    this.#byBareUpstream = firstOfEach(deployments.map((deployment) => [deployment.upstreamModel, deployment]));
    this.#schedules = firstOfEach(deployments.flatMap(({ prices }) => (prices ? [[prices.id, prices] as const] : [])));
  }

  /**
   * By the exact `model_name`, or by the name that the provider has for the model, with or without its prefix: dated ids are
   * what some clients ask for, and a name serves the model that it names.
   */
  find(name: string): Deployment | undefined {
    return this.#byName.get(name) ?? this.#byUpstream.get(name) ?? this.#byBareUpstream.get(name);
  }

  /** In their order. */
  list(): readonly Deployment[] {
    return [...this.#byName.values()];
  }

  /**
   * A model by the name that its provider has for it, as bodies and answers name it: at the price of the file where it is
   * served here, else at its list price. Undefined for a model that nobody prices.
   */
  findNamed(provider: string, name: string): NamedModel | undefined {
    return this.#byUpstream.get(`${provider}/${name}`) ?? findListedModel(provider, name);
  }

  /**
   * The prices that an attempt is settled at, whoever began it: those of the moment when it began. Undefined if neither the
   * file nor the table has its price any more.
   */
  requestPrices(attempt: PricedAttempt): RequestPrices | undefined {
    const { price_id: id, provider, model } = attempt;
    // An attempt of an older process may name its price as no table does any more; its model it names as its provider does.
    const prices = this.#schedules.get(id) ?? findPricesById(id) ?? this.#byUpstream.get(model)?.prices;
    return (
      prices &&
      requestPrices({
        provider,
        model: model.slice(provider.length + 1),
        prices,
        startedAt: attempt.started_at,
        findPrices: (name) => this.#byUpstream.get(`${provider}/${name}`)?.prices,
      })
    );
  }

  /** The models that their provider stops to serve within so many days, or has stopped to. */
  retiring(now: Date, withinDays = 30): readonly Deployment[] {
    const until = new Date(now.getTime() + withinDays * 86_400_000).toISOString().slice(0, 10);
    return this.list().filter(({ retiresOn }) => retiresOn !== undefined && retiresOn <= until);
  }
}

/** By key, in their order; of several entries with one key the first. */
function firstOfEach<Value>(entries: readonly (readonly [string, Value])[]): ReadonlyMap<string, Value> {
  const first = new Map<string, Value>();
  for (const [key, value] of entries) if (!first.has(key)) first.set(key, value);
  return first;
}
