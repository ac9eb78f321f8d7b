/** A value as it stands in JSON. */
type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [name: string]: JsonValue };

/**
 * A report as its JSON body, the same from the command line and from the gateway: names in snake_case, instants ISO 8601 in
 * UTC, amounts as the text that they are, undefined left out. Keys that are data (states, reasons) are snake_case already.
 */
export function reportBody(report: unknown): JsonValue {
  if (report instanceof Date) return report.toISOString();
  if (Array.isArray(report)) return report.map(reportBody);
  if (typeof report === "string" || typeof report === "number" || typeof report === "boolean") return report;
  if (typeof report !== "object" || report === null) return null;
  const entries = Object.entries(report).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    entries.map(([name, value]) => [name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), reportBody(value)]),
  );
}
