import fc from "fast-check";
import { expect, test } from "vitest";
import { checkLimits, type CountedLimit } from "./limit.ts";
import { METERS } from "./meters.ts";
import { usedUpPart } from "./used-up.ts";

const limit = (change: Partial<CountedLimit> = {}): CountedLimit => ({
  principal: { kind: "user", id: "u" },
  meter: "requests",
  window: "day",
  model: "",
  amount: "10",
  enforce: "refuse",
  windowStart: "2026-11-01 00:00:00+00",
  windowEnd: "2026-11-02 00:00:00+00",
  secondsLeft: 3_600,
  used: "10",
  reserved: "0",
  ...change,
});
const ofKey = (change: Partial<CountedLimit>): CountedLimit => limit({ principal: { kind: "key", id: "k" }, ...change });

test.each([
  ["what only reservations refuse", [limit({ used: "9", reserved: "1" })]],
  ["what only counts", [limit({ enforce: "count" })]],
  ["what has no amount", [limit({ amount: null })]],
  ["what has room for a smaller request", [limit({ meter: "usd", amount: "1", used: "0.9999999999999999999" })]],
  ["a meter that this process does not know, while something is left of it", [limit({ meter: "images", used: "9" })]],
  ["a key's limit of which requests in flight hold something: the next refusal tells another amount", [ofKey({ reserved: "0.01" })]],
  ["nothing", []],
])("%s is not used up", (_, limits) => {
  expect(usedUpPart(limits)).toEqual([]);
});

test.each([
  ["a limit of nothing", limit({ amount: "0", used: "0" })],
  ["a limit that was lowered under what is used", limit({ amount: "3" })],
  ["a user's limit of which requests in flight hold something: no amount of it is told", limit({ reserved: "2" })],
  ["a key's limit in which nothing is in flight", ofKey({})],
  ["a meter that this process does not know", limit({ meter: "images" })],
])("%s is used up", (_, usedUp) => {
  expect(usedUpPart([usedUp])).toEqual([usedUp]);
});

test("limits that could be named before it are kept, what cannot refuse and what comes after it is not", () => {
  const [counts, before, usedUp, after] = [limit({ enforce: "count" }), limit({ used: "1" }), limit(), limit({ used: "11" })];

  expect(usedUpPart([counts, before, usedUp, after])).toEqual([before, usedUp]);
});

const amounts = fc.integer({ min: 0, max: 4 }).map(String);
const anyLimit = fc
  .record({
    principal: fc.constantFrom(...(["key", "team", "user"] as const).map((kind) => ({ kind, id: "p" }))),
    meter: fc.constantFrom(...Object.keys(METERS)),
    amount: fc.option(amounts),
    enforce: fc.constantFrom("refuse" as const, "count" as const),
    used: amounts,
    reserved: amounts,
  })
  .map(limit);
const anyAsked = fc.array(amounts, { minLength: 4, maxLength: 4 }).map((least) => {
  return new Map(Object.keys(METERS).map((meter, index) => [meter, { least: least[index] ?? "0", most: "4" }]));
});

test("whatever ends, is added to what was used, or is asked for: a path with a used-up limit lets nothing through", () => {
  const later = fc.record({ more: amounts, reserved: amounts });
  fc.assert(
    fc.property(
      fc.array(anyLimit, { maxLength: 5 }),
      anyAsked,
      fc.array(later, { minLength: 5, maxLength: 5 }),
      (limits, asked, changes) => {
        if (usedUpPart(limits).length === 0) return;
        const then = limits.map((one, index) => {
          const change = changes[index];
          return { ...one, used: String(Number(one.used) + Number(change?.more)), reserved: change?.reserved ?? "0" };
        });
        expect(checkLimits(then, asked).kind).toBe("exceeded");
      },
    ),
  );
});
