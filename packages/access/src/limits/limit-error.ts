import { AppError } from "@proliferate/shared/errors";
import type { PrincipalKind } from "../principals/index.ts";
import type { CountedLimit, LimitVerdict } from "./limit.ts";
import { METERS } from "./meters.ts";

/** Whose limit it is, as a caller reads it. */
const WHOSE: Readonly<Record<PrincipalKind, string>> = { key: "API key", user: "user", team: "team", payer: "organization" };

/** In which a short wait helps: the caller may come back within the minute. */
const LONGEST_SHORT_WINDOW_MS = 60_000;

/**
 * What a caller is told whose request has no room in a limit:
 *
 * - USD: `budget_exceeded`, or `budget_reserved` (retry in 1 s) where only requests in flight stand in the way
 * - what comes back when requests end (tokens): `limit_reserved` (retry in 1 s) while it is reserved
 * - a window of a minute or less, and what runs at one time: `rate_limited`, with the seconds until there is room
 * - every other window: `limit_exceeded`
 *
 * Amounts are told of the key alone: a team's are not for everyone who holds one of its keys.
 */
export function limitError({ kind, limit }: Exclude<LimitVerdict, { kind: "fits" }>): AppError {
  const details = {
    scope: limit.principal.kind,
    meter: limit.meter,
    window: limit.window,
    amount: limit.amount,
    used: limit.used,
    reserved: limit.reserved,
    // For headers; a body tells no details.
    limit,
  };
  const whose = WHOSE[limit.principal.kind];
  if (limit.meter === "usd") return budgetError(kind, limit, { details, whose });
  const meter = METERS[limit.meter];
  const what = `${meter?.unit ?? limit.meter}${limit.window === "total" ? "" : ` ${windowText(limit.window)}`}`;
  if (kind === "reserved" && meter?.comesBack)
    return new AppError("limit_reserved", `What is left of the limit of ${what} of the ${whose} is reserved by requests in flight.`, {
      details,
      retryAfterSeconds: 1,
    });
  const message = `The limit of ${what} of the ${whose} is reached${amountText(limit)}${resetText(limit)}.`;
  if (kind === "reserved" && limit.window === "total") return new AppError("rate_limited", message, { details, retryAfterSeconds: 1 });
  const lengthMs = Date.parse(limit.windowEnd) - Date.parse(limit.windowStart);
  const { secondsLeft } = limit;
  if (secondsLeft !== null && lengthMs <= LONGEST_SHORT_WINDOW_MS)
    return new AppError("rate_limited", message, { details, retryAfterSeconds: Math.max(1, secondsLeft) });
  return new AppError("limit_exceeded", message, { details, ...(secondsLeft !== null && { retryAfterSeconds: secondsLeft }) });
}

function budgetError(
  kind: "exceeded" | "reserved",
  limit: CountedLimit,
  { details, whose }: { readonly details: Readonly<Record<string, unknown>>; readonly whose: string },
): AppError {
  if (kind === "reserved")
    return new AppError("budget_reserved", `What is left of the budget of the ${whose} is reserved by requests in flight.`, {
      details,
      retryAfterSeconds: 1,
    });
  const amounts = limit.principal.kind === "key" ? ` (${limit.used} of ${limit.amount} USD spent)` : "";
  return new AppError(
    "budget_exceeded",
    `The budget of the ${whose} is spent, or too little is left for this request${amounts}${resetText(limit)}.`,
    { details },
  );
}

function windowText(window: string): string {
  return /^\d/.test(window) ? `in ${window}` : `a ${window.replace("@", " of ")}`;
}

function amountText({ principal, amount, used }: CountedLimit): string {
  return principal.kind === "key" ? ` (${used} of ${amount})` : "";
}

function resetText({ windowEnd }: CountedLimit): string {
  return windowEnd === "infinity" ? "" : `; it begins anew at ${new Date(windowEnd).toISOString()}`;
}
