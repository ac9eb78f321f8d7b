import type { DatabaseClient } from "@proliferate/db";
import { fetchSpendPage, type LiteLLMSpendApiOptions, PAGE_ROWS, TOTAL_CAP } from "./litellm-spend-api.ts";
import { upsertSpendRows } from "./spend-import-db.ts";

export interface SpendImportResult {
  /** Rows that were read, repeated ones included. */
  readonly read: number;
  /** Rows that were new or changed. */
  readonly written: number;
}

const SECOND_MS = 1_000;

/**
 * Brings the rows of a window into our mirror of the source, over LiteLLM's REST API, for when its database is out of reach.
 * Billing then reads the mirror by the same statements as the source itself. Every page is read; a window with more rows than
 * the API counts is cut in two, down to a second. Idempotent: windows may overlap, pages may repeat rows. Rows that the
 * API loses between pages, because others arrive meanwhile, come with the next window that covers them. `db` is a client
 * whose LiteLLM schema is the mirror's. Throws `llm_proxy_failed`; what was read until then is kept.
 */
export async function importSpendRows(db: DatabaseClient, api: LiteLLMSpendApiOptions, window: { readonly from: Date; readonly to: Date }): Promise<SpendImportResult> {
  // Whole seconds, outward: the API knows no smaller ones.
  const windows = [{ fromMs: Math.floor(window.from.getTime() / SECOND_MS) * SECOND_MS, toMs: Math.ceil(window.to.getTime() / SECOND_MS) * SECOND_MS }];
  let read = 0;
  let written = 0;
  for (let next = windows.pop(); next !== undefined; next = windows.pop()) {
    const { fromMs, toMs } = next;
    const middleMs = fromMs + Math.floor((toMs - fromMs) / 2 / SECOND_MS) * SECOND_MS;
    for (let page = 1; ; page += 1) {
      const { rows, total } = await fetchSpendPage(api, { from: new Date(fromMs), to: new Date(toMs), page });
      if (total >= TOTAL_CAP && middleMs > fromMs) {
        // Both halves hold their common second: a row within it belongs to the later one, on it to both.
        windows.push({ fromMs: middleMs, toMs }, { fromMs, toMs: middleMs });
        break;
      }
      read += rows.length;
      if (rows.length > 0) written += await upsertSpendRows(db, rows);
      if (rows.length < PAGE_ROWS) break;
    }
  }
  return { read, written };
}
