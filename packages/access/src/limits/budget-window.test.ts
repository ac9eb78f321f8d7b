import { expect, test } from "vitest";
import { nextBudgetReset } from "./budget-window.ts";

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
  ["2d", "2026-11-21T10:20:30.400Z", "2026-11-23T10:20:30.400Z"],
  ["90s", "2026-11-21T10:20:30.400Z", "2026-11-21T10:22:00.400Z"],
])("a window of %s that is open at %s ends at %s", (duration, now, end) => {
  expect(nextBudgetReset(duration, new Date(now)).toISOString()).toBe(end);
});

test("a window that is no duration is refused under its own name", () => {
  expect(() => nextBudgetReset("daily", new Date())).toThrow(
    expect.objectContaining({ code: "invalid_request", param: "budget_duration" }),
  );
});
