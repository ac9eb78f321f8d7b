import { intervalFromDuration } from "./duration.ts";

const MILLISECONDS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/**
 * When a budget of this window starts again at 0, in UTC. As LiteLLM snaps them: a day ends at midnight, a week on Monday,
 * 30 days and months on the first of a month; any other window is counted from now. Throws `invalid_request`.
 */
export function nextBudgetReset(duration: string, now: Date): Date {
  intervalFromDuration(duration, "budget_duration");
  const [year, month, day] = [now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()];
  if (duration === "24h" || duration === "1d") return new Date(Date.UTC(year, month, day + 1));
  // Sunday is day 0, so that from Monday on it is 7, 6, … 1 days to the next one.
  if (duration === "7d" || duration === "1w") return new Date(Date.UTC(year, month, day + 7 - ((now.getUTCDay() + 6) % 7)));
  if (duration === "30d") return new Date(Date.UTC(year, month + 1, 1));
  const count = Number.parseInt(duration, 10);
  if (duration.endsWith("mo")) return new Date(Date.UTC(year, month + count, 1));
  return new Date(now.getTime() + count * (MILLISECONDS[duration.slice(-1)] ?? 0));
}
