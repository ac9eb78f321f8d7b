import { type DatabaseClient, isPermanentError } from "@proliferate/db";
import { completionTokens, promptTokens, totals } from "@proliferate/metering/usage";
import { compareDecimals, subtractDecimals } from "@proliferate/shared/money";
import { amountsTaken, type MeteredOutcome } from "../limits/index.ts";
import { findSpendLog, type SpendLogRow, storableCount } from "../spend-logs/index.ts";
import { type AttemptOutcome, buildCorrection, buildSpendLog } from "./spend-log.ts";
import type { AdmittedAttempt } from "./db.ts";
import { insertCorrection, replaceAttemptBySpendLog } from "./settlement-db.ts";

/**
 * - `settled`: this call wrote the spend row.
 * - `corrected`: another process had settled the attempt at an estimate; this call wrote the difference.
 * - `repeated`: it was settled (and corrected) before; nothing changed.
 */
type SettlementResult = "settled" | "corrected" | "repeated";

/**
 * Settles an attempt, atomically and idempotently: repeat it after any error, also one that hides whether it committed. A row
 * that the store can never take is written again as a bare one, flagged `settlement_repaired`, so that nothing which a
 * provider or a caller said keeps an attempt open.
 */
export async function settleAttempt(db: DatabaseClient, attempt: AdmittedAttempt, outcome: AttemptOutcome): Promise<SettlementResult> {
  try {
    return await settleOnce(db, attempt, outcome, (row) => row);
  } catch (error) {
    if (!isPermanentError(error)) throw error;
    return settleOnce(db, attempt, { ...outcome, providerResponseId: null }, (row) => bareRow(row, error));
  }
}

async function settleOnce(
  db: DatabaseClient,
  attempt: AdmittedAttempt,
  outcome: AttemptOutcome,
  shape: (row: SpendLogRow) => SpendLogRow,
): Promise<SettlementResult> {
  const taken = amountsTaken(meteredOutcome(outcome));
  if (await replaceAttemptBySpendLog(db, attempt, shape(buildSpendLog(attempt, outcome)), taken)) return "settled";
  if (outcome.recovered) return "repeated";
  const written = await findSpendLog(db, attempt.attempt_id);
  if (!written || written.metadata["recovered"] !== true) return "repeated";
  const estimate = { spendUsd: written.spend, promptTokens: written.prompt_tokens, completionTokens: written.completion_tokens };
  const moreUsd = subtractDecimals(outcome.cost.totalUsd, written.spend);
  const correction = buildCorrection(attempt, outcome, estimate, moreUsd);
  const more = new Map([
    ["usd", moreUsd],
    ["tokens", String(correction.total_tokens)],
  ]);
  return (await insertCorrection(db, shape(correction), { reservations: attempt.reservations, more })) ? "corrected" : "repeated";
}

/** A failure that cost nothing came to nothing. */
function meteredOutcome({ report, cost, status }: AttemptOutcome): MeteredOutcome {
  const usage = totals(report);
  return {
    costUsd: cost.totalUsd,
    totalTokens: storableCount(promptTokens(usage) + completionTokens(usage)),
    isVoid: status === "failure" && compareDecimals(cost.totalUsd, "0") === 0,
  };
}

/** Who pays, what, and when; nothing that came from outside but what admission has stored before. */
function bareRow(row: SpendLogRow, error: unknown): SpendLogRow {
  const { code } = error as { code?: unknown };
  return {
    ...row,
    completionStartTime: null,
    end_user: "",
    requester_ip_address: "",
    session_id: row.litellm_call_id ?? "",
    metadata: JSON.stringify({ estimated: true, recovered: false, settlement_repaired: typeof code === "string" ? code : "unstorable" }),
  };
}
