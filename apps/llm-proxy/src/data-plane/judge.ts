import { requireModelAllowed } from "@proliferate/access/principals";
import type { CallerRow } from "@proliferate/access/keys";
import { type Price, worstCasePicoUsd } from "@proliferate/metering/pricing";
import { AppError } from "@proliferate/shared/errors";
import { type Deployment, type ModelTable, type NamedModel as ListedModel, priceAt } from "../config/model-table.ts";
import type { Provider } from "../providers/provider.ts";
import type { Call } from "./call.ts";
import { type NamedDeployment, requireNamedModels } from "./named-models.ts";
import type { RequestFacts } from "../body/request-facts.ts";
import {
  beyondJudgement,
  type BeyondJudgement,
  type Bounds,
  MOST_CONTEXT_TOKENS,
  MOST_OUTPUT_TOKENS,
  type NamedBounds,
  type Reservation,
  reservationOf,
} from "./reservation.ts";
import { withCertainSearch } from "./search.ts";

/**
 * What becomes of a request whose cost nobody can say before it is spent: `refuse`, or `reserve` as if the dearest model of
 * the provider that is served here did all of it once more, for each such field.
 */
export type UnjudgedPolicy = "refuse" | "reserve";

/** A request that may be spent on, and what it is spent on at most. */
interface Judged extends Reservation {
  /** Of the called model, at the moment of the call. */
  readonly price: Price;
}

/**
 * Whether the key may spend on all that the body names, and what that can cost. Throws `model_not_allowed` and
 * `model_not_found` for any model that it names, `model_unpriced`, and `unjudged_request` with the field.
 */
export function judge(
  deps: { readonly models: ModelTable; readonly unjudged: UnjudgedPolicy },
  { dialect, startedAt }: Pick<Call, "dialect" | "startedAt">,
  caller: CallerRow,
  asked: RequestFacts,
  deployment: Deployment,
  requestedAs: string | null = null,
): Judged {
  const facts = withCertainSearch(dialect, deployment.upstreamModel, asked);
  const { models, unjudged } = deps;
  requireModelAllowed(caller, { ...deployment, requestedAs });
  const { provider } = deployment;
  const serving = { provider, startedAt };
  const named = requireNamedModels(models, caller, provider, facts, unjudged === "reserve").map((model) =>
    boundsOfNamed(models, model, serving),
  );
  const called: Bounds = { ...boundsOf(deployment), price: priceAt(deployment, startedAt) };
  const beyond = beyondJudgement(facts, called, named);
  if (unjudged === "refuse") requireJudged(beyond);
  const dearest = beyond.length > 0 ? dearestOf(models, serving) : undefined;
  const instead = (dearest ? beyond : []).map(({ path }): NamedBounds => ({
    ...(dearest as Bounds),
    named: { path, model: "", role: "fallback", maxOutputTokens: undefined, speed: undefined },
  }));
  return { ...reservationOf(facts, called, [...named, ...instead]), price: called.price };
}

function requireJudged([first]: readonly BeyondJudgement[]): void {
  if (!first) return;
  const path = first.path.slice(0, 128);
  throw new AppError("unjudged_request", `What ${path} costs cannot be said before it is spent: ${first.why}.`, { param: path });
}

function boundsOf({ contextTokens, maxOutputTokens }: Pick<ListedModel, "contextTokens" | "maxOutputTokens">): Omit<Bounds, "price"> {
  return { contextTokens, maxOutputTokens };
}

/** Who serves the called model, and since when: a provider reads the names of models as its own. */
interface Serving {
  readonly provider: Provider;
  readonly startedAt: Date;
}

function boundsOfNamed(models: ModelTable, { named, deployment }: NamedDeployment, { provider, startedAt }: Serving): NamedBounds {
  if (deployment) return { named, ...boundsOf(deployment), price: priceAt(deployment, startedAt) };
  const listed = models.findNamed(provider.name, named.model);
  const price = listed?.prices?.at(startedAt);
  return listed && price ? { named, ...boundsOf(listed), price } : { named, ...dearestOf(models, { provider, startedAt }) };
}

/** As if one model were the dearest, the largest and the longest of all that the provider serves here. */
function dearestOf(models: ModelTable, { provider: serving, startedAt }: Serving): Bounds {
  const prices = models
    .list()
    .flatMap(({ provider, prices: schedule }) => (provider === serving && schedule ? [schedule.at(startedAt)] : []));
  const [first, ...others] = prices;
  if (!first) throw new AppError("model_unpriced", "No model of this provider has a price here.", { param: "model" });
  return {
    price: others.reduce((dearest, price) => (mostOf(price) > mostOf(dearest) ? price : dearest), first),
    contextTokens: undefined,
    maxOutputTokens: undefined,
  };
}

function mostOf(price: Price): bigint {
  return worstCasePicoUsd(price, { inputTokens: MOST_CONTEXT_TOKENS, outputTokens: MOST_OUTPUT_TOKENS });
}
