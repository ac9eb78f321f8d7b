import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type ApiSpendRow, fetchKeyTeam, fetchSpendPage, type LiteLLMSpendApiOptions, PAGE_ROWS, TOTAL_CAP } from "./litellm-spend-api.ts";
import { countMirrorRows, listKeysWithoutTeam, readMirrorEnd, upsertKeyTeam, upsertSpendRows } from "./spend-import-db.ts";

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
/** Of one window: 100,000 rows within a second are no proxy's, but those of an API that ignores what it is asked for. */
const MOST_PAGES = 1_000;

/** Instants in whole seconds: the API knows no smaller ones. Both are within it. */
interface Window {
  readonly from: Date;
  readonly to: Date;
}

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
  // The proxy's clock may be ahead of ours. A request that began in the next minute by our clock began just now by the proxy's.
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
 * the API counts is cut in two, down to a second. It ends whatever the API answers. Idempotent: windows may overlap, pages may repeat rows. Rows that the
 * API loses between pages, because others arrive meanwhile, come with the next window that covers them. `db` is a client
 * whose LiteLLM schema is the mirror's. Throws `llm_proxy_failed`; what was read until then is kept.
 */
export async function importSpendRows(db: DatabaseClient, api: LiteLLMSpendApiOptions, window: Window): Promise<SpendImportResult> {
  return importWindows(db, api, window, async () => false);
}

/**
 * As {@link importSpendRows}, at the cost of one request for each window of some 10,000 rows in which the mirror has as many as the
 * source: for rows that came into the source's table long after their requests. An amount that changed there is not seen by it.
 */
export async function importLateRows(db: DatabaseClient, api: LiteLLMSpendApiOptions, window: Window): Promise<SpendImportResult> {
  return importWindows(db, api, window, async (part, total) => (await countMirrorRows(db, part)) >= total);
}

/** `isKnown` is asked of each window that the API counts to its end, before its rows are taken. */
async function importWindows(
  db: DatabaseClient,
  api: LiteLLMSpendApiOptions,
  whole: Window,
  isKnown: (window: Window, total: number) => Promise<boolean>,
): Promise<SpendImportResult> {
  const windows = [outward(whole)];
  const sum = { read: 0, written: 0 };
  for (let window = windows.pop(); window !== undefined; window = windows.pop()) {
    const { rows, total } = await fetchSpendPage(api, { ...window, page: 1 });
    const halves = total >= TOTAL_CAP && rows.length === PAGE_ROWS ? halve(window) : undefined;
    if (halves !== undefined) windows.push(...halves);
    else if (total >= TOTAL_CAP || !(await isKnown(window, total))) await takePages(db, api, window, rows, sum);
  }
  return sum;
}

/** Writes the rows of a window, whose first page is there already, into the mirror. */
async function takePages(
  db: DatabaseClient,
  api: LiteLLMSpendApiOptions,
  window: Window,
  first: readonly ApiSpendRow[],
  sum: { read: number; written: number },
): Promise<void> {
  let rows = first;
  for (let page = 1; rows.length > 0; page += 1) {
    sum.read += rows.length;
    sum.written += await upsertSpendRows(db, rows);
    if (rows.length < PAGE_ROWS) return;
    const next = await fetchSpendPage(api, { ...window, page: page + 1 });
    if (page >= MOST_PAGES || next.rows[0]?.request_id === rows[0]?.request_id)
      throw new AppError(
        "llm_proxy_failed",
        `GET /spend/logs/v2 of the LLM proxy comes to no end: page ${page + 1} of ${windowText(window)}.`,
      );
    rows = next.rows;
  }
}

const windowText = ({ from, to }: Window): string => `${from.toISOString()} to ${to.toISOString()}`;

const outward = ({ from, to }: Window): Window => ({
  from: new Date(Math.floor(from.getTime() / SECOND_MS) * SECOND_MS),
  to: new Date(Math.ceil(to.getTime() / SECOND_MS) * SECOND_MS),
});

/** The later half first; undefined of a second. Both hold their common second: a row within it belongs to the later one, on it to both. */
function halve({ from, to }: Window): readonly [Window, Window] | undefined {
  const seconds = Math.floor((to.getTime() - from.getTime()) / 2 / SECOND_MS);
  if (seconds === 0) return undefined;
  const middle = new Date(from.getTime() + seconds * SECOND_MS);
  return [
    { from: middle, to },
    { from, to: middle },
  ];
}
