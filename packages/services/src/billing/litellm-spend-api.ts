import { AppError } from "@proliferate/shared/errors";

export interface LiteLLMSpendApiOptions {
  /** Of the management port, without `/v1`. */
  readonly adminUrl: string;
  readonly masterKey: string;
  /** Of one page. Default 30 s. */
  readonly timeoutMs?: number;
}

/** A spend row as the API tells it, each number as the very text that stood in the JSON: no amount passes through a float. */
export type ApiSpendRow = Readonly<Record<string, unknown>> & { readonly request_id: string };

export interface SpendPage {
  readonly rows: readonly ApiSpendRow[];
  /** Rows of the whole window, as far as the API counts: it stops at 10,000. */
  readonly total: number;
}

/** LiteLLM 1.92 refuses more. */
export const PAGE_ROWS = 100;
/** Where LiteLLM stops counting. */
export const TOTAL_CAP = 10_000;

/**
 * One page of `GET /spend/logs/v2`, oldest first. Both bounds are inclusive, on the start of the request, in whole seconds.
 * Throws `llm_proxy_failed` when the proxy cannot be reached, refuses, or answers something else; the key is in no message.
 */
export async function fetchSpendPage(api: LiteLLMSpendApiOptions, window: { readonly from: Date; readonly to: Date; readonly page: number }): Promise<SpendPage> {
  const query = new URLSearchParams({
    start_date: utcSeconds(window.from),
    end_date: utcSeconds(window.to),
    sort_by: "startTime",
    sort_order: "asc",
    page: `${window.page}`,
    page_size: `${PAGE_ROWS}`,
  });
  let status: number;
  let text: string;
  try {
    const response = await fetch(`${api.adminUrl}/spend/logs/v2?${query}`, {
      headers: { authorization: `Bearer ${api.masterKey}` },
      signal: AbortSignal.timeout(api.timeoutMs ?? 30_000),
      redirect: "error",
    });
    status = response.status;
    text = await response.text();
  } catch (error) {
    throw fail((error as Error).message, error);
  }
  if (status !== 200) throw fail(`status ${status}`);
  const page = readPage(text);
  if (page === undefined) throw fail("its answer is not a page of spend rows");
  return page;
}

function fail(reason: string, cause?: unknown): AppError {
  return new AppError("llm_proxy_failed", `GET /spend/logs/v2 of the LLM proxy failed: ${reason}.`, cause === undefined ? undefined : { cause });
}

function readPage(text: string): SpendPage | undefined {
  let body: { readonly data?: unknown; readonly total?: unknown } | null;
  try {
    body = JSON.parse(text, keepNumberText as (key: string, value: unknown) => unknown) as typeof body;
  } catch {
    return undefined;
  }
  if (!Array.isArray(body?.data) || !/^\d+$/.test(`${body.total}`)) return undefined;
  if (!body.data.every((row: unknown) => typeof (row as { request_id?: unknown } | null)?.request_id === "string")) return undefined;
  return { rows: body.data as ApiSpendRow[], total: Number.parseInt(`${body.total}`, 10) };
}

/** A number becomes the text that it was written as. */
function keepNumberText(_key: string, value: unknown, context: { readonly source?: string }): unknown {
  return typeof value === "number" ? context.source : value;
}

function utcSeconds(instant: Date): string {
  return instant.toISOString().slice(0, 19).replace("T", " ");
}
