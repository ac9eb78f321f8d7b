import { expect, it } from "vitest";
import { isStatedAs, noiseOfSum } from "./autumn-precision.ts";

it.each([
  ["10000.0000000007", "10000.000000001"],
  ["12345.6790123456", "12345.679012346"],
  ["99999.9999999999", "100000"],
  ["10050.0000000002", "10050"],
  ["37037.0367036002", "37037.0367036"],
  ["-10000.0000000007", "-10000.000000001"],
])("autumn H3: %s, stated with 14 digits as %s, is the same amount", (asked, stated) => {
  expect(isStatedAs(asked, stated)).toBe(true);
});

it.each([
  ["10000.000000001", "10000.000000002"],
  ["3", "3.0000000001"],
  ["0.0000000003", "0.0000000002"],
  ["100000", "99999.99999999"],
])("autumn H3: %s and %s are two amounts: both can be stated", (asked, stated) => {
  expect(isStatedAs(asked, stated)).toBe(false);
});

it("autumn H3: each of several pieces may be rounded by half of the last digit", () => {
  expect(isStatedAs("20000.000000001", "20000.000000002", 2)).toBe(true);
  expect(isStatedAs("20000.000000001", "20000.000000003", 2)).toBe(false);
});

it.each([
  ["10000000", 60, "0.000001266"],
  ["1000000000", 60, "0.000259266"],
])("autumn H3: the noise of a sum grows with the balance: from %s, after %i deductions, %s is none", (granted, deductions, off) => {
  expect(Number(noiseOfSum(granted, deductions))).toBeGreaterThan(Number(off));
  expect(Number(noiseOfSum(granted, deductions))).toBeLessThan(Number(off) * 10);
});
