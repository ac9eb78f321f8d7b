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

/** LiteLLM's words for durations; it reads them in any case, with blanks around them. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ["hourly", "1h"],
  ["daily", "24h"],
  ["weekly", "7d"],
  ["monthly", "30d"],
]);

/** A number and its unit (`s m h d w mo`) of a duration or of one of LiteLLM's words; undefined where it is neither, or is longer than a hundred years. */
export function parseDuration(duration: string): { readonly count: number; readonly unit: string } | undefined {
  const plain = WORDS.get(duration.trim().toLowerCase()) ?? duration;
  if (!durationPattern.test(plain)) return undefined;
  const [count, unit] = [Number.parseInt(plain, 10), plain.replace(/^\d+/, "")];
  return count * (UNITS[unit]?.days ?? Number.POSITIVE_INFINITY) <= MAX_DAYS ? { count, unit } : undefined;
}

/**
 * `30s 15m 24h 7d 2w 1mo monthly` → the text of a PostgreSQL interval. Strict where LiteLLM reads a prefix: `30min` is refused
 * instead of being read as 30 minutes by luck and `30months` as 30 minutes by accident. Throws `invalid_request`.
 */
export function intervalFromDuration(duration: string, param = "duration"): string {
  const parsed = parseDuration(duration);
  if (parsed) return `${parsed.count} ${UNITS[parsed.unit]?.interval}`;
  throw new AppError(
    "invalid_request",
    `${param} "${duration}" is not a duration such as 30s, 15m, 24h, 7d, 2w, 1mo or monthly, of 100 years at most.`,
    { param },
  );
}
