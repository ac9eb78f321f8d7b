import { expect, test } from "vitest";
import type { CountedLimit } from "./limit.ts";
import { warningsOf } from "./limit-warning.ts";

const NONE = { key: null, team: null };
const limit = (fields: Partial<CountedLimit>): CountedLimit => ({
  principal: { kind: "key", id: "hash" },
  meter: "usd",
  window: "total",
  model: "",
  windowStart: "-infinity",
  windowEnd: "infinity",
  secondsLeft: null,
  enforce: "refuse",
  amount: "0.3",
  used: "0",
  reserved: "0",
  ...fields,
});

test.each([
  ["0.2399999999999999999", undefined],
  ["0.24", 80],
  ["0.28499999999999999999", 80],
  ["0.285", 95],
  ["7", 95],
])("of a limit of 0.3 of which %s are used, %s in a hundred are told, to the last digit", (used, percent) => {
  expect(warningsOf([limit({ used })], NONE).map((warning) => warning.percent)).toEqual(percent === undefined ? [] : [percent]);
});

test("what is reserved is not told of, nor a limit without an amount, or of nothing", () => {
  expect(warningsOf([limit({ reserved: "9" }), limit({ amount: null, used: "9" }), limit({ amount: "0", used: "9" })], NONE)).toEqual([]);
});

test("a soft budget is told of beside the limit, of the key or the team that it belongs to", () => {
  const limits = [
    limit({ used: "0.25" }),
    limit({ principal: { kind: "team", id: "t" }, amount: null, used: "0.25" }),
    limit({ meter: "tokens", used: "0" }),
  ];

  expect(
    warningsOf(limits, { key: "0.25", team: "0.26" }).map(({ limit: { principal, amount }, percent }) => [principal.kind, amount, percent]),
  ).toEqual([
    ["key", "0.3", 80],
    ["key", "0.25", null],
  ]);
});
