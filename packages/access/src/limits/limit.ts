import { compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import type { Principal } from "../principals/index.ts";
import type { Amounts } from "./meters.ts";

/**
 * What one principal may use by one meter in one window: five dollars a key, forever; 10 requests a minute of a user. `amount` is in the unit
 * of the meter; null is no limit, and what is used counts all the same, as it does where `enforce` is `count`.
 */
export interface Limit {
  readonly principal: Principal;
  /** By its name in `meters.ts`. */
  readonly meter: string;
  /** `total`, `minute`, `hour`, `day`, `week`, `month`, these with a time zone (`day@Europe/Berlin`), or a duration (`5h`): see `limit_window_start`. */
  readonly window: string;
  /** The model that it is about, as callers call it; '' for all. */
  readonly model: string;
  readonly amount: DecimalText | null;
  readonly enforce: "refuse" | "count";
}

/** A limit in the window that is open now, and where its counter stands. */
export interface CountedLimit extends Limit {
  /** Both as PostgreSQL writes them: `-infinity` and `infinity` where the window is `total`. */
  readonly windowStart: string;
  readonly windowEnd: string;
  /** Until the window ends, whole, by the clock of the database; null where it never does. */
  readonly secondsLeft: number | null;
  readonly used: DecimalText;
  /** By requests in flight. */
  readonly reserved: DecimalText;
}

export type LimitVerdict =
  | { readonly kind: "fits" }
  /** Not even with every request in flight given back. */
  | { readonly kind: "exceeded"; readonly limit: CountedLimit }
  /** Only the reservations of requests in flight stand in the way. */
  | { readonly kind: "reserved"; readonly limit: CountedLimit };

/**
 * Whether a request may start that takes at least `least` of each meter. It then reserves the most that it can take in every one of
 * these limits, even where less is left: that closes the limit until the request ends, because nothing fits into less than nothing. So
 * what all requests together use beyond a limit is never more than one of them uses.
 *
 * The statements `insert_attempt_within_budgets` and `insert_attempt_within_limits` decide the same; a test compares them.
 */
export function checkLimits(limits: readonly CountedLimit[], asked: Amounts): LimitVerdict {
  let reserved: CountedLimit | undefined;
  for (const limit of limits) {
    if (limit.amount === null || limit.enforce === "count") continue;
    const least = asked.get(limit.meter)?.least;
    // A newer version of this program has set it: what it counts, nobody here knows.
    if (least === undefined) return { kind: "exceeded", limit };
    const unused = subtractDecimals(limit.amount, limit.used);
    if (!fits(least, unused)) return { kind: "exceeded", limit };
    if (!fits(least, subtractDecimals(unused, limit.reserved))) reserved ??= limit;
  }
  return reserved ? { kind: "reserved", limit: reserved } : { kind: "fits" };
}

/** Something must be left even for a request that costs nothing: a spent limit admits nothing. */
function fits(least: DecimalText, left: DecimalText): boolean {
  return compareDecimals(left, "0") > 0 && compareDecimals(least, left) <= 0;
}

/** Whether it is LiteLLM's `max_budget` of a key or team: what an attempt holds of it stands in `reserved_usd`. */
export function isLiteLLMBudget({ principal, meter, window, model }: Limit): boolean {
  return (principal.kind === "key" || principal.kind === "team") && meter === "usd" && window === "total" && model === "";
}

/** A LiteLLM budget of a key or team whose window has ended. */
export interface DueBudget {
  readonly id: string;
  readonly duration: string;
  readonly resetAt: Date;
}
