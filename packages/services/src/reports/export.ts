import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type ExportFilter, type ExportRow, readExportPage, readNewestEventId } from "./export-db.ts";

export type ExportFormat = "csv" | "json";

/** Columns of an export, in their order. New ones are appended, so a reader by position goes on working. */
const EXPORT_COLUMNS = [
  "event_id",
  "event_type",
  "org_id",
  "session_id",
  "request_id",
  "model",
  "prompt_tokens",
  "completion_tokens",
  "spend_usd",
  "markup",
  "credits_per_usd",
  "credits",
  "occurred_at",
  "recorded_at",
  "batch_id",
  "batch_state",
  "delivered_at",
] as const satisfies readonly (keyof ExportRow)[];

const PAGE_ROWS = 1_000;

/**
 * Every event of the filter that was recorded before the export began, in the order of recording, with its batch as of when
 * its page was read. As text: CSV (RFC 4180, a header first, amounts as exact decimals, instants ISO 8601 in UTC, null as
 * nothing), or one JSON object a line. `write` is given whole lines, a thousand or less at a time, and is waited for, so
 * memory stays small; while it is, no connection is held. Returns how many events it wrote. Throws `invalid_request` when the
 * range is empty, before anything is written.
 */
export async function exportEvents(
  db: DatabaseClient,
  filter: ExportFilter,
  options: { readonly format: ExportFormat; readonly write: (lines: string) => Promise<void> },
): Promise<number> {
  checkRange(filter);
  const lineOf = options.format === "csv" ? csvLine : jsonLine;
  if (options.format === "csv") await options.write(`${EXPORT_COLUMNS.join(",")}\r\n`);
  const throughId = await readNewestEventId(db);
  let afterId = "0";
  let events = 0;
  for (;;) {
    const rows = await readExportPage(db, filter, { afterId, throughId, limit: PAGE_ROWS });
    if (rows.length > 0) await options.write(rows.map(lineOf).join(""));
    events += rows.length;
    if (rows.length < PAGE_ROWS) return events;
    afterId = rows.at(-1)?.event_id ?? throughId;
  }
}

/** Throws `invalid_request` unless `from` is before `to`, where both are given. */
export function checkRange({ from, to }: { readonly from?: Date | undefined; readonly to?: Date | undefined }): void {
  if (from === undefined || to === undefined || from < to) return;
  throw new AppError("invalid_request", `The range is empty: from (${from.toISOString()}) must be before to (${to.toISOString()}).`, {
    param: "from",
  });
}

function csvLine(row: ExportRow): string {
  return `${EXPORT_COLUMNS.map((column) => csvField(row[column])).join(",")}\r\n`;
}

function csvField(value: string | number | null): string {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const jsonLine = (row: ExportRow): string =>
  `${JSON.stringify(Object.fromEntries(EXPORT_COLUMNS.map((column) => [column, row[column]])))}\n`;
