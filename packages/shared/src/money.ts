/**
 * Exact money. Amounts travel as decimal text (`"0.000123"`) and are computed as integers; no float touches them.
 *
 * - pico-USD: integer 10^-12 USD as `bigint`. Prices are whole pico-USD per token ($3 per million = 3,000,000).
 * - credits: 1 credit = $0.01, so credits = spend x markup x 100 (`CREDITS_PER_USD`).
 */

/** Decimal text without an exponent, as PostgreSQL prints NUMERIC: `"12"`, `"-0.5"`, `"0.000123"`. */
export type DecimalText = string;

/** 1 credit = $0.01. */
export const CREDITS_PER_USD: DecimalText = "100";

const PICO_DIGITS = 12;
const DECIMAL_PATTERN = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;

interface Decimal {
  readonly units: bigint;
  /** Digits after the point: value = units / 10^scale. Never negative. */
  readonly scale: number;
}

/** Reads decimal text, an exponent allowed (PostgreSQL prints small DOUBLEs as `1.5e-05`). Throws RangeError otherwise. */
function parseDecimal(text: string): Decimal {
  const match = DECIMAL_PATTERN.exec(text.trim());
  const whole = match?.[2] ?? "";
  const fraction = match?.[3] ?? "";
  if (!match || whole + fraction === "") throw new RangeError(`"${text}" is not a decimal number`);
  const exponent = Number(match[4] ?? "0");
  if (Math.abs(exponent) > 400) throw new RangeError(`"${text}" is out of range`);
  const sign = match[1] === "-" ? -1n : 1n;
  const digits = sign * BigInt(whole + fraction);
  const scale = fraction.length - exponent;
  return scale >= 0 ? { units: digits, scale } : { units: digits * 10n ** BigInt(-scale), scale: 0 };
}

function formatDecimal({ units, scale }: Decimal): DecimalText {
  const negative = units < 0n;
  const digits = (negative ? -units : units).toString().padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  const fraction = digits.slice(digits.length - scale).replace(/0+$/, "");
  return `${negative ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

function alignScales(a: Decimal, b: Decimal): readonly [bigint, bigint, number] {
  const scale = Math.max(a.scale, b.scale);
  return [a.units * 10n ** BigInt(scale - a.scale), b.units * 10n ** BigInt(scale - b.scale), scale];
}

/** The shortest spelling of the same value: `"1.50"`, `"15e-1"` → `"1.5"`. Throws RangeError on anything but a number. */
export function normalizeDecimal(text: string): DecimalText {
  return formatDecimal(parseDecimal(text));
}

/** Exact product. */
export function multiplyDecimals(a: DecimalText, b: DecimalText): DecimalText {
  const [x, y] = [parseDecimal(a), parseDecimal(b)];
  return formatDecimal({ units: x.units * y.units, scale: x.scale + y.scale });
}

/** Exact sum; `"0"` for none. */
export function addDecimals(...amounts: readonly DecimalText[]): DecimalText {
  return formatDecimal(
    amounts.map(parseDecimal).reduce(
      (total, amount) => {
        const [x, y, scale] = alignScales(total, amount);
        return { units: x + y, scale };
      },
      { units: 0n, scale: 0 },
    ),
  );
}

/** Exact difference a - b. */
export function subtractDecimals(a: DecimalText, b: DecimalText): DecimalText {
  return addDecimals(a, multiplyDecimals(b, "-1"));
}

/** Negative, zero or positive, as a sort comparator: compares values, so `"1.0"` equals `"1"`. */
export function compareDecimals(a: DecimalText, b: DecimalText): -1 | 0 | 1 {
  const [x, y] = alignScales(parseDecimal(a), parseDecimal(b));
  return x < y ? -1 : x > y ? 1 : 0;
}

const AMOUNT_PATTERN = /^\d{1,15}(\.\d{1,12})?$/;

/** Whether a person wrote an amount of zero or more, plainly: no sign, no exponent, at most 15 digits before the point and 12 after it. */
export function isAmount(text: string): boolean {
  return AMOUNT_PATTERN.test(text);
}

/** USD text → pico-USD. Throws RangeError when the amount has digits below 10^-12 USD: nothing is rounded here. */
export function picoUsdFromDecimal(text: string): bigint {
  const { units, scale } = parseDecimal(text);
  if (scale <= PICO_DIGITS) return units * 10n ** BigInt(PICO_DIGITS - scale);
  const divisor = 10n ** BigInt(scale - PICO_DIGITS);
  if (units % divisor !== 0n) throw new RangeError(`"${text}" USD is finer than one pico-USD`);
  return units / divisor;
}

/** pico-USD → shortest USD text. */
export function decimalFromPicoUsd(picoUsd: bigint): DecimalText {
  return formatDecimal({ units: picoUsd, scale: PICO_DIGITS });
}
