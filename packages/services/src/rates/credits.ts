import type { DecimalText } from "@proliferate/shared/money";

/** What turns spend into credits. Frozen on each event, so a later change moves nothing that was already metered. */
export interface RateCard {
  /** Factor on the provider's price, as decimal text: `"3"`. */
  readonly markup: DecimalText;
  /** Credits for one USD; `"100"` makes 1 credit = $0.01. */
  readonly creditsPerUsd: DecimalText;
}
