import { addDecimals, compareDecimals, type DecimalText, multiplyDecimals, normalizeDecimal } from "@proliferate/shared/money";

/** Autumn keeps balances to this many decimals; what is smaller vanishes. */
export const BALANCE_DECIMALS = 10;

/** A JSON number as the decimal that it was written as: its shortest spelling. */
export function decimalFromNumber(value: number): DecimalText {
  return normalizeDecimal(String(value));
}

/** Half away from zero, at ten decimals. */
export function roundBalance(amount: DecimalText): DecimalText {
  const negative = compareDecimals(amount, "0") < 0;
  const size = negative ? multiplyDecimals(amount, "-1") : amount;
  const [whole = "0", fraction = ""] = addDecimals(size, `0.${"5".padStart(BALANCE_DECIMALS + 1, "0")}`).split(".");
  const rounded = normalizeDecimal(`${whole}.${fraction.slice(0, BALANCE_DECIMALS)}0`);
  return negative && rounded !== "0" ? `-${rounded}` : rounded;
}

export function smaller(a: DecimalText, b: DecimalText): DecimalText {
  return compareDecimals(a, b) <= 0 ? a : b;
}

export function larger(a: DecimalText, b: DecimalText): DecimalText {
  return compareDecimals(a, b) >= 0 ? a : b;
}
