import {
  type ListedModel,
  NO_OVERRIDE,
  overridePrices,
  type PriceOverride,
  type PriceSchedule,
  readRateSetting,
} from "@proliferate/metering/pricing";
import type { YamlCursor } from "./yaml-cursor.ts";

/** What an entry of `model_list` says of money and limits. Whatever of it is not understood stops the start: it would be lost in silence. */

/** LiteLLM's limits of one deployment; keys and teams have ours. */
const LIMITS = ["rpm", "tpm", "max_budget", "budget_duration", "max_parallel_requests"];
const MONEY = /cost|price|uplift|budget/;
/** What bounds or prices requests in LiteLLM's other sections, at any depth: `max_budget` of `default_team_params`, `cost_margin_config` … */
const BOUNDS_ELSEWHERE = /budget|cost|price|uplift|margin|discount|parallel_requests|(?:^|_)(?:rpm|tpm)(?:_|$)/;
/** Who may call, from where and with how much. */
const ACCESS = ["allowed_ips", "allowed_routes", "blocked_user_list", "max_request_size_mb", "max_response_size_mb"];
/** Named after money or a limit, and neither: what answers show, and when LiteLLM resets budgets and warns of them. */
const NEITHER = /^(?:include_cost_in_streaming_usage|proxy_budget_rescheduler_(?:min|max)_time|budget_alert_ttl)$/;
/** `model_info` first: LiteLLM reads rates in either. */
const SECTIONS = ["model_info", "litellm_params"] as const;

const SEARCH_FEE = "search_context_cost_per_query";
const SEARCH_SIZES = ["search_context_size_low", "search_context_size_medium", "search_context_size_high"];
const FILE_SEARCH_FEE = "file_search_cost_per_1k_calls";
const HOST_UPLIFT = /^regional_processing_uplift_multiplier_(\w+)$/;
const SPECIFIC = "provider_specific_entry";
/** LiteLLM's names for what usage reports as speed and geography. */
const SPECIFIC_KINDS = { fast: ["speed", "fast"], us: ["geography", "us"] } as const;

/** Throws `config_invalid` on a limit that this engine does not keep. */
export function refuseLimits(entry: YamlCursor): void {
  for (const section of SECTIONS) {
    const cursor = entry.get(section);
    const limit = cursor.keys().find((key) => LIMITS.includes(key));
    if (limit !== undefined)
      throw cursor
        .get(limit)
        .error("is a limit of a deployment, which this engine does not keep; remove it, and limit keys or teams instead");
  }
}

/**
 * Throws `config_invalid` on the first setting in or below an ignored one that bounds, prices or forbids requests in LiteLLM: without
 * it the same file would let through more, or bill otherwise, than it says.
 */
export function refuseBounds(ignored: YamlCursor, mostDepth = 16): void {
  const name = ignored.path.slice(ignored.path.lastIndexOf(".") + 1);
  const isBound = BOUNDS_ELSEWHERE.test(name) || ACCESS.includes(name);
  if (isBound && !NEITHER.test(name) && ignored.exists)
    throw ignored.error(
      "is a limit or a price that is not kept where it stands; remove it, and limit keys and teams, or set prices in model_info",
    );
  if (mostDepth > 0 && ignored.isMapping) for (const key of ignored.keys()) refuseBounds(ignored.get(key), mostDepth - 1);
}

/** The names among the entry's settings that this module understands. */
export function isMoneySetting(name: string): boolean {
  return LIMITS.includes(name) || MONEY.test(name) || name === SPECIFIC;
}

/**
 * The prices of an entry: the list's, with what the entry sets over it. Undefined where nothing is listed and nothing is
 * set: the model is shown as unpriced. Throws `config_invalid` on a setting that is not understood, or sets half a price.
 */
export function readPrices(entry: YamlCursor, modelName: string, listed: ListedModel | undefined, host: string): PriceSchedule | undefined {
  const settings = settingsOf(entry);
  const override = settings.reduce((done, setting) => readSetting(done, setting, host), {
    ...NO_OVERRIDE,
    hostMultiplier: listed?.hosts.get(host),
  });
  const prices = overridePrices(modelName, listed, override);
  if (prices || settings.length === 0) return prices;
  const missing = "the price table does not have it; set input_cost_per_token and output_cost_per_token (USD, as decimals), too";
  throw entry.error(`("${modelName}") has half a price: ${missing}`);
}

/** LiteLLM's `max_input_tokens` is what may go in beside a whole answer. */
export function readContextTokens(entry: YamlCursor, maxOutputTokens: number | undefined): number | undefined {
  const maxInputTokens = entry.get("model_info").get("max_input_tokens").number(1, "whole");
  return maxInputTokens === undefined ? undefined : maxInputTokens + (maxOutputTokens ?? 0);
}

export function readMaxOutputTokens(entry: YamlCursor): number | undefined {
  const info = entry.get("model_info");
  return info.get("max_output_tokens").number(1, "whole") ?? info.get("max_tokens").number(1, "whole");
}

interface Setting {
  readonly name: string;
  readonly cursor: YamlCursor;
}

/** Every setting of the entry that means money, each name once. */
function settingsOf(entry: YamlCursor): readonly Setting[] {
  const found = new Map<string, YamlCursor>();
  for (const section of SECTIONS) {
    const cursor = entry.get(section);
    for (const name of cursor.keys()) {
      if (isMoneySetting(name) && cursor.get(name).exists && !found.has(name)) found.set(name, cursor.get(name));
    }
  }
  return [...found].map(([name, cursor]) => ({ name, cursor }));
}

function readSetting(done: PriceOverride, { name, cursor }: Setting, host: string): PriceOverride {
  const rate = readRateSetting(name);
  if (rate) return { ...done, rates: [...done.rates, { ...rate, usd: readAmount(cursor, cursor.text() ?? "") }] };
  if (name === SEARCH_FEE) return { ...done, fees: { ...done.fees, webSearch: readSearchFee(cursor) } };
  if (name === FILE_SEARCH_FEE) return { ...done, fees: { ...done.fees, fileSearch: readAmount(cursor, `${cursor.text() ?? ""}e-3`) } };
  if (name === SPECIFIC) return readSpecific(done, cursor);
  const region = HOST_UPLIFT.exec(name)?.[1];
  if (region === undefined)
    throw cursor.error("is a price that this engine does not know how to apply; remove it, or ask for it to be built");
  const multiplier = readMultiplier(cursor);
  return host.startsWith(`${region}.`) ? { ...done, hostMultiplier: multiplier } : done;
}

/** One fee a search: LiteLLM has one for each size of context, which usage does not report. */
function readSearchFee(cursor: YamlCursor): string {
  const unknown = cursor.keys().find((key) => !SEARCH_SIZES.includes(key));
  if (unknown !== undefined) throw cursor.get(unknown).error("is no size of search context");
  const amounts = new Set(cursor.keys().map((key) => cursor.get(key).text()));
  const [amount] = amounts;
  if (amounts.size !== 1 || amount === undefined)
    throw cursor.error("has different prices by size of context, which no usage reports; write one price");
  return readAmount(cursor, amount);
}

function readSpecific(done: PriceOverride, cursor: YamlCursor): PriceOverride {
  return cursor.keys().reduce((override, key) => {
    const kind = Object.hasOwn(SPECIFIC_KINDS, key) ? SPECIFIC_KINDS[key as keyof typeof SPECIFIC_KINDS] : undefined;
    if (!kind) throw cursor.get(key).error("is no multiplier that this engine knows; it knows fast and us");
    const [name, value] = kind;
    return {
      ...override,
      multipliers: { ...override.multipliers, [name]: { ...override.multipliers[name], [value]: readMultiplier(cursor.get(key)) } },
    };
  }, done);
}

function readMultiplier(cursor: YamlCursor): string {
  const text = cursor.text() ?? "";
  if (!/^\d{1,4}(\.\d{1,6})?$/.test(text)) throw cursor.error(`"${text}" is not a multiplier; write a decimal such as 1.1`);
  return text;
}

/** Text stays text: no float is made of a rate. */
function readAmount(cursor: YamlCursor, usd: string): string {
  try {
    overridePrices("", undefined, {
      ...NO_OVERRIDE,
      rates: ["inputTokens", "outputTokens"].map((name) => ({
        class: name as "inputTokens",
        aboveTokens: undefined,
        serviceTier: undefined,
        usd,
      })),
    });
    return usd;
  } catch {
    throw cursor.error(`"${cursor.text() ?? ""}" is not a price; write USD as a decimal of at most 12 places, such as 0.000003`);
  }
}
