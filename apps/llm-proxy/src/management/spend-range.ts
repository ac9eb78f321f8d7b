import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";

export const DAY_MS = 86_400_000;

/** So many days of rows one call sums at most: it reads every row of its range. */
const MOST_DAYS = 92;

/** `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS`, UTC; a day is its first moment. */
export const utcInstant = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}:\d{2})?$/, "must be YYYY-MM-DD or YYYY-MM-DD HH:MM:SS, in UTC")
  .transform((text, context) => {
    const instant = new Date(text.length === 10 ? `${text}T00:00:00Z` : `${text.replace(" ", "T")}Z`);
    // February 30 would be read as a day in March.
    if (!Number.isNaN(instant.getTime()) && instant.toISOString().startsWith(text.slice(0, 10))) return instant;
    context.addIssue({ code: "custom", message: "is not a date of the calendar" });
    return z.NEVER;
  });

/** The same as an end that is included: a day is its last moment, in the milliseconds that the column holds. */
export const utcEnd = z.string().transform((text, context) => {
  const result = utcInstant.safeParse(text);
  if (result.success) return new Date(result.data.getTime() + (text.length === 10 ? DAY_MS - 1 : 0));
  context.addIssue({ code: "custom", message: result.error.issues[0]?.message ?? "is not a date" });
  return z.NEVER;
});

/** Of "startTime": from inclusive, to exclusive. */
export interface TimeRange {
  readonly from: Date;
  readonly to: Date;
}

/** From a first to a last moment, both included. Throws `invalid_request` where it ends before it begins, or is too long to be summed. */
export function requireRange(first: Date, last: Date): TimeRange {
  if (last < first) throw new AppError("invalid_request", "end_date is before start_date.", { param: "end_date" });
  const range = { from: first, to: new Date(last.getTime() + 1) };
  if (range.to.getTime() - first.getTime() <= MOST_DAYS * DAY_MS) return range;
  throw new AppError("invalid_request", `From start_date to end_date are more than ${MOST_DAYS} days; ask for less at a time.`, {
    param: "start_date",
  });
}

/** What LiteLLM means by "last 30 days": from the first moment of the day 30 days ago, in UTC. */
export function lastThirtyDays(now: Date): TimeRange {
  return { from: new Date((Math.floor(now.getTime() / DAY_MS) - 30) * DAY_MS), to: new Date(now.getTime() + DAY_MS) };
}
