import { mark } from "@proliferate/runtime";
import { reportBody } from "@proliferate/services/reports";
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
  return rows.map(([name, value]) => (value === undefined ? `\n${mark.strong(name)}\n` : `  ${name.padEnd(width)}  ${value}\n`)).join("");
}

/** A heading and rows under it, each column as wide as its widest; `–` where a row has nothing. */
export function columns(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [heading, ...rows];
  const widths = heading.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => (cell || "–").padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

/** A setting in milliseconds: `0 s`, `300 s`, `5 min`. */
export function duration(ms: number): string {
  if (ms % 1_000 !== 0) return `${ms} ms`;
  return ms >= 120_000 && ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1_000} s`;
}

/** One JSON document and a line feed. */
export function jsonDocument(report: unknown): string {
  return `${JSON.stringify(reportBody(report), undefined, 2)}\n`;
}
