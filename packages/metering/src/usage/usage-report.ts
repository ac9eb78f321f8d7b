import { addUsage, NO_USAGE, type Usage } from "./usage.ts";

/**
 * What a provider reports that changes the rates of a part, in the provider's own words; undefined is the standard. The
 * value that served counts, not the one that was asked for.
 */
export interface UsageModifiers {
  /** OpenAI's and Anthropic's `service_tier`: `priority`, `flex`, `batch`. */
  readonly serviceTier?: string | undefined;
  /** Anthropic's `speed`: `fast`. */
  readonly speed?: string | undefined;
  /** Anthropic's `inference_geo`: `us`. */
  readonly geography?: string | undefined;
}

/** What can change the price of an answer beside its units. */
export const MODIFIER_KINDS = ["serviceTier", "speed", "geography"] as const satisfies readonly (keyof UsageModifiers)[];
/** One of {@link MODIFIER_KINDS}. */
export type ModifierKind = (typeof MODIFIER_KINDS)[number];

/** What is paid for by use, beside the tokens. */
export const FEES = ["webSearch", "fileSearch", "codeSession"] as const;
/** One of {@link FEES}. */
export type Fee = (typeof FEES)[number];
/** How often each fee is due; one that is absent is due never. */
export type FeeCounts = Readonly<Partial<Record<Fee, number>>>;

/** What one model did for an answer. An answer has one, or several where the provider ran more than one pass or model. */
export interface UsagePart {
  /** The model that served it, as the provider names it; undefined = the deployment's own. */
  readonly model: string | undefined;
  readonly usage: Usage;
  readonly modifiers: UsageModifiers;
  /**
   * The provider's rule says that these tokens are not charged; they stand in the row all the same. `refusal`: the model
   * declined before it wrote anything.
   */
  readonly waived?: "refusal" | undefined;
}

/** Everything that an answer's price is a function of, as the provider reported it. */
export interface UsageReport {
  /** At least one. The bill is the sum over them. */
  readonly parts: readonly UsagePart[];
  /**
   * The same by other words of the provider, where it contradicts itself in a way that leads to another price; named in
   * `unknown`, too. The dearer of the two is the bill (`dearerReading`). Default: it does not.
   */
  readonly otherwise?: readonly UsagePart[] | undefined;
  readonly uses: FeeCounts;
  /** Names of usage fields, or `field=value`, that the reader does not know; sorted, bounded in count and length. */
  readonly unknown: readonly string[];
  /**
   * The provider's own words, bounded: its usage and what stands beside it that changes a price, as the dialect's reader can
   * read it again. Undefined where no usage came, or where it was larger than is kept.
   */
  readonly raw: Readonly<Record<string, unknown>> | undefined;
}

export const NO_REPORT: UsageReport = {
  parts: [{ model: undefined, usage: NO_USAGE, modifiers: {} }],
  uses: {},
  unknown: [],
  raw: undefined,
};

/** A report of one part at standard rates: what an estimate has. */
export function reportOf(usage: Usage): UsageReport {
  return { ...NO_REPORT, parts: [{ model: undefined, usage, modifiers: {} }] };
}

/** The tokens of all parts: what the row's token columns say. */
export function totals(report: UsageReport): Usage {
  return report.parts.reduce((sum, part) => addUsage(sum, part.usage), NO_USAGE);
}

/** The report with one more name of what is not known. */
export function withUnknown(report: UsageReport, name: string): UsageReport {
  return { ...report, unknown: [...report.unknown, name].toSorted() };
}

/** The report with the usage of its last part changed: how an estimate is put where the provider did not say. */
export function withLastUsage(report: UsageReport, change: (usage: Usage) => Usage): UsageReport {
  const changed = (parts: readonly UsagePart[]): readonly UsagePart[] =>
    parts.map((part, index) => (index === parts.length - 1 ? { ...part, usage: change(part.usage) } : part));
  return { ...report, parts: changed(report.parts), ...(report.otherwise && { otherwise: changed(report.otherwise) }) };
}
