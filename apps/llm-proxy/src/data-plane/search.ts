import type { Search } from "@proliferate/metering/usage";
import type { Dialect } from "../dialects/dialect.ts";
import type { RequestFacts } from "../body/request-facts.ts";

/**
 * Searches of the web in OpenAI's chats, which no usage counts (docs/pricing.md, "Searches that nobody counts"). A model whose
 * name says so searches before each answer; another one may where the request lets it.
 */

/** `gpt-4o-search-preview`, `gpt-5-search-api` */
const ALWAYS_SEARCHES = /-search(?:-|$)/;
const SEARCH_TOOL = /^web_search/;

/** How the answer's reader is to count searches; undefined where usage says it (Anthropic), or where there are none. */
export function searchOf(
  dialect: Pick<Dialect, "countsSearches">,
  upstreamModel: string,
  facts: Pick<RequestFacts, "serverTools">,
): Search | undefined {
  if (dialect.countsSearches) return undefined;
  if (ALWAYS_SEARCHES.test(upstreamModel)) return "certain";
  return facts.serverTools.some(({ type }) => SEARCH_TOOL.test(type)) ? "possible" : undefined;
}

/** The facts with the search that the model makes unasked, so that it is reserved like one that was asked for. */
export function withCertainSearch(dialect: Pick<Dialect, "countsSearches">, upstreamModel: string, facts: RequestFacts): RequestFacts {
  const isAsked = facts.serverTools.some(({ type }) => SEARCH_TOOL.test(type));
  if (isAsked || searchOf(dialect, upstreamModel, facts) !== "certain") return facts;
  return { ...facts, serverTools: [...facts.serverTools, { path: "model", type: "web_search_options", maxUses: undefined }] };
}
