import type { Fee, ModifierKind, PricedClass } from "../usage/index.ts";
import { fractionFromText, ONE } from "./fraction.ts";
import type { Modifier, Price, PriceSchedule, TokenRates } from "./price.ts";
import table from "./prices.json" with { type: "json" };

/** A provider by its name, the prefix of its models in the table. One that the table does not have has no listed prices. */
export type PricedProvider = string;

/** A model of the table: what it costs over time, and how much it takes and answers. */
export interface ListedModel {
  readonly prices: PriceSchedule;
  /** Most tokens of input and output together; undefined where no source says. */
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
  /** ISO day on which the provider stops to serve it. */
  readonly retiresOn: string | undefined;
  /** Multipliers of hosts whose every rate is higher, by host name. */
  readonly hosts: ReadonlyMap<string, string>;
}

/** `[input, cacheRead, cacheWrite5m, cacheWrite1h, output]` in pico-USD per token; `audio`: `[input, cacheRead, output]`. */
type RateColumns = readonly number[];

interface PeriodRow {
  readonly since?: string;
  readonly rates: RateColumns;
  readonly above?: readonly (readonly [number, RateColumns])[];
  readonly audio?: RateColumns;
  readonly derived?: readonly string[];
}

type ModifierRow = string | { readonly times: string; readonly upToTokens: number };

interface PriceRow extends Partial<Readonly<Record<ModifierKind, Readonly<Record<string, ModifierRow>>>>> {
  readonly periods: readonly PeriodRow[];
  readonly hosts?: Readonly<Record<string, string>>;
  readonly fees?: Readonly<Partial<Record<Fee, number>>>;
  readonly contextTokens?: number;
  readonly maxOutputTokens?: number;
  readonly retiresOn?: string;
}

const AUDIO_CLASSES: readonly PricedClass[] = ["audioInputTokens", "audioCacheReadTokens", "audioOutputTokens"];
const ROWS = table.models as unknown as Readonly<Record<string, PriceRow>>;
const MODELS: ReadonlyMap<string, ListedModel> = new Map(Object.entries(ROWS).map(([id, row]) => [id, listedModel(id, row)]));

/** The dates that providers append to a model's name: `-20250929`, `-2026-03-05`. */
const SNAPSHOT_DATE = /-(?:\d{8}|\d{4}-\d{2}-\d{2})$/;

/** The name without the date of its snapshot. */
export function undatedName(model: string): string {
  return model.replace(SNAPSHOT_DATE, "");
}

/**
 * A model by its upstream name. A dated snapshot is its model, unless it has a row of its own; otherwise names match
 * exactly, so that a new generation never gets the price of an older one. Undefined for a model that is not in the table.
 */
export function findListedModel(provider: PricedProvider, model: string): ListedModel | undefined {
  return MODELS.get(`${provider}/${model}`) ?? MODELS.get(`${provider}/${undatedName(model)}`);
}

/** Every model of the table, by id (`anthropic/claude-sonnet-5`). */
export function listedModels(): ReadonlyMap<string, ListedModel> {
  return MODELS;
}

/** The price of the last period that began, by the day in UTC; the first where none had. */
export function scheduleOf(id: string, periods: readonly { readonly since: string | undefined; readonly price: Price }[]): PriceSchedule {
  const [first] = periods;
  if (!first) throw new RangeError(`${id} has no price at any time`);
  return {
    id,
    changesOn: periods.flatMap(({ since }) => (since === undefined ? [] : [since])),
    at: (startedAt) => {
      const day = startedAt.toISOString().slice(0, 10);
      return (periods.findLast(({ since }) => since !== undefined && since <= day) ?? first).price;
    },
  };
}

function listedModel(id: string, row: PriceRow): ListedModel {
  return {
    prices: scheduleOf(
      id,
      row.periods.map((period) => ({ since: period.since, price: priceOf(id, row, period) })),
    ),
    contextTokens: row.contextTokens,
    maxOutputTokens: row.maxOutputTokens,
    retiresOn: row.retiresOn,
    hosts: new Map(Object.entries(row.hosts ?? {})),
  };
}

function priceOf(id: string, row: PriceRow, period: PeriodRow): Price {
  // OpenAI's long-lived cache write has a price on some models' pages only; where it is ours by a rule, its use is flagged.
  const isLongWriteUnlisted = id.startsWith("openai/") && period.derived?.includes("cacheWrite1h") === true;
  return {
    id,
    rates: ratesOf(period.rates, period.audio),
    tiers: (period.above ?? []).map(([aboveTokens, rates]) => ({ aboveTokens, rates: ratesOf(rates, period.audio) })),
    modifiers: { serviceTier: modifiersOf(row.serviceTier), speed: modifiersOf(row.speed), geography: modifiersOf(row.geography) },
    fees: Object.fromEntries(Object.entries(row.fees ?? {}).map(([fee, picoUsd]) => [fee, BigInt(picoUsd)])),
    multiplier: ONE,
    unlisted: [...unlistedAudio(id, period), ...(isLongWriteUnlisted ? (["cacheWrite1hTokens"] as const) : [])],
    isFree: false,
  };
}

/** Google's page has one price for text and sound that is heard, but where it lists two. */
function unlistedAudio(id: string, period: PeriodRow): readonly PricedClass[] {
  if (id.startsWith("gemini/")) return ["audioOutputTokens"];
  return period.audio ? [] : AUDIO_CLASSES;
}

function modifiersOf(rows: Readonly<Record<string, ModifierRow>> = {}): ReadonlyMap<string, Modifier> {
  const modifier = (row: ModifierRow): Modifier =>
    typeof row === "string"
      ? { multiplier: fractionFromText(row) }
      : { multiplier: fractionFromText(row.times), upToTokens: row.upToTokens };
  return new Map(Object.entries(rows).map(([value, row]) => [value, modifier(row)]));
}

function ratesOf(columns: RateColumns, audio: RateColumns | undefined): TokenRates {
  // A missing column is a broken file; BigInt refuses NaN, so it cannot become a price of zero.
  const column = (from: RateColumns, index: number): bigint => BigInt(from[index] ?? Number.NaN);
  return {
    inputTokens: column(columns, 0),
    cacheReadTokens: column(columns, 1),
    cacheWrite5mTokens: column(columns, 2),
    cacheWrite1hTokens: column(columns, 3),
    audioInputTokens: audio ? column(audio, 0) : column(columns, 0),
    audioCacheReadTokens: audio ? column(audio, 1) : column(columns, 1),
    outputTokens: column(columns, 4),
    audioOutputTokens: audio ? column(audio, 2) : column(columns, 4),
  };
}
