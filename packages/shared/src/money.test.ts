import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addDecimals,
  compareDecimals,
  decimalFromPicoUsd,
  multiplyDecimals,
  normalizeDecimal,
  picoUsdFromDecimal,
  subtractDecimals,
} from "./money.ts";

const scale = fc.integer({ min: 0, max: 30 });
/** Any decimal of up to 120 bits and 30 digits after the point, as integer and as text. */
const decimal = fc.tuple(fc.bigInt({ min: -(2n ** 120n), max: 2n ** 120n }), scale).map(([units, digits]) => {
  const text = (units < 0n ? -units : units).toString().padStart(digits + 1, "0");
  const point = text.length - digits;
  return { units, scale: digits, text: `${units < 0n ? "-" : ""}${text.slice(0, point)}${digits === 0 ? "" : `.${text.slice(point)}`}` };
});

describe("decimal text", () => {
  it.each([
    ["1.50", "1.5"],
    ["0015", "15"],
    ["-0.0", "0"],
    ["+.5", "0.5"],
    ["5.", "5"],
    ["1.5e-05", "0.000015"],
    ["15E+3", "15000"],
    ["  2 ", "2"],
  ])("reads %j as %s", (text, shortest) => {
    expect(normalizeDecimal(text)).toBe(shortest);
  });

  it.each(["", ".", "-", "1,5", "0x10", "NaN", "Infinity", "1e", "1e999", "1 2", "--1", "１"])("refuses %j", (text) => {
    expect(() => normalizeDecimal(text)).toThrow(RangeError);
  });

  it("has one spelling a value, and normalizing it again changes nothing", () => {
    fc.assert(
      fc.property(decimal, fc.nat({ max: 5 }), ({ text, scale: digits }, zeros) => {
        const longer = digits === 0 ? text : text + "0".repeat(zeros);
        expect(normalizeDecimal(longer)).toBe(normalizeDecimal(text));
        expect(normalizeDecimal(normalizeDecimal(text))).toBe(normalizeDecimal(text));
      }),
    );
  });

  it("is added exactly, in any order", () => {
    fc.assert(
      fc.property(fc.array(decimal, { maxLength: 6 }), (amounts) => {
        const expected = amounts.reduce((total, { units, scale: digits }) => total + units * 10n ** BigInt(30 - digits), 0n);
        const total = addDecimals(...amounts.map(({ text }) => text));
        expect(total).toBe(normalizeDecimal(`${expected}e-30`));
        expect(addDecimals(...amounts.map(({ text }) => text).toReversed())).toBe(total);
      }),
    );
  });

  it("is multiplied exactly, over sums too", () => {
    fc.assert(
      fc.property(decimal, decimal, decimal, (a, b, c) => {
        expect(multiplyDecimals(a.text, b.text)).toBe(normalizeDecimal(`${a.units * b.units}e-${a.scale + b.scale}`));
        expect(multiplyDecimals(a.text, addDecimals(b.text, c.text))).toBe(
          addDecimals(multiplyDecimals(a.text, b.text), multiplyDecimals(a.text, c.text)),
        );
      }),
    );
  });

  it("is subtracted to what adds back, and to zero from itself", () => {
    fc.assert(
      fc.property(decimal, decimal, (a, b) => {
        expect(addDecimals(subtractDecimals(a.text, b.text), b.text)).toBe(normalizeDecimal(a.text));
        expect(subtractDecimals(a.text, a.text)).toBe("0");
      }),
    );
  });

  it("is compared by value, not by spelling", () => {
    expect(compareDecimals("1.0", "1")).toBe(0);
    expect(["10", "9", "-2", "0.1"].sort(compareDecimals)).toEqual(["-2", "0.1", "9", "10"]);
    fc.assert(
      fc.property(decimal, decimal, (a, b) => {
        expect(compareDecimals(a.text, b.text)).toBe(Math.sign(Number(subtractDecimals(a.text, b.text))));
      }),
    );
  });

  it("bills what a float gets wrong", () => {
    expect(multiplyDecimals(multiplyDecimals("0.1", "3"), "100")).toBe("30");
    expect(addDecimals("0.1", "0.2")).toBe("0.3");
  });
});

describe("pico-USD", () => {
  it("is read back from its text, whatever the amount", () => {
    fc.assert(
      fc.property(fc.bigInt(), (pico) => {
        expect(picoUsdFromDecimal(decimalFromPicoUsd(pico))).toBe(pico);
      }),
    );
  });

  it("is the amount times 10^12", () => {
    expect(picoUsdFromDecimal("0.000003")).toBe(3_000_000n);
    expect(picoUsdFromDecimal("1.5e-05")).toBe(15_000_000n);
    expect(decimalFromPicoUsd(-1n)).toBe("-0.000000000001");
  });

  it("refuses an amount that is finer, rather than round it", () => {
    expect(picoUsdFromDecimal("0.0000000000010")).toBe(1n);
    expect(() => picoUsdFromDecimal("0.0000000000001")).toThrow(/finer than one pico-USD/);
  });
});
