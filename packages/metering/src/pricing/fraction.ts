/** An exact rational number; the denominator is positive. Money and multipliers are these until the one rounding at the end. */
export interface Fraction {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** 1, exactly. */
export const ONE: Fraction = { numerator: 1n, denominator: 1n };
/** 0, exactly. */
export const ZERO: Fraction = { numerator: 0n, denominator: 1n };

/** A whole number as a fraction. */
export function whole(value: bigint): Fraction {
  return { numerator: value, denominator: 1n };
}

/** The exact product; not reduced, so it may grow with each factor. */
export function multiply(a: Fraction, b: Fraction): Fraction {
  return { numerator: a.numerator * b.numerator, denominator: a.denominator * b.denominator };
}

/** The exact sum; not reduced. */
export function add(a: Fraction, b: Fraction): Fraction {
  if (a.denominator === b.denominator) return { numerator: a.numerator + b.numerator, denominator: a.denominator };
  return { numerator: a.numerator * b.denominator + b.numerator * a.denominator, denominator: a.denominator * b.denominator };
}

/** The smallest whole number that is not below it; for values of zero and more. */
export function ceiling({ numerator, denominator }: Fraction): bigint {
  return (numerator + denominator - 1n) / denominator;
}

const FRACTION = /^(\d+)(?:\.(\d+))?(?:\/([1-9]\d*))?$/;

/** `"1.1"` → 11/10, `"20/11"` → 20/11. Throws RangeError for text that is neither. */
export function fractionFromText(text: string): Fraction {
  const match = FRACTION.exec(text);
  if (!match) throw new RangeError(`"${text}" is not a decimal number or a fraction`);
  const digits = match[2] ?? "";
  return { numerator: BigInt(`${match[1]}${digits}`), denominator: 10n ** BigInt(digits.length) * BigInt(match[3] ?? "1") };
}
