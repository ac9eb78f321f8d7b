import { fetchWhole } from "../outgoing/index.ts";
import { AppError } from "@proliferate/shared/errors";

export interface LiteLLMSpendApiOptions {
  /** Of the management port, without `/v1`. */
  readonly adminUrl: string;
  /** Opens the management API; stands in no message. */
  readonly masterKey: string;
  /** Of one page. Default 30 s. */
  readonly timeoutMs?: number;
}

/** A spend row as the API tells it, each number as the very text that stood in the JSON: no amount passes through a float. */
export type ApiSpendRow = Readonly<Record<string, unknown>> & { readonly request_id: string };

interface SpendPage {
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
export async function fetchSpendPage(
  api: LiteLLMSpendApiOptions,
  window: { readonly from: Date; readonly to: Date; readonly page: number },
): Promise<SpendPage> {
  const query = new URLSearchParams({
    start_date: utcSeconds(window.from),
    end_date: utcSeconds(window.to),
    sort_by: "startTime",
    sort_order: "asc",
    page: `${window.page}`,
    page_size: `${PAGE_ROWS}`,
  });
  const { status, text } = await get(api, `/spend/logs/v2?${query}`);
  if (status !== 200) throw fail(SPEND_LOGS, `status ${status}`);
  const page = readPage(text);
  if (page === undefined) throw fail(SPEND_LOGS, "its answer is not a page of spend rows");
  return page;
}

/**
 * Whose a key is: its team, `""` where it has none or no longer exists. Throws `llm_proxy_failed` like {@link fetchSpendPage}.
 */
export async function fetchKeyTeam(api: LiteLLMSpendApiOptions, keyHash: string): Promise<string> {
  const { status, text } = await get(api, `/key/info?${new URLSearchParams({ key: keyHash })}`);
  if (status === 404) return "";
  if (status !== 200) throw fail(KEY_INFO, `status ${status}`);
  const team = readKeyTeam(text);
  if (team === undefined) throw fail(KEY_INFO, "its answer is not a key");
  return team;
}

/** LiteLLM may keep whole prompts and answers on its rows. */
const MAX_PAGE_BYTES = 64 * 1024 * 1024;

const SPEND_LOGS = "/spend/logs/v2";
const KEY_INFO = "/key/info";

async function get(api: LiteLLMSpendApiOptions, path: string): Promise<{ readonly status: number; readonly text: string }> {
  try {
    return await fetchWhole(
      `${api.adminUrl}${path}`,
      { method: "GET", headers: { authorization: `Bearer ${api.masterKey}` } },
      { timeoutMs: api.timeoutMs ?? 30_000, maxBytes: MAX_PAGE_BYTES },
    );
  } catch (error) {
    throw fail(path.split("?")[0] ?? path, (error as Error).message, error);
  }
}

function fail(path: string, reason: string, cause?: unknown): AppError {
  return new AppError("llm_proxy_failed", `GET ${path} of the LLM proxy failed: ${reason}.`, cause === undefined ? undefined : { cause });
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

function readKeyTeam(text: string): string | undefined {
  try {
    const { info } = JSON.parse(text) as { readonly info?: { readonly team_id?: unknown } };
    return typeof info === "object" && info !== null ? `${info.team_id ?? ""}` : undefined;
  } catch {
    return undefined;
  }
}

/** A number becomes the text that it was written as. */
function keepNumberText(_key: string, value: unknown, context: { readonly source?: string }): unknown {
  return typeof value === "number" ? context.source : value;
}

function utcSeconds(instant: Date): string {
  return instant.toISOString().slice(0, 19).replace("T", " ");
}
