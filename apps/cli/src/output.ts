import { reportBody } from "@proliferate/services/billing/report-body";
import type { DecimalText } from "@proliferate/shared/money";

/** Dollars with at least two digits after the point, none of the others lost: `"0"` → `$0.00`. */
export function dollars(amount: DecimalText): string {
  const [whole = "0", fraction = ""] = amount.replace("-", "").split(".");
  return `${amount.startsWith("-") ? "-" : ""}$${whole}.${fraction.padEnd(2, "0")}`;
}

/** `3 s`, `12 min`, `5 h`, `2 d`; `–` for never. */
export function age(seconds: number | null): string {
  if (seconds === null) return "–";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** Second column aligned; a row of one is a heading. */
export function table(rows: readonly (readonly [string, string] | readonly [string])[]): string {
  const width = Math.max(...rows.map(([name, value]) => (value === undefined ? 0 : name.length)));
  return rows.map(([name, value]) => (value === undefined ? `\n${name}\n` : `  ${name.padEnd(width)}  ${value}\n`)).join("");
}

/** One JSON document and a line feed. */
export function jsonDocument(report: unknown): string {
  return `${JSON.stringify(reportBody(report), undefined, 2)}\n`;
}
