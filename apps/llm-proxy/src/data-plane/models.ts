import { aliasesOf, isModelAllowed, servedName } from "@proliferate/access/principals";
import type { CallerRow } from "@proliferate/access/keys";
import { AppError } from "@proliferate/shared/errors";
import type { Deployment, ModelTable } from "../config/model-table.ts";
import { type Dialect, servedDialect } from "../dialects/dialect.ts";
import type { ListedModel, ModelPage } from "../dialects/model-listing.ts";

/** LiteLLM's constant: models have no date of birth here. */
const CREATED_AT = new Date(1_677_610_602_000);

/** What is served to a caller under a name. */
interface Offer {
  readonly id: string;
  readonly deployment: Deployment;
}

/** What a listing is asked for. */
interface Listing {
  readonly dialect: Dialect;
  /** May have, by the names of the dialect, `limit` (1 to 1000) and one of `after_id` and `before_id`. */
  readonly query: URLSearchParams;
  /** Models are served in dialects that their provider does not speak. */
  readonly translates: boolean;
}

/**
 * `GET /v1/models`: what the key may use, its aliases last, as clients of the dialect read it. Throws `invalid_request` on any other value of the
 * query.
 */
export function listModels(models: ModelTable, caller: CallerRow, { dialect, query, translates }: Listing): object {
  const aliases = aliasesOf(caller);
  // What an alias hides cannot be called by its own name.
  const names = [...models.list().flatMap(({ modelName }) => (aliases.includes(modelName) ? [] : [modelName])), ...aliases];
  const offers = names.flatMap((name) => offerTo(models, caller, name) ?? []);
  const listed = dialect.models.isOwnOnly ? ownOffers(offers, dialect, translates) : offers;
  return dialect.models.list(pageOf(listed, dialect, query));
}

/** `GET /v1/models/{id}`. Throws `model_not_found`, also for one that the key may not use. */
export function showModel(models: ModelTable, caller: CallerRow, dialect: Dialect, id: string): object {
  const offer = offerTo(models, caller, id);
  if (offer) return dialect.models.view(listedModel(offer));
  throw new AppError("model_not_found", `There is no model "${id.slice(0, 128)}" for this key.`, { param: "model" });
}

/** Undefined where nothing is served under this name, or not to this caller. */
function offerTo(models: ModelTable, caller: CallerRow, id: string): Offer | undefined {
  const deployment = models.find(servedName(caller, id));
  return deployment && isModelAllowed(caller, { ...deployment, requestedAs: id }) ? { id, deployment } : undefined;
}

/** What is served in the dialect. A name with its provider's prefix is left out where the name alone leads to the same. */
function ownOffers(offers: readonly Offer[], dialect: Dialect, translates: boolean): readonly Offer[] {
  const own = offers.filter(({ deployment }) => {
    const served = servedDialect(deployment.dialects, dialect, translates);
    return served === dialect || (served !== undefined && writes(deployment));
  });
  const known = new Set(own.map(({ id, deployment }) => `${id} ${placeOf(deployment)}`));
  return own.filter(({ id, deployment }) => {
    const prefix = `${deployment.provider.name}/`;
    return !id.startsWith(prefix) || !known.has(`${id.slice(prefix.length)} ${placeOf(deployment)}`);
  });
}

/** It answers in tokens that have a price; a provider's models for embeddings do not, and nothing of theirs is translated. */
function writes({ prices }: Deployment): boolean {
  const { inputTokens, outputTokens } = prices?.at(new Date()).rates ?? { inputTokens: 0n, outputTokens: 0n };
  return outputTokens > 0n || inputTokens === 0n;
}

/** Where a name leads. */
function placeOf({ provider, upstreamModel, apiBase }: Deployment): string {
  return [provider.name, upstreamModel, apiBase].join(" ");
}

/** A model without a price says so: its calls are refused until it has one. One that its provider stops to serve says when. */
function listedModel({ id, deployment: { provider, prices, retiresOn, contextTokens, maxOutputTokens } }: Offer): ListedModel {
  return { id, provider: provider.name, createdAt: CREATED_AT, isUnpriced: !prices, retiresOn, contextTokens, maxOutputTokens };
}

/** Anthropic's limit of a page, and Google's. */
const LARGEST_PAGE = 1_000;
const PAGE_NAMES = { size: "limit", after: "after_id", before: "before_id" };

function pageOf(offers: readonly Offer[], dialect: Dialect, query: URLSearchParams): ModelPage {
  const { pageSize, query: names = PAGE_NAMES } = dialect.models;
  const size = sizeOf(query, names.size) ?? pageSize ?? offers.length;
  const [after, before] = [placeIn(offers, query, names.after), placeIn(offers, query, names.before)];
  if (after !== undefined && before !== undefined) throw wrong(names.after, `cannot be given together with ${names.before}`);
  const start = before === undefined ? (after ?? -1) + 1 : Math.max(0, before - size);
  const end = before ?? Math.min(offers.length, start + size);
  const page = offers.slice(start, end);
  return {
    data: page.map((offer) => dialect.models.view(listedModel(offer))),
    has_more: before === undefined ? end < offers.length : start > 0,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
  };
}

function sizeOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const size = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (size < 1 || size > LARGEST_PAGE) throw wrong(name, `must be a whole number from 1 to ${LARGEST_PAGE}`);
  return size;
}

function placeIn(offers: readonly Offer[], query: URLSearchParams, name: string | undefined): number | undefined {
  const id = name === undefined ? null : query.get(name);
  if (name === undefined || id === null) return undefined;
  const place = offers.findIndex((offer) => offer.id === id);
  if (place < 0) throw wrong(name, "must be the id of a model of this list");
  return place;
}

function wrong(param: string, problem: string): AppError {
  return new AppError("invalid_request", `${param} ${problem}.`, { param });
}
