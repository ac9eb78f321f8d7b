import { addDecimals, compareDecimals, type DecimalText, multiplyDecimals, subtractDecimals } from "@proliferate/shared/money";

/** Autumn writes and keeps amounts with so many significant digits; a batch is sealed to no more of them (`settleable_credits`). */
const SIGNIFICANT_DIGITS = 14;
/** Nor to more decimals than this. */
const DECIMALS = 10;
/** Its sums are doubles: those of many differ in their last digits, however small they are. */
const LEAST_NOISE_CREDITS = "0.000001";

/** What one step in the last digit that Autumn states of an amount is worth. */
function lastDigitOf(amount: DecimalText): DecimalText {
  const whole = amount.replace(/^-/, "").split(".")[0] ?? "0";
  return `1e${-Math.min(SIGNIFICANT_DIGITS - (whole === "0" ? 0 : whole.length), DECIMALS)}`;
}

const sizeOf = (amount: DecimalText): DecimalText => (compareDecimals(amount, "0") < 0 ? subtractDecimals("0", amount) : amount);

/** Whether Autumn, which took exactly `asked` in so many pieces, may have stated `stated`: each piece is rounded to its last digit. */
export function isStatedAs(asked: DecimalText, stated: DecimalText, pieces = 1): boolean {
  const off = sizeOf(subtractDecimals(asked, stated));
  return compareDecimals(off, multiplyDecimals(multiplyDecimals(lastDigitOf(asked), "0.5"), String(Math.max(pieces, 1)))) <= 0;
}

/** How far Autumn's own sum may be from the exact one after so many deductions from a balance of that size: it is rounded at each. */
export function noiseOfSum(grantedCredits: DecimalText, deductions: number): DecimalText {
  return addDecimals(LEAST_NOISE_CREDITS, multiplyDecimals(multiplyDecimals(sizeOf(grantedCredits), "1e-14"), String(deductions)));
}

/** Whether two amounts differ by no more than `noise`. */
export function isWithinNoise(a: DecimalText, b: DecimalText, noise: DecimalText): boolean {
  return compareDecimals(sizeOf(subtractDecimals(a, b)), noise) <= 0;
}
