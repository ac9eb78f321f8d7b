import type { DatabaseClient } from "@proliferate/db";
import { addDecimals, compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { AppError } from "@proliferate/shared/errors";
import { insertCorrection } from "@proliferate/access/requests";
import { completionTokens, objectOf, promptTokens, rereadReport, totals, type UsageReport } from "@proliferate/metering/usage";
import { type Operator, recordAction, requireReason } from "../operator/index.ts";
import { type Cost, costOf, findPricesById, priceReport, requestPrices } from "@proliferate/metering/pricing";
import {
  listRepriceable,
  type RepriceableRow,
  type RepriceFilter,
  type SpendLogRow,
  storableCount,
  storableJson,
} from "@proliferate/access/spend-logs";

/**
 * Prices rows anew, by today's table and today's reading of what their providers reported: what changed is written as a
 * correction row beside the row, which billing turns into an adjustment. The row itself never changes, so a request is
 * corrected once; what should change again is reported, and left.
 */

interface RepricedRow {
  readonly requestId: string;
  readonly model: string;
  readonly orgId: string | null;
  readonly beforeUsd: DecimalText;
  readonly afterUsd: DecimalText;
  readonly differenceUsd: DecimalText;
  /** What still has no price. */
  readonly unknown: readonly string[];
}

export interface RepriceResult {
  /** Rows of the range that keep what their provider reported. */
  readonly rows: number;
  readonly unchanged: number;
  /** At a price of config.yaml, which only the proxy knows. */
  readonly configured: number;
  /** Rows that have a correction and should change again. */
  readonly correctedBefore: readonly RepricedRow[];
  /** What changed, or would. */
  readonly changed: readonly RepricedRow[];
  readonly differenceUsd: DecimalText;
}

const PAGE = 500;

/** Tells what would change. Changes nothing. */
export async function previewReprice(db: DatabaseClient, filter: RepriceFilter): Promise<RepriceResult> {
  return reprice(db, filter, () => Promise.resolve(true));
}

/**
 * Writes a correction for each row that changes, each in a transaction with its own record of who and why. Idempotent; ended
 * midway, it goes on where it is repeated. Throws `invalid_request` without a reason.
 */
export async function applyReprice(db: DatabaseClient, filter: RepriceFilter, operator: Operator): Promise<RepriceResult> {
  requireReason(operator);
  return reprice(db, filter, (row, repriced, correction) =>
    db.transaction().execute(async (tx) => {
      // The windows of other limits are over, or nobody knows any more which of them the request was in.
      if (!(await insertCorrection(tx, correction, { reservations: null, more: new Map([["usd", correction.spend]]) }))) return false;
      const facts = { before_usd: repriced.beforeUsd, after_usd: repriced.afterUsd, model: repriced.model };
      await recordAction(tx, { action: "row.repriced", subject: row.request_id, orgId: repriced.orgId, operator, facts });
      return true;
    }),
  );
}

type Write = (row: RepriceableRow, repriced: RepricedRow, correction: SpendLogRow) => Promise<boolean>;

async function reprice(db: DatabaseClient, filter: RepriceFilter, write: Write): Promise<RepriceResult> {
  if (filter.from >= filter.to)
    throw new AppError("invalid_request", "The range is empty: its end is not after its beginning.", { param: "to" });
  const done = { rows: 0, unchanged: 0, configured: 0, correctedBefore: [] as RepricedRow[], changed: [] as RepricedRow[] };
  let after: { startTime: Date; requestId: string } | undefined;
  for (;;) {
    const rows = await listRepriceable(db, filter, after, PAGE);
    for (const row of rows) await repriceOne(row, done, write);
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) return { ...done, differenceUsd: addDecimals(...done.changed.map((row) => row.differenceUsd)) };
    after = { startTime: last.startTime as unknown as Date, requestId: last.request_id };
  }
}

async function repriceOne(
  row: RepriceableRow,
  done: { rows: number; unchanged: number; configured: number; correctedBefore: RepricedRow[]; changed: RepricedRow[] },
  write: Write,
): Promise<void> {
  done.rows += 1;
  const priced = priceAnew(row);
  if (!priced) return void (done.configured += 1);
  const beforeUsd = addDecimals(row.spend, row.corrected_usd ?? "0");
  const differenceUsd = subtractDecimals(priced.cost.totalUsd, beforeUsd);
  const repriced = {
    requestId: row.request_id,
    model: row.model,
    orgId: row.team_id || null,
    beforeUsd,
    afterUsd: priced.cost.totalUsd,
    differenceUsd,
    unknown: priced.unknown,
  };
  if (compareDecimals(differenceUsd, "0") === 0) return void (done.unchanged += 1);
  if (row.corrected_usd !== null) return void done.correctedBefore.push(repriced);
  if (await write(row, repriced, correctionOf(row, priced, differenceUsd))) done.changed.push(repriced);
}

interface PricedAnew {
  readonly report: UsageReport;
  readonly cost: Cost;
  readonly unknown: readonly string[];
}

/** Undefined for a row whose price the table does not have. */
function priceAnew(row: RepriceableRow): PricedAnew | undefined {
  const provider = row.custom_llm_provider;
  const raw = objectOf(row.metadata["provider_usage"]);
  const priceId = objectOf(row.metadata["model_map_information"])?.["model_map_key"];
  const prices = typeof priceId === "string" ? findPricesById(priceId) : undefined;
  // A translated request has its caller's type, and its provider's words.
  const served = row.metadata["served_call_type"];
  const report = raw && rereadReport(typeof served === "string" ? served : row.call_type, raw);
  if (!report || !prices || provider === null) return undefined;
  const model = row.model.startsWith(`${provider}/`) ? row.model.slice(provider.length + 1) : row.model;
  const priced = priceReport(requestPrices({ provider, model, prices, startedAt: row.startTime as unknown as Date }), report);
  return { report, cost: costOf(priced), unknown: [...report.unknown, ...priced.unpriced] };
}

/** The difference, as a row: of amount and tokens. */
function correctionOf(row: RepriceableRow, { report, cost, unknown }: PricedAnew, differenceUsd: DecimalText): SpendLogRow {
  const { corrected_usd: _corrected, ...columns } = row;
  const usage = totals(report);
  const prompt = promptTokens(usage) - row.prompt_tokens;
  const completion = completionTokens(usage) - row.completion_tokens;
  const { unknown_usage: _before, ...metadata } = row.metadata;
  const breakdown = { input_cost: cost.inputUsd, output_cost: cost.outputUsd, tool_usage_cost: cost.toolUsd, total_cost: cost.totalUsd };
  return {
    ...(columns as unknown as SpendLogRow),
    startTime: isoOf(row.startTime),
    endTime: isoOf(row.endTime),
    completionStartTime: row.completionStartTime === null ? null : isoOf(row.completionStartTime),
    request_id: `${row.request_id}:correction`,
    spend: differenceUsd,
    prompt_tokens: storableCount(prompt),
    completion_tokens: storableCount(completion),
    total_tokens: storableCount(prompt + completion),
    request_tags: JSON.stringify(row.request_tags),
    metadata: JSON.stringify(
      storableJson({
        ...metadata,
        cost_breakdown: breakdown,
        correction_of: row.request_id,
        repriced: true,
        ...(unknown.length > 0 && { unknown_usage: unknown }),
      }),
    ),
  };
}

function isoOf(instant: unknown): string {
  return (instant as Date).toISOString();
}
