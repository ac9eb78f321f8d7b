import { type DecimalText, multiplyDecimals } from "@proliferate/shared/money";

/** What turns spend into credits. Frozen on each event, so a later change moves nothing that was already metered. */
export interface RateCard {
  /** Factor on the provider's price, as decimal text: `"3"`. */
  readonly markup: DecimalText;
  /** Credits for one USD; `"100"` makes 1 credit = $0.01. */
  readonly creditsPerUsd: DecimalText;
}

/** Exact: spend x markup x credits per USD, nothing rounded. The same product that the ingest statement computes. */
export function creditsForSpend(spendUsd: DecimalText, rate: RateCard): DecimalText {
  return multiplyDecimals(multiplyDecimals(spendUsd, rate.markup), rate.creditsPerUsd);
}
