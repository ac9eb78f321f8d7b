import { intervalFromDuration, parseDuration } from "./duration.ts";

const [SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS] = [1_000, 60_000, 3_600_000, 86_400_000];

/** Windows of these units follow each other from the beginning of the next greater one. */
const WITHIN: Readonly<Record<string, { readonly unitMs: number; readonly fromMs: number }>> = {
  s: { unitMs: SECOND_MS, fromMs: MINUTE_MS },
  m: { unitMs: MINUTE_MS, fromMs: HOUR_MS },
  h: { unitMs: HOUR_MS, fromMs: DAY_MS },
};

/**
 * When a budget of this window starts again at 0, in UTC, as LiteLLM 1.104 snaps them: a day ends at midnight, a week on Monday, 30 days and
 * months on the first of a month, other days at midnight, hours at a full hour (`5h`: at 5, 10, 15, 20 and 1 o'clock), minutes at a
 * full minute, seconds at a full second. Only what LiteLLM cuts short is whole here: hours and minutes beyond the next day. Throws `invalid_request`.
 */
export function nextBudgetReset(duration: string, now: Date): Date {
  intervalFromDuration(duration, "budget_duration");
  return nextStoredReset(duration, now);
}

/** The same of a window that stands in a row, whoever wrote it. One that cannot be read ends at midnight, as LiteLLM has it, so that it keeps no other from ending. */
export function nextStoredReset(duration: string, now: Date): Date {
  const { count, unit } = parseDuration(duration) ?? { count: 1, unit: "d" };
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  const within = WITHIN[unit];
  if (within) return endWithin(now, count * within.unitMs, within.fromMs);
  if (unit === "mo") return new Date(Date.UTC(year, month + count, 1));
  const days = unit === "w" ? count * 7 : count;
  if (days === 30 && unit === "d") return new Date(Date.UTC(year, month + 1, 1));
  // Sunday is day 0, so that from Monday on it is 7, 6, … 1 days to the next one.
  if (days === 7) return new Date(Date.UTC(year, month, day + 7 - ((now.getUTCDay() + 6) % 7)));
  return new Date(Date.UTC(year, month, day + days));
}

function endWithin(now: Date, windowMs: number, fromMs: number): Date {
  const base = now.getTime() - (now.getTime() % fromMs);
  const ended = Math.floor((now.getTime() - base) / windowMs);
  return new Date(base + (ended + 1) * windowMs);
}
