import type { CountedLimit, LimitWarning } from "@proliferate/access/limits";
import { isAppError } from "@proliferate/shared/errors";
import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import type { Dialect } from "../dialects/dialect.ts";

/**
 * What an answer tells its caller of limits, as they stand when it begins:
 *
 * - `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, or Anthropic's `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`:
 *   of that meter the limit of which least is left. SDKs and agents read them.
 * - `x-litellm-key-max-budget`, `x-litellm-key-spend`: the key's budget, as LiteLLM tells it
 * - `x-gateway-limits`: each limit that refuses, the nearest to its end first
 * - `x-gateway-limit-warning`: each limit of which 80 or 95 in a hundred are used, and each soft budget that is
 *
 * Amounts are told of the key and its user alone: a team's and a payer's are not for everyone who holds one of their keys.
 */

/** So many limits are told in a header: a line has to fit into the buffers on its way. */
const MOST_TOLD = 16;

/** The headers that this file begins with. */
export function limitHeaders(dialect: Dialect, limits: readonly CountedLimit[], warnings: readonly LimitWarning[]): Record<string, string> {
  const told = limits
    .filter(isTold)
    .map((limit) => ({ ...limit, left: leftOf(limit) }))
    .toSorted((one, other) => shareLeft(one) - shareLeft(other));
  const headers: Record<string, string> = {};
  for (const meter of ["requests", "tokens"] as const) {
    const [tightest] = told.filter((limit) => limit.meter === meter).toSorted((one, other) => compareDecimals(one.left, other.left));
    if (!tightest) continue;
    const { amount, left, windowEnd, secondsLeft } = tightest;
    const reset = secondsLeft === null ? undefined : { at: new Date(windowEnd), seconds: secondsLeft };
    Object.assign(headers, dialect.limitHeaders(meter, { amount, left, reset }));
  }
  const budget = told.find(
    ({ principal, meter, window, model }) => principal.kind === "key" && meter === "usd" && window === "total" && model === "",
  );
  if (budget) {
    headers["x-litellm-key-max-budget"] = budget.amount;
    headers["x-litellm-key-spend"] = budget.used;
  }
  if (told.length > 0) headers["x-gateway-limits"] = told.slice(0, MOST_TOLD).map(limitText).join(", ");
  if (warnings.length > 0) headers["x-gateway-limit-warning"] = warnings.slice(0, MOST_TOLD).map(warningText).join(", ");
  return headers;
}

/** The limit that an error of admission is about, as it stands; undefined for every other error. */
export function limitOfError(error: unknown): CountedLimit | undefined {
  return isAppError(error) ? (error.details["limit"] as CountedLimit | undefined) : undefined;
}

type ToldLimit = CountedLimit & { readonly amount: DecimalText };

function isTold(limit: CountedLimit): limit is ToldLimit {
  const { principal, amount, enforce } = limit;
  return amount !== null && enforce === "refuse" && (principal.kind === "key" || principal.kind === "user");
}

/** Never less than nothing: the last request of a limit may take more than was left. */
function leftOf({ amount, used, reserved }: ToldLimit): DecimalText {
  const left = subtractDecimals(amount, addDecimals(used, reserved));
  return compareDecimals(left, "0") < 0 ? "0" : left;
}

type LimitWithLeft = ToldLimit & { readonly left: DecimalText };

/** What share of it is left, for an order only. */
function shareLeft({ left, amount }: LimitWithLeft): number {
  return Number(amount) === 0 ? 0 : Number(left) / Number(amount);
}

/** Example: `requests;of="user";window="day";limit="100";remaining="41";reset=3600`. */
function limitText({ principal, meter, window, model, amount, left, secondsLeft }: LimitWithLeft): string {
  const reset = secondsLeft === null ? "" : `;reset=${secondsLeft}`;
  return `${nameText(principal.kind, meter, window, model)};limit="${amount}";remaining="${left}"${reset}`;
}

/** Example: `tokens;of="team";window="month";percent=95`. */
function warningText({ limit: { principal, meter, window, model }, percent }: LimitWarning): string {
  return `${nameText(principal.kind, meter, window, model)};${percent === null ? "soft_budget" : `percent=${percent}`}`;
}

/** A model's name is the operator's text: what no header may hold is escaped. */
function nameText(kind: string, meter: string, window: string, model: string): string {
  return `${meter};of="${kind}";window="${window}"${model === "" ? "" : `;model="${encodeURI(model.toWellFormed())}"`}`;
}
