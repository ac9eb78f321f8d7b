import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { findProvider, type ModelInfo, type ModelPrice } from "@pydantic/genai-prices";

/**
 * Writes packages/services/src/pricing/prices.json from the npm package @pydantic/genai-prices (MIT): the prices of
 * Anthropic's and OpenAI's chat models, as whole pico-USD per token.
 *
 *   node scripts/generate-prices.ts           writes the prices that are valid today
 *   node scripts/generate-prices.ts --check   derives them for the day in the file, exits 1 if the file differs
 */
const PRICES_FILE = new URL("../packages/services/src/pricing/prices.json", import.meta.url);
const SOURCE_FILE = new URL("../node_modules/@pydantic/genai-prices/package.json", import.meta.url);

/** The order of the columns of a row. */
const COLUMNS = ["input", "cacheRead", "cacheWrite5m", "cacheWrite1h", "output"] as const;
type Rates = Record<(typeof COLUMNS)[number], number>;

interface Row {
  readonly rates: readonly number[];
  readonly longContext?: { readonly aboveTokens: number; readonly rates: readonly number[] };
  /** The day since which the price holds, where the source knows a change. */
  readonly since?: string;
  /** Columns that the source does not list, and which we set by the rule in `completeRates`. */
  readonly derived?: readonly string[];
}

/** Models that answer no chat, are priced by something else than text tokens, or were retired long ago. */
const OTHER_KINDS = /audio|realtime|image|tts|whisper|transcribe|embed|moderation|davinci|curie|babbage|^ada|dall-e|sora|instruct|^text-|^claude-(?:v1|2)|computer-use|deep-research|search-preview|oss|:|\.ft-/;
/** Spellings of other clouds for the same models (`gpt-5-4`, `gpt-35-turbo`). */
const FOREIGN_SPELLING = /^gpt-\d-\d|^gpt-35/;
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

export function derivePrices(asOf: string): string {
  const { version, license } = JSON.parse(readFileSync(SOURCE_FILE, "utf8")) as { version: string; license: string };
  const rows = ["anthropic", "openai"].flatMap((provider) => deriveProvider(provider, asOf)).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const source = { package: "@pydantic/genai-prices", version, license, asOf };
  const lines = rows.map(([id, row]) => `    ${JSON.stringify(id)}: ${JSON.stringify(row)}`);
  const head = `"unit": "pico-USD per token",\n  "columns": ${JSON.stringify(COLUMNS)},\n  "source": ${JSON.stringify(source)}`;
  return `{\n  ${head},\n  "models": {\n${lines.join(",\n")}\n  }\n}\n`;
}

function deriveProvider(providerId: string, asOf: string): readonly (readonly [string, Row])[] {
  const models = findProvider({ providerId })?.models ?? [];
  return models.flatMap((model) => {
    const names = exactNames(model).filter((name) => !OTHER_KINDS.test(name) && !FOREIGN_SPELLING.test(name));
    const row = names.length > 0 ? deriveRow(providerId, model, asOf) : undefined;
    return row ? names.map((name) => [`${providerId}/${name}`, row] as const) : [];
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

function deriveRow(provider: string, model: ModelInfo, asOf: string): Row | undefined {
  const { prices, since } = pricesOn(model, asOf);
  const start = tierStart(model.id, prices);
  const base = completeRates(provider, prices, (price) => (typeof price === "object" ? price.base : price));
  if (!base) return undefined;
  const long = start === undefined ? undefined : completeRates(provider, prices, (price) => (typeof price === "object" ? price.tiers[0]?.price : price));
  return {
    rates: columnsOf(base.rates),
    ...(long && start !== undefined && { longContext: { aboveTokens: start, rates: columnsOf(long.rates) } }),
    ...(since && { since }),
    ...(base.derived.length > 0 && { derived: base.derived }),
  };
}

/** Of dated prices, the newest that is in force on the day. Throws on prices that depend on the hour: a row cannot say that. */
function pricesOn(model: ModelInfo, asOf: string): { readonly prices: ModelPrice; readonly since?: string } {
  if (!Array.isArray(model.prices)) return { prices: model.prices };
  let chosen: { prices: ModelPrice; since?: string } | undefined;
  for (const { constraint, prices } of model.prices) {
    if (constraint && constraint.type !== "start_date") throw new Error(`${model.id}: a price by time of day cannot be expressed`);
    if (constraint && constraint.start_date > asOf) continue;
    chosen = { prices, ...(constraint && { since: constraint.start_date }) };
  }
  if (!chosen) throw new Error(`${model.id}: no price is in force on ${asOf}`);
  return chosen;
}

type SourcePrice = ModelPrice[string];

function tierStart(id: string, prices: ModelPrice): number | undefined {
  const tiers = Object.values(prices).flatMap((price) => (typeof price === "object" ? price.tiers : []));
  const starts = new Set(tiers.map((tier) => tier.start));
  if (starts.size > 1) throw new Error(`${id}: more than one long-context step cannot be expressed`);
  return [...starts][0];
}

/**
 * Fills what the source does not list: a cache read or write without a price costs what input costs (never nothing), and
 * Anthropic's writes 1.25 times (5 minutes) and twice (an hour) the input, as its price page says.
 */
function completeRates(provider: string, prices: ModelPrice, pick: (price: SourcePrice) => number | undefined): { rates: Rates; derived: string[] } | undefined {
  const listed = (key: string): number | undefined => picoUsdPerToken(pick(prices[key]));
  const input = listed("input_mtok");
  const output = listed("output_mtok");
  if (input === undefined || output === undefined) return undefined;
  const [five, hour] = provider === "anthropic" ? [(input * 5) / 4, input * 2] : [input, listed("cache_write_mtok") ?? input];
  const fallback = { input, output, cacheRead: input, cacheWrite5m: five, cacheWrite1h: hour };
  const found = { input, output, cacheRead: listed("cache_read_mtok"), cacheWrite5m: listed("cache_write_mtok"), cacheWrite1h: listed("cache_write_1h_mtok") };
  const rates = Object.fromEntries(COLUMNS.map((column) => [column, found[column] ?? fallback[column]])) as Rates;
  return { rates, derived: COLUMNS.filter((column) => found[column] === undefined) };
}

/** USD per million tokens → pico-USD per token, through the decimal text of the number, so that no float is multiplied. */
function picoUsdPerToken(usdPerMillion: number | undefined): number | undefined {
  if (usdPerMillion === undefined) return undefined;
  const match = /^(\d+)(?:\.(\d{1,6}))?$/.exec(String(usdPerMillion));
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

/** The day for which the committed file was derived. */
export function readCommittedPrices(): { readonly text: string; readonly asOf: string } {
  const text = readFileSync(PRICES_FILE, "utf8");
  return { text, asOf: (JSON.parse(text) as { source: { asOf: string } }).source.asOf };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  if (process.argv.includes("--check")) {
    const { text, asOf } = readCommittedPrices();
    if (derivePrices(asOf) !== text) {
      console.error("prices.json is not what its source says; run: node scripts/generate-prices.ts");
      process.exitCode = 1;
    }
  } else {
    writeFileSync(PRICES_FILE, derivePrices(new Date().toISOString().slice(0, 10)));
  }
}
