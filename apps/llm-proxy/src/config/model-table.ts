import type { Price } from "@proliferate/services/pricing/price";

export type Provider = "anthropic" | "openai";

/** One entry of `model_list`: a name that callers use, and where it leads. */
export interface Deployment {
  /** `model_name`: what the caller asks for. */
  readonly modelName: string;
  readonly provider: Provider;
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
  readonly price: Price;
  /** `price.id`; the same after a restart with the same file. */
  readonly priceId: string;
  /** `model_info.max_output_tokens`, where it is given. */
  readonly maxOutputTokens: number | undefined;
}

/** The models that this proxy serves. Immutable. */
export class ModelTable {
  readonly #byName: ReadonlyMap<string, Deployment>;
  readonly #prices: ReadonlyMap<string, Price>;

  constructor(deployments: readonly Deployment[]) {
    this.#byName = new Map(deployments.map((deployment) => [deployment.modelName, deployment]));
    this.#prices = new Map(deployments.map(({ price }) => [price.id, price]));
  }

  /** By the exact `model_name`. */
  find(modelName: string): Deployment | undefined {
    return this.#byName.get(modelName);
  }

  /** In the order of the file. */
  list(): readonly Deployment[] {
    return [...this.#byName.values()];
  }

  /** The price of an attempt that another process began; undefined if the file no longer has such a price. */
  findPrice(priceId: string): Price | undefined {
    return this.#prices.get(priceId);
  }
}
