import { addDecimals, compareDecimals, type DecimalText, decimalFromPicoUsd, subtractDecimals } from "@proliferate/shared/money";
import fc from "fast-check";
import { expect, test } from "vitest";
import { checkLimits, type CountedLimit } from "./limit.ts";
import type { Amounts } from "./meters.ts";

const picoUsd = (most: bigint) => fc.bigInt(0n, most).map(decimalFromPicoUsd);
const amount = picoUsd(10_000_000_000_000n);
const counted = (of: Pick<CountedLimit, "amount" | "used" | "reserved"> & Partial<CountedLimit>): CountedLimit => ({
  principal: { kind: "key", id: "k" },
  meter: "usd",
  window: "total",
  model: "",
  windowStart: "-infinity",
  windowEnd: "infinity",
  secondsLeft: null,
  enforce: "refuse",
  ...of,
});
const budget: fc.Arbitrary<CountedLimit> = fc
  .record({ amount: fc.option(amount, { nil: null }), used: amount, reserved: amount })
  .map((of) => counted(of));
const asking = (least: DecimalText): Amounts => new Map([["usd", { least, most: least }]]);

test("what is refused for reservations alone would start without them, and what is exceeded would not", () => {
  fc.assert(
    fc.property(fc.array(budget, { minLength: 1, maxLength: 3 }), amount, (budgets, minimumUsd) => {
      const verdict = checkLimits(budgets, asking(minimumUsd));
      const released = budgets.map((one) => ({ ...one, reserved: "0" }));
      expect(checkLimits(released, asking(minimumUsd)).kind).toBe(verdict.kind === "exceeded" ? "exceeded" : "fits");
    }),
  );
});

interface Running {
  readonly scopes: readonly number[];
  readonly worstUsd: DecimalText;
  readonly costUsd: DecimalText;
}

/** Starts and ends requests of three budgets in any order, as admission and settlement would. */
function spend(maxUsd: readonly DecimalText[], requests: readonly (Running & { readonly endsFirst: boolean })[]): readonly DecimalText[] {
  const spent = maxUsd.map(() => "0");
  const reserved = maxUsd.map(() => "0");
  const running: Running[] = [];
  const end = (request: Running | undefined): void => {
    for (const scope of request?.scopes ?? []) {
      spent[scope] = addDecimals(spent[scope] ?? "0", request?.costUsd ?? "0");
      reserved[scope] = subtractDecimals(reserved[scope] ?? "0", request?.worstUsd ?? "0");
    }
  };
  for (const request of requests) {
    if (request.endsFirst) end(running.shift());
    const budgets = request.scopes.map((scope) =>
      counted({ amount: maxUsd[scope] ?? null, used: spent[scope] ?? "0", reserved: reserved[scope] ?? "0" }),
    );
    if (checkLimits(budgets, asking("0.000001")).kind !== "fits") continue;
    for (const scope of request.scopes) reserved[scope] = addDecimals(reserved[scope] ?? "0", request.worstUsd);
    running.push(request);
  }
  running.forEach(end);
  return spent;
}

test("whatever starts and ends in whatever order, no budget is overshot by more than the dearest request", () => {
  const worst = 1_000_000_000_000n;
  const request = fc
    .record({
      scopes: fc.subarray([0, 1, 2], { minLength: 1 }),
      worst: fc.bigInt(1n, worst),
      part: fc.bigInt(0n, 100n),
      endsFirst: fc.boolean(),
    })
    .map(({ scopes, worst: most, part, endsFirst }) => ({
      scopes,
      worstUsd: decimalFromPicoUsd(most),
      costUsd: decimalFromPicoUsd((most * part) / 100n),
      endsFirst,
    }));
  fc.assert(
    fc.property(fc.tuple(amount, amount, amount), fc.array(request, { maxLength: 60 }), (maxUsd, requests) => {
      const spent = spend(maxUsd, requests);
      for (const [scope, max] of maxUsd.entries()) {
        expect(compareDecimals(spent[scope] ?? "0", addDecimals(max, decimalFromPicoUsd(worst)))).toBeLessThanOrEqual(0);
      }
    }),
  );
});

test("no limit is no limit, and what is only counted refuses nobody", () => {
  const spent = { used: "1000000", reserved: "1000000" };
  expect(checkLimits([counted({ amount: null, ...spent })], asking("5"))).toEqual({ kind: "fits" });
  expect(checkLimits([counted({ amount: "1", enforce: "count", ...spent })], asking("5"))).toEqual({ kind: "fits" });
});

test("a limit that is spent admits nothing, not even what is free", () => {
  expect(checkLimits([counted({ amount: "1", used: "1", reserved: "0" })], asking("0")).kind).toBe("exceeded");
});
