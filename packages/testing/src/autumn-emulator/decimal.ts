import { addDecimals, compareDecimals, type DecimalText, multiplyDecimals, normalizeDecimal } from "@proliferate/shared/money";

/** Autumn keeps balances to this many decimals; what is smaller vanishes. */
const BALANCE_DECIMALS = 10;
/** And writes numbers with so many significant digits, those that it keeps, too. */
const SIGNIFICANT_DIGITS = 14;

/** A JSON number as the decimal that it was written as: its shortest spelling. */
export function decimalFromNumber(value: number): DecimalText {
  return normalizeDecimal(String(value));
}

/** Half away from zero, at so many decimals; at a negative number of them, before the point. */
function roundAt(amount: DecimalText, decimals: number): DecimalText {
  const negative = compareDecimals(amount, "0") < 0;
  const size = multiplyDecimals(negative ? multiplyDecimals(amount, "-1") : amount, `1e${decimals}`);
  const [whole = "0"] = addDecimals(size, "0.5").split(".");
  const rounded = multiplyDecimals(whole, `1e${-decimals}`);
  return negative ? multiplyDecimals(rounded, "-1") : rounded;
}

/** As Autumn writes an amount: what needs more digits comes back rounded. */
export function stateAmount(amount: DecimalText): DecimalText {
  const [whole = "0", fraction = ""] = amount.replace(/^-/, "").split(".");
  const leadingZeros = fraction.length - fraction.replace(/^0+/, "").length;
  return roundAt(amount, SIGNIFICANT_DIGITS - (whole === "0" ? -leadingZeros : whole.length));
}

/** As Autumn keeps what is left of a balance. */
export function keepAmount(amount: DecimalText): DecimalText {
  return stateAmount(roundAt(amount, BALANCE_DECIMALS));
}

export function smaller(a: DecimalText, b: DecimalText): DecimalText {
  return compareDecimals(a, b) <= 0 ? a : b;
}

export function larger(a: DecimalText, b: DecimalText): DecimalText {
  return compareDecimals(a, b) >= 0 ? a : b;
}
