import { durationPattern } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";

const UNITS: Readonly<Record<string, { readonly interval: string; readonly days: number }>> = {
  s: { interval: "seconds", days: 1 / 86_400 },
  m: { interval: "minutes", days: 1 / 1_440 },
  h: { interval: "hours", days: 1 / 24 },
  d: { interval: "days", days: 1 },
  w: { interval: "weeks", days: 7 },
  mo: { interval: "months", days: 30 },
};

/** A hundred years; beyond it a duration is a typing error, and PostgreSQL's calendar ends some time later. */
const MAX_DAYS = 36_500;

/**
 * `30s 15m 24h 7d 2w 1mo` → the text of a PostgreSQL interval. Strict where LiteLLM reads a prefix: `30min` is refused
 * instead of being read as 30 minutes by luck and `30months` as 30 minutes by accident. Throws `invalid_request`.
 */
export function intervalFromDuration(duration: string, param = "duration"): string {
  const unit = durationPattern.test(duration) ? UNITS[duration.replace(/^\d+/, "")] : undefined;
  const count = Number.parseInt(duration, 10);
  if (unit && count * unit.days <= MAX_DAYS) return `${count} ${unit.interval}`;
  throw new AppError(
    "invalid_request",
    `${param} "${duration}" is not a duration such as 30s, 15m, 24h, 7d, 2w or 1mo, of 100 years at most.`,
    { param },
  );
}
