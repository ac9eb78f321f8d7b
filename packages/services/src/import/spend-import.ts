import type { DatabaseClient } from "@proliferate/db";
import { fetchKeyTeam, fetchSpendPage, type LiteLLMSpendApiOptions, PAGE_ROWS, TOTAL_CAP } from "./litellm-spend-api.ts";
import { listKeysWithoutTeam, readMirrorEnd, upsertKeyTeam, upsertSpendRows } from "./spend-import-db.ts";

interface SpendImportResult {
  /** Rows that were read, repeated ones included. */
  readonly read: number;
  /** Rows that were new or changed. */
  readonly written: number;
}

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
/** Before the first spend row of any LiteLLM that has this API. */
const BEGINNING = new Date(Date.UTC(2023, 0, 1));
const KEYS_PER_IMPORT = 500;

/**
 * Brings the source's news into the mirror: the rows of requests that began since `lookBackMs` before the newest one there
 * (before now, if that is earlier), so that nothing is lost however long nobody imported; all rows where the mirror is empty.
 * Then the teams of keys whose rows name none, as billing looks them up. Idempotent; resumes where it failed. Throws
 * `llm_proxy_failed`.
 */
export async function importSource(
  db: DatabaseClient,
  api: LiteLLMSpendApiOptions,
  options: { readonly lookBackMs: number; readonly now?: Date },
): Promise<SpendImportResult> {
  const nowMs = (options.now ?? new Date()).getTime();
  const newest = await readMirrorEnd(db);
  const from = newest === null ? BEGINNING : new Date(Math.min(newest.getTime(), nowMs) - options.lookBackMs);
  // Clocks differ; a request of the next minute by ours is one of now.
  const result = await importSpendRows(db, api, { from, to: new Date(nowMs + MINUTE_MS) });
  for (const keyHash of await listKeysWithoutTeam(db, { from, limit: KEYS_PER_IMPORT })) {
    const teamId = await fetchKeyTeam(api, keyHash);
    if (teamId !== "") await upsertKeyTeam(db, keyHash, teamId);
  }
  return result;
}

/**
 * Brings the rows of a window into our mirror of the source, over LiteLLM's REST API, for when its database is out of reach.
 * Billing then reads the mirror by the same statements as the source itself. Every page is read; a window with more rows than
 * the API counts is cut in two, down to a second. Idempotent: windows may overlap, pages may repeat rows. Rows that the
 * API loses between pages, because others arrive meanwhile, come with the next window that covers them. `db` is a client
 * whose LiteLLM schema is the mirror's. Throws `llm_proxy_failed`; what was read until then is kept.
 */
export async function importSpendRows(
  db: DatabaseClient,
  api: LiteLLMSpendApiOptions,
  window: { readonly from: Date; readonly to: Date },
): Promise<SpendImportResult> {
  // Whole seconds, outward: the API knows no smaller ones.
  const windows = [
    { fromMs: Math.floor(window.from.getTime() / SECOND_MS) * SECOND_MS, toMs: Math.ceil(window.to.getTime() / SECOND_MS) * SECOND_MS },
  ];
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
