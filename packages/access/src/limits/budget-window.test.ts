import { expect, test } from "vitest";
import { nextBudgetReset, nextStoredReset } from "./budget-window.ts";

test.each([
  ["1d", "2026-11-21T10:20:30.400Z", "2026-11-22T00:00:00.000Z"],
  ["24h", "2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00.000Z"],
  ["1d", "2026-11-21T00:00:00.000Z", "2026-11-22T00:00:00.000Z"],
  ["7d", "2026-11-21T10:20:30.400Z", "2026-11-23T00:00:00.000Z"],
  ["7d", "2026-11-22T23:00:00.000Z", "2026-11-23T00:00:00.000Z"],
  ["1w", "2026-11-23T00:00:00.000Z", "2026-11-30T00:00:00.000Z"],
  ["30d", "2026-12-31T10:20:30.400Z", "2027-01-01T00:00:00.000Z"],
  ["1mo", "2026-01-31T10:20:30.400Z", "2026-02-01T00:00:00.000Z"],
  ["3mo", "2026-11-21T10:20:30.400Z", "2027-02-01T00:00:00.000Z"],
  // As LiteLLM 1.104 answered at that moment.
  ["30s", "2026-11-28T03:24:36.636Z", "2026-11-28T03:25:00.000Z"],
  ["90m", "2026-11-28T03:24:36.641Z", "2026-11-28T04:30:00.000Z"],
  ["1h", "2026-11-28T03:24:36.647Z", "2026-11-28T04:00:00.000Z"],
  ["2d", "2026-11-28T03:24:36.661Z", "2026-11-30T00:00:00.000Z"],
  ["daily", "2026-11-28T03:24:36.661Z", "2026-11-29T00:00:00.000Z"],
  ["weekly", "2026-11-28T03:24:36.661Z", "2026-11-30T00:00:00.000Z"],
  [" Monthly ", "2026-11-28T03:24:36.661Z", "2026-12-01T00:00:00.000Z"],
  // As its code has it.
  ["hourly", "2026-11-21T10:00:00.000Z", "2026-11-21T11:00:00.000Z"],
  ["5h", "2026-11-21T10:20:30.400Z", "2026-11-21T15:00:00.000Z"],
  ["5h", "2026-11-21T23:20:30.400Z", "2026-11-22T01:00:00.000Z"],
  ["90s", "2026-11-21T10:20:30.400Z", "2026-11-21T10:21:30.000Z"],
  ["2w", "2026-11-21T10:20:30.400Z", "2026-12-05T00:00:00.000Z"],
  // LiteLLM ends these two on the next day.
  ["48h", "2026-11-21T10:20:30.400Z", "2026-11-23T00:00:00.000Z"],
  ["2880m", "2026-11-21T10:20:30.400Z", "2026-11-23T10:00:00.000Z"],
])("litellm fields 1: a window of %s that is open at %s ends at %s", (duration, now, end) => {
  expect(nextBudgetReset(duration, new Date(now)).toISOString()).toBe(end);
});

test.each(["30min", "yearly", "0d", "constructor", ""])(
  "a window of %j is refused under its own name, and where it stands in a row it ends at midnight",
  (duration) => {
    const now = new Date("2026-11-21T10:20:30.400Z");

    expect(() => nextBudgetReset(duration, now)).toThrow(expect.objectContaining({ code: "invalid_request", param: "budget_duration" }));
    expect(nextStoredReset(duration, now).toISOString()).toBe("2026-11-22T00:00:00.000Z");
  },
);
