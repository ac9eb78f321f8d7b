/** Statements behind `billing export`: page by page, so that any number of events passes through little memory and no reader holds a connection. */
import type { DatabaseExecutor } from "@proliferate/db";
import { sql } from "kysely";
import { JOIN_BATCH } from "../ledger/index.ts";

export interface ExportFilter {
  readonly orgId?: string | undefined;
  /** Inclusive; by the start of the request. */
  readonly from?: Date | undefined;
  /** Exclusive. */
  readonly to?: Date | undefined;
}

/** One event with the batch that settles it. The columns of the export, in their order. */
export interface ExportRow {
  readonly event_id: string;
  readonly event_type: string;
  readonly org_id: string;
  readonly session_id: string | null;
  readonly request_id: string;
  readonly model: string;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly spend_usd: string;
  readonly markup: string;
  readonly credits_per_usd: string;
  readonly credits: string;
  readonly occurred_at: string;
  readonly recorded_at: string;
  readonly batch_id: string | null;
  readonly batch_state: string | null;
  readonly delivered_at: string | null;
}

const INSTANT = sql.lit('YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

/** The newest event there is: what an export goes up to. */
export async function readNewestEventId(db: DatabaseExecutor): Promise<string> {
  const { rows } = await sql<{ newest: string }>`select coalesce(max(event_id), 0)::text as newest from billing_events`.execute(db);
  return rows[0]?.newest ?? "0";
}

/** The next events after one id, up to another, in the order of their ids; at most `limit`, none at the end. */
export async function readExportPage(
  db: DatabaseExecutor,
  filter: ExportFilter,
  page: { readonly afterId: string; readonly throughId: string; readonly limit: number },
): Promise<readonly ExportRow[]> {
  const orgId = filter.orgId ?? null;
  const from = filter.from ?? null;
  const to = filter.to ?? null;
  const result = await sql<ExportRow>`
    select e.event_id, e.event_type, e.org_id, e.session_id, e.request_id, e.model, e.prompt_tokens, e.completion_tokens,
      trim_scale(e.spend_usd) as spend_usd, trim_scale(e.markup) as markup, trim_scale(e.credits_per_usd) as credits_per_usd,
      trim_scale(e.credits) as credits, to_char(e.occurred_at at time zone 'UTC', ${INSTANT}) as occurred_at,
      to_char(e.recorded_at at time zone 'UTC', ${INSTANT}) as recorded_at, b.batch_id, b.state as batch_state,
      to_char(b.delivered_at at time zone 'UTC', ${INSTANT}) as delivered_at
    from billing_events e ${JOIN_BATCH}
    where e.event_id > ${page.afterId}::bigint and e.event_id <= ${page.throughId}::bigint
      and (${orgId}::text is null or e.org_id = ${orgId}::text)
      and (${from}::timestamptz is null or e.occurred_at >= ${from}::timestamptz)
      and (${to}::timestamptz is null or e.occurred_at < ${to}::timestamptz)
    order by e.event_id limit ${page.limit}`.execute(db);
  return result.rows;
}
