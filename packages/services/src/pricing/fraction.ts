/** An exact rational number; the denominator is positive. Money and multipliers are these until the one rounding at the end. */
export interface Fraction {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

export const ONE: Fraction = { numerator: 1n, denominator: 1n };
export const ZERO: Fraction = { numerator: 0n, denominator: 1n };

export function whole(value: bigint): Fraction {
  return { numerator: value, denominator: 1n };
}

export function multiply(a: Fraction, b: Fraction): Fraction {
  return { numerator: a.numerator * b.numerator, denominator: a.denominator * b.denominator };
}

export function add(a: Fraction, b: Fraction): Fraction {
  if (a.denominator === b.denominator) return { numerator: a.numerator + b.numerator, denominator: a.denominator };
  return { numerator: a.numerator * b.denominator + b.numerator * a.denominator, denominator: a.denominator * b.denominator };
}

/** The smallest whole number that is not below it; for values of zero and more. */
export function ceiling({ numerator, denominator }: Fraction): bigint {
  return (numerator + denominator - 1n) / denominator;
}

const DECIMAL = /^(\d+)(?:\.(\d+))?$/;

/** `"1.1"` → 11/10. Throws RangeError for text that is no plain decimal. */
export function fractionFromDecimal(text: string): Fraction {
  const match = DECIMAL.exec(text);
  if (!match) throw new RangeError(`"${text}" is not a decimal number`);
  const digits = match[2] ?? "";
  return { numerator: BigInt(`${match[1]}${digits}`), denominator: 10n ** BigInt(digits.length) };
}
