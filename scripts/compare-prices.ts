import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { listedModels, multiply, type Price, readRateSetting, whole } from "@proliferate/metering/pricing";

/**
 * Compares the price table with a second source: the map of an installed LiteLLM.
 *
 *   node scripts/compare-prices.ts FOLDER            FOLDER holds model_prices_and_context_window_backup.json; prints the differences
 *   node scripts/compare-prices.ts FOLDER --write    writes them to packages/metering/src/pricing/comparison.md, each with what decides it
 *
 * LITELLM_PRICES_FOLDER stands in for FOLDER.
 */
const REPORT_FILE = new URL("../packages/metering/src/pricing/comparison.md", import.meta.url);
const MAP_FILE = "model_prices_and_context_window_backup.json";

type Entry = Readonly<Record<string, unknown>>;

interface Difference {
  readonly model: string;
  readonly what: string;
  readonly ours: string;
  readonly theirs: string;
}

/** Of every model that both have: each rate by class, tier and service tier, each multiplier, fee and limit that both state, or one of them lacks. */
export function comparePrices(
  map: Readonly<Record<string, Entry>>,
  at: Date,
): { readonly compared: number; readonly figures: number; readonly differences: readonly Difference[] } {
  const differences: Difference[] = [];
  let compared = 0;
  let figures = 0;
  for (const [id, model] of listedModels()) {
    const [provider = "", name = ""] = id.split("/");
    const theirs = map[name];
    if (!theirs || theirs["litellm_provider"] !== provider) continue;
    compared += 1;
    const price = model.prices.at(at);
    const facts = [...rateFacts(price, theirs), ...multiplierFacts(price, theirs), ...limitFacts(model, theirs)];
    figures += facts.length;
    for (const { what, ours, theirs: other } of facts) if (ours !== other) differences.push({ model: id, what, ours, theirs: other });
  }
  return { compared, figures, differences };
}

type Fact = Omit<Difference, "model">;

function rateFacts(price: Price, entry: Entry): readonly Fact[] {
  return Object.entries(entry).flatMap(([name, value]) => {
    const setting = typeof value === "number" ? readRateSetting(name) : undefined;
    if (!setting) return [];
    const card =
      setting.aboveTokens === undefined ? price.rates : price.tiers.find((tier) => tier.aboveTokens === setting.aboveTokens)?.rates;
    const modifier = setting.serviceTier === undefined ? undefined : price.modifiers.serviceTier?.get(setting.serviceTier);
    const isUnknown = !card || (setting.serviceTier !== undefined && !modifier?.multiplier) || price.unlisted.includes(setting.class);
    const exact = isUnknown ? undefined : multiply(whole(card[setting.class]), modifier?.multiplier ?? { numerator: 1n, denominator: 1n });
    const ours = exact === undefined ? "-" : perMillion(Number(exact.numerator) / Number(exact.denominator) / 1e12);
    return [{ what: name, ours, theirs: perMillion(value as number) }];
  });
}

/** For people to read: USD per million, six places; an amount is never made of it. */
function perMillion(usd: number): string {
  return String(Number((usd * 1e6).toFixed(6)));
}

function multiplierFacts(price: Price, entry: Entry): readonly Fact[] {
  const specific = (entry["provider_specific_entry"] ?? {}) as Entry;
  const ours = { fast: price.modifiers.speed?.get("fast"), us: price.modifiers.geography?.get("us") };
  const facts = Object.entries(ours).map(([name, modifier]) => {
    const factor = modifier?.multiplier;
    return {
      what: `multiplier ${name}`,
      ours: factor ? String(Number(factor.numerator) / Number(factor.denominator)) : "-",
      theirs: specific[name] === undefined ? "-" : String(specific[name]),
    };
  });
  const search = (entry["search_context_cost_per_query"] as Entry | undefined)?.["search_context_size_medium"];
  const fee = price.fees.webSearch;
  return [
    ...facts,
    {
      what: "web search, USD",
      ours: fee === undefined ? "-" : String(Number(fee) / 1e12),
      theirs: search === undefined ? "-" : String(search),
    },
  ];
}

const text = (value: unknown): string => (value === undefined ? "-" : String(value));

function limitFacts(
  model: {
    readonly maxOutputTokens: number | undefined;
    readonly retiresOn: string | undefined;
    readonly hosts: ReadonlyMap<string, string>;
  },
  entry: Entry,
): readonly Fact[] {
  return [
    { what: "max_output_tokens", ours: text(model.maxOutputTokens), theirs: text(entry["max_output_tokens"]) },
    {
      what: "regional host eu",
      ours: text(model.hosts.get("eu.api.openai.com")),
      theirs: text(entry["regional_processing_uplift_multiplier_eu"]),
    },
  ];
}

/** What decides a difference: the provider's page; why the other source says something else where that is known. */
function decisionOf({ model, what, ours, theirs }: Difference): string {
  const page = model.startsWith("anthropic/")
    ? "platform.claude.com/docs/en/about-claude/pricing"
    : "developers.openai.com/api/docs/pricing";
  if (what === "multiplier us") return "platform.claude.com/docs/en/build-with-claude/data-residency: Opus 4.6 and all later models";
  if (what === "multiplier fast") return "platform.claude.com/docs/en/build-with-claude/fast-mode";
  if (what.startsWith("cache_read") && /flex|batches/.test(what)) return `${page}: half of the standard rate, of which this is a rounding`;
  if (what.includes("web search"))
    return ours === "-"
      ? "no price here: its use is flagged"
      : `${page}: 10 USD per 1,000${theirs === "0.025" ? "; the map has the price of the preview tool" : ""}`;
  if (what === "max_output_tokens" && ours === "-") return "unknown here: admission reserves by the context window";
  if (ours === "-") return "no page compared yet: unpriced here, and flagged where it is used";
  return page;
}

export function reportOf({ compared, figures, differences }: ReturnType<typeof comparePrices>, version: string): string {
  const rows = differences.map(
    (difference) =>
      `| ${difference.model} | \`${difference.what}\` | ${difference.ours} | ${difference.theirs} | ${decisionOf(difference)} |`,
  );
  return [
    "# The price table beside LiteLLM's",
    "",
    `Written by \`node scripts/compare-prices.ts FOLDER --write\` against LiteLLM ${version}: ${compared} models that both have, ${figures} figures, ${differences.length} differences.`,
    "Rates are USD per million tokens; `-` = not stated. What is compared only in one direction: figures that LiteLLM does not state.",
    "",
    "| model | figure | ours | LiteLLM's | what decides |",
    "|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const folder = process.argv[2]?.startsWith("--") === false ? process.argv[2] : process.env["LITELLM_PRICES_FOLDER"];
  if (folder === undefined) throw new Error(`name the folder of LiteLLM's ${MAP_FILE}, or set LITELLM_PRICES_FOLDER`);
  const map = JSON.parse(readFileSync(join(folder, MAP_FILE), "utf8")) as Readonly<Record<string, Entry>>;
  const version = process.argv.find((argument) => argument.startsWith("--version="))?.slice("--version=".length) ?? "as installed";
  const report = reportOf(comparePrices(map, new Date()), version);
  if (process.argv.includes("--write")) writeFileSync(REPORT_FILE, report);
  else process.stdout.write(report);
}
