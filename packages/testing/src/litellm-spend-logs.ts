/**
 * `GET /spend/logs/v2` as LiteLLM 1.92 answers it: bounds inclusive on startTime and in whole seconds, pages of at most 100,
 * a total that stops at its cap, newest first unless asked otherwise.
 */
export interface SpendLogsQuirks {
  /** Where the total stops. Default 10,000. */
  readonly totalCap?: number;
}

/** A row as it is served: `startTime` (ISO 8601, UTC) orders and bounds it; `spend` is the JSON number's very text. */
export interface ServedSpendRow {
  readonly request_id: string;
  readonly startTime: string;
  readonly spend: string;
  readonly [column: string]: unknown;
}

interface SpendLogsAnswer {
  readonly status: number;
  /** JSON text: numbers as the rows spell them. */
  readonly text: string;
}

const MAX_PAGE_SIZE = 100;

export function answerSpendLogs(
  rows: readonly ServedSpendRow[],
  query: Readonly<Record<string, string>>,
  quirks: SpendLogsQuirks = {},
): SpendLogsAnswer {
  const from = instantOf(query["start_date"]);
  const to = instantOf(query["end_date"]);
  const page = Number(query["page"] ?? 1);
  const size = Number(query["page_size"] ?? 50);
  if (from === undefined || to === undefined || size > MAX_PAGE_SIZE)
    return { status: 422, text: JSON.stringify({ detail: [{ loc: ["query"], msg: "value is not valid", type: "value_error" }] }) };
  const matching = rows
    .filter((row) => Date.parse(row.startTime) >= from && Date.parse(row.startTime) <= to)
    .toSorted((a, b) => (Date.parse(a.startTime) - Date.parse(b.startTime)) * (query["sort_order"] === "asc" ? 1 : -1));
  const data = matching.slice((page - 1) * size, page * size).map(rowText);
  const total = Math.min(matching.length, quirks.totalCap ?? 10_000);
  return {
    status: 200,
    text: `{"data":[${data.join(",")}],"total":${total},"page":${page},"page_size":${size},"total_pages":${Math.ceil(total / size)}}`,
  };
}

function rowText(row: ServedSpendRow): string {
  return JSON.stringify({ ...row, spend: "spend stands here" }).replace('"spend stands here"', row.spend);
}

/** `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS`, UTC. */
function instantOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{4}-\d{2}-\d{2}( \d{2}:\d{2}:\d{2})?$/.test(text)) return undefined;
  return Date.parse(text.length === 10 ? `${text}T00:00:00Z` : `${text.replace(" ", "T")}Z`);
}
