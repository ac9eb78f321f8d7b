import type { RequestFacts } from "../body/request-facts.ts";

/**
 * What a model that reasons can produce in a second without a byte of it being seen: faster than any model of today's price
 * table reasons, so that what is settled by it is an upper bound. It counts only where an answer ended without the provider's own counts.
 */
const HIDDEN_TOKENS_PER_SECOND = 200;

/** No server gives more answers at once; the rate stays a number that a column holds. */
const MOST_CHOICES = 16_384;

/** They reason whatever the request says: OpenAI's reasoning models (unless told `none`), Claude models that always think, and Gemini since 2.5. */
const ALWAYS_REASONS = /^(claude-(opus-5-5|fable)|gpt-([5-9]|\d\d)(?!.*-chat)|o\d|gemini-(2\.5-(pro|flash)(?!-lite)|[3-9]))/;
/** Of those, the ones that no setting stops. */
const CANNOT_BE_STOPPED = /^(claude-|gemini-(2\.5-pro|[3-9]))/;

/** How many tokens the answers of this request may have in a second that nobody sees; 0 where it does not reason. */
export function hiddenTokensPerSecond(upstreamModel: string, { reasoning, choices }: Pick<RequestFacts, "reasoning" | "choices">): number {
  const always = ALWAYS_REASONS.test(upstreamModel);
  const reasons = always ? CANNOT_BE_STOPPED.test(upstreamModel) || reasoning !== "off" : reasoning === "on";
  return reasons ? HIDDEN_TOKENS_PER_SECOND * Math.min(choices, MOST_CHOICES) : 0;
}
