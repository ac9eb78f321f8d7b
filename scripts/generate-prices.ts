import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { findProvider, type ModelInfo, type ModelPrice } from "@pydantic/genai-prices";
import { PROVIDERS } from "../apps/llm-proxy/src/providers/registry.ts";
import { type OverlayRates, type PriceOverlay, readOverlay } from "./price-overlay.ts";

/**
 * Writes packages/metering/src/pricing/prices.json: the prices of the chat and embedding models of every provider of the proxy, from
 * the npm package @pydantic/genai-prices (MIT) with packages/metering/src/pricing/overlay.yaml laid over it. Every amount
 * is whole pico-USD, every date that the sources know is in the file, so what it says does not depend on the day.
 *
 *   node scripts/generate-prices.ts           writes the file
 *   node scripts/generate-prices.ts --check   exits 1 if the file differs from what its sources say
 */
const PRICES_FILE = new URL("../packages/metering/src/pricing/prices.json", import.meta.url);
const SOURCE_FILE = new URL("../node_modules/@pydantic/genai-prices/package.json", import.meta.url);

/** The order of the columns of `rates`, and of `audio`. */
const COLUMNS = ["input", "cacheRead", "cacheWrite5m", "cacheWrite1h", "output"] as const;
const AUDIO_COLUMNS = ["input", "cacheRead", "output"] as const;
type Rates = Record<(typeof COLUMNS)[number], number>;

interface Period {
  /** The day since which it holds; missing: since ever. */
  readonly since?: string;
  readonly rates: readonly number[];
  /** Steps by prompt size: above so many tokens, these rates. */
  readonly above?: readonly (readonly [number, readonly number[]])[];
  readonly audio?: readonly number[];
  /** Columns that no source lists, and which we set by the rule in `completeRates`. */
  readonly derived?: readonly string[];
}

type ModifierRow = string | { readonly times: string; readonly upToTokens: number };

interface Row {
  periods: readonly Period[];
  serviceTier?: Record<string, ModifierRow>;
  speed?: Record<string, ModifierRow>;
  geography?: Record<string, ModifierRow>;
  hosts?: Record<string, string>;
  /** Pico-USD per use. */
  fees?: Record<string, number>;
  contextTokens?: number;
  maxOutputTokens?: number;
  retiresOn?: string;
}

/** Models that answer no chat, are priced by something else than tokens, or were retired long ago. */
const OTHER_KINDS =
  /realtime|image|tts|whisper|transcribe|translate|live|moderation|davinci|curie|babbage|^ada|dall-e|sora|instruct|^text-(?!embedding)|^claude-(?:v1|2)|computer-use|deep-research|search-preview|audio-preview|oss|:|\.ft-/;
/** Spellings of other clouds for the same models (`gpt-5-4`, `gpt-35-turbo`). */
const FOREIGN_SPELLING = /^gpt-\d-\d|^gpt-35/;
/** Of a provider under whose name the package has models of others, those that are its own, and served in its API. */
const OF_PROVIDERS: Readonly<Record<string, RegExp>> = {
  gemini: /^gemini-(?!2\.5-flash-preview$)(?:2\.5|[3-9])(?!.*(?:embedding|omni|native-audio))/,
};
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

export function derivePrices(overlay: PriceOverlay = readOverlay()): string {
  const { version, license } = JSON.parse(readFileSync(SOURCE_FILE, "utf8")) as { version: string; license: string };
  const rows = new Map<string, Row>(PROVIDERS.map(({ name }) => name).flatMap((provider) => deriveProvider(provider, overlay)));
  for (const [id, model] of Object.entries(overlay.models)) {
    if (rows.has(id)) throw new Error(`overlay.yaml: ${id} is in the package by now; compare the two, then remove it here`);
    rows.set(id, { periods: model.periods.map((period) => overlayPeriod(id, period)), contextTokens: model.contextTokens });
  }
  layOver(rows, overlay);
  const source = { package: "@pydantic/genai-prices", version, license, overlay: "packages/metering/src/pricing/overlay.yaml" };
  const lines = [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([id, row]) => `    ${JSON.stringify(id)}: ${JSON.stringify(row)}`);
  const head = `"unit": "pico-USD per token, or per use",\n  "columns": ${JSON.stringify(COLUMNS)},\n  "audioColumns": ${JSON.stringify(AUDIO_COLUMNS)},\n  "source": ${JSON.stringify(source)}`;
  return `{\n  ${head},\n  "models": {\n${lines.join(",\n")}\n  }\n}\n`;
}

function deriveProvider(providerId: string, overlay: PriceOverlay): readonly (readonly [string, Row])[] {
  // By the name that the package has for it, or by one that leads to it: the proxy's names are LiteLLM's.
  const models = findProvider({ providerId })?.models ?? [];
  return models.flatMap((model) => {
    const names = exactNames(model).filter(
      (name) => !OTHER_KINDS.test(name) && !FOREIGN_SPELLING.test(name) && (OF_PROVIDERS[providerId]?.test(name) ?? true),
    );
    return names.flatMap((name) => {
      const row = deriveRow(providerId, model, overlay);
      return row ? [[`${providerId}/${name}`, row] as const] : [];
    });
  });
}

/**
 * The names that the source gives exactly. Its patterns ("starts with claude-sonnet-5") are not used: they would price the
 * next generation like this one. A snapshot is looked up by its name without the date, unless it has a price of its own.
 */
function exactNames(model: ModelInfo): readonly string[] {
  const alternatives = "or" in model.match ? model.match.or : [model.match];
  const equal = alternatives.flatMap((match) => ("equals" in match ? [match.equals] : []));
  const undated = new Set([model.id, ...equal].filter((name) => !SNAPSHOT_DATE.test(name)));
  const isOwnModel = SNAPSHOT_DATE.test(model.id);
  return isOwnModel ? [model.id] : [...undated];
}

function deriveRow(provider: string, model: ModelInfo, overlay: PriceOverlay): Row | undefined {
  const periods = periodsOf(model).flatMap(({ since, prices }) => {
    const period = derivePeriod(provider, model.id, prices, overlay);
    return period ? [{ ...(since && { since }), ...period }] : [];
  });
  if (periods.length === 0) return undefined;
  const fees = feesOf(periodsOf(model).at(-1)?.prices ?? {});
  return { periods, ...(Object.keys(fees).length > 0 && { fees }), ...(model.context_window && { contextTokens: model.context_window }) };
}

/** Throws on prices that depend on the hour: a row cannot say that. */
function periodsOf(model: ModelInfo): readonly { readonly since?: string; readonly prices: ModelPrice }[] {
  if (!Array.isArray(model.prices)) return [{ prices: model.prices }];
  return model.prices
    .map(({ constraint, prices }) => {
      if (constraint && constraint.type !== "start_date") throw new Error(`${model.id}: a price by time of day cannot be expressed`);
      return { prices, ...(constraint && { since: constraint.start_date }) };
    })
    .toSorted((a, b) => ((a.since ?? "") < (b.since ?? "") ? -1 : 1));
}

type SourcePrice = ModelPrice[string];
const basePrice = (price: SourcePrice): number | undefined => (typeof price === "object" ? price.base : price);

function derivePeriod(provider: string, id: string, prices: ModelPrice, overlay: PriceOverlay): Period | undefined {
  const base = completeRates(provider, id, prices, basePrice);
  if (!base) return undefined;
  const starts = [
    ...new Set(Object.values(prices).flatMap((price) => (typeof price === "object" ? price.tiers.map((tier) => tier.start) : []))),
  ].toSorted((a, b) => a - b);
  const above = starts.map((start) => {
    const rates = completeRates(provider, id, prices, (price) =>
      typeof price === "object" ? (price.tiers.findLast((tier) => tier.start <= start)?.price ?? price.base) : price,
    );
    return [overlay.tierStarts.find(({ from }) => from === start)?.to ?? start, columnsOf(rates?.rates ?? base.rates)] as const;
  });
  const audio = audioRates(prices, base.rates);
  return {
    rates: columnsOf(base.rates),
    ...(above.length > 0 && { above }),
    ...(audio && { audio }),
    ...(base.derived.length > 0 && { derived: base.derived }),
  };
}

/**
 * Fills what the source does not list: a cache read or write without a price costs what input costs (never nothing), and
 * Anthropic's writes 1.25 times (5 minutes) and twice (an hour) the input, as its price page says. An embedding has no output.
 */
function completeRates(
  provider: string,
  id: string,
  prices: ModelPrice,
  pick: (price: SourcePrice) => number | undefined,
): { rates: Rates; derived: string[] } | undefined {
  const listed = (key: string): number | undefined => picoUsdPerToken(pick(prices[key]));
  const input = listed("input_mtok");
  const output = listed("output_mtok") ?? (id.includes("embedding") ? 0 : undefined);
  if (input === undefined || output === undefined) return undefined;
  return fillRates(provider, {
    input,
    output,
    cacheRead: listed("cache_read_mtok"),
    cacheWrite5m: listed("cache_write_mtok"),
    cacheWrite1h: listed("cache_write_1h_mtok"),
  });
}

type FoundRates = { readonly [column in keyof Rates]?: number | undefined } & { readonly input: number; readonly output: number };

function fillRates(provider: string, found: FoundRates): { rates: Rates; derived: string[] } {
  const { input, output } = found;
  const [five, hour] = provider === "anthropic" ? [(input * 5) / 4, input * 2] : [input, found.cacheWrite5m ?? input];
  const fallback = { input, output, cacheRead: input, cacheWrite5m: five, cacheWrite1h: hour };
  const rates = Object.fromEntries(COLUMNS.map((column) => [column, found[column] ?? fallback[column]])) as Rates;
  return { rates, derived: COLUMNS.filter((column) => found[column] === undefined) };
}

/** Undefined where the model has no price of its own for audio. */
function audioRates(prices: ModelPrice, text: Rates): readonly number[] | undefined {
  const listed = (key: string): number | undefined => picoUsdPerToken(basePrice(prices[key]));
  const [input, output] = [listed("input_audio_mtok"), listed("output_audio_mtok")];
  if (input === undefined && output === undefined) return undefined;
  return [input ?? text.input, listed("cache_audio_read_mtok") ?? input ?? text.input, output ?? text.output];
}

function feesOf(prices: ModelPrice): Record<string, number> {
  const names = { web_searches_kcount: "webSearch", storage_searches_kcount: "fileSearch" } as const;
  return Object.fromEntries(
    Object.entries(names).flatMap(([key, name]) => {
      const usd = basePrice(prices[key]);
      return usd === undefined ? [] : [[name, picoUsdPerUse(String(usd))]];
    }),
  );
}

function overlayPeriod(id: string, period: PriceOverlay["models"][string]["periods"][number]): Period {
  const provider = id.slice(0, id.indexOf("/"));
  const base = fillRates(provider, overlayRates(period.perMillion));
  const above = Object.entries(period.above ?? {}).map(
    ([tokens, rates]) => [Number(tokens), columnsOf(fillRates(provider, overlayRates(rates)).rates)] as const,
  );
  return {
    ...(period.since && { since: period.since }),
    rates: columnsOf(base.rates),
    ...(above.length > 0 && { above: above.toSorted(([a], [b]) => a - b) }),
    ...(base.derived.length > 0 && { derived: base.derived }),
  };
}

function overlayRates(rates: OverlayRates): FoundRates {
  const entries = COLUMNS.flatMap((column) => (rates[column] === undefined ? [] : [[column, picoUsd(rates[column])]]));
  return Object.fromEntries(entries) as FoundRates;
}

/** Every model that a rule names has to be in the table: a name that is misspelt must not leave a model unpriced. */
function layOver(rows: ReadonlyMap<string, Row>, overlay: PriceOverlay): void {
  const rowsOf = (models: readonly string[]): readonly Row[] =>
    models.map((id) => {
      const row = rows.get(id);
      if (!row) throw new Error(`overlay.yaml: ${id} is not in the table`);
      return row;
    });
  for (const { kind, values, upToTokens, models } of overlay.modifiers) {
    const modifiers = Object.fromEntries(
      Object.entries(values).map(([value, times]) => [value, upToTokens === undefined ? times : { times, upToTokens }]),
    );
    for (const row of rowsOf(models)) row[kind] = { ...row[kind], ...modifiers };
  }
  for (const { hosts, models } of overlay.hosts) for (const row of rowsOf(models)) row.hosts = { ...row.hosts, ...hosts };
  for (const { fee, perThousand, models } of overlay.fees)
    for (const row of rowsOf(models)) row.fees = { ...row.fees, [fee]: picoUsdPerUse(perThousand) };
  for (const { maxOutputTokens, contextTokens, models } of overlay.outputLimits)
    for (const row of rowsOf(models)) {
      row.maxOutputTokens = maxOutputTokens;
      if (contextTokens !== undefined) row.contextTokens = contextTokens;
    }
  for (const { retiresOn, models } of overlay.retirements) for (const row of rowsOf(models)) row.retiresOn = retiresOn;
}

/** USD per million tokens → pico-USD per token, through the decimal text of the number, so that no float is multiplied. */
function picoUsdPerToken(usdPerMillion: number | undefined): number | undefined {
  return usdPerMillion === undefined ? undefined : picoUsd(String(usdPerMillion));
}

/** USD per thousand → pico-USD per one: a thousand times what a million would make it. */
function picoUsdPerUse(usdPerThousand: string): number {
  return picoUsd(usdPerThousand) * 1_000;
}

function picoUsd(usdPerMillion: string): number {
  const match = /^(\d+)(?:\.(\d{1,6}))?$/.exec(usdPerMillion);
  if (!match) throw new Error(`${usdPerMillion} USD per million tokens is no whole number of pico-USD per token`);
  return Number(`${match[1]}${(match[2] ?? "").padEnd(6, "0")}`);
}

function columnsOf(rates: Rates): readonly number[] {
  return COLUMNS.map((column) => {
    const rate = rates[column];
    if (!Number.isSafeInteger(rate)) throw new Error(`${column} ${rate} is not a whole number of pico-USD`);
    return rate;
  });
}

export function readCommittedPrices(): string {
  return readFileSync(PRICES_FILE, "utf8");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  if (!process.argv.includes("--check")) {
    writeFileSync(PRICES_FILE, derivePrices());
  } else if (derivePrices() !== readCommittedPrices()) {
    console.error("prices.json is not what its sources say; run: node scripts/generate-prices.ts");
    process.exitCode = 1;
  }
}
