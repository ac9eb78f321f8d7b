import { addDecimals, type DecimalText } from "@proliferate/shared/money";

/** What a JSON number of Autumn's means: 15 digits, at most 10 decimals; noise of binary sums beyond them is cut. */
export function decimalFromJsonNumber(value: number): DecimalText {
  if (!Number.isFinite(value)) return "0";
  const [digits = "0", exponent = "0"] = value.toExponential(14).split("e");
  const decimals = Math.min(14 - Number(exponent), 10);
  if (decimals < 10) return addDecimals(`${digits}e${exponent}`);
  return addDecimals(value.toFixed(10));
}
