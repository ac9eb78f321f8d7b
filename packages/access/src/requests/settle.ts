import { type DatabaseClient, type DatabaseExecutor, isPermanentError } from "@proliferate/db";
import { completionTokens, promptTokens, totals } from "@proliferate/metering/usage";
import { compareDecimals, type DecimalText, subtractDecimals } from "@proliferate/shared/money";
import { amountsTaken, type MeteredOutcome } from "../limits/index.ts";
import { findSpendLog, type SpendLogRow, storableCount, type StoredSpendLog } from "../spend-logs/index.ts";
import { type AttemptOutcome, buildCorrection, buildSpendLog } from "./spend-log.ts";
import type { AdmittedAttempt } from "./db.ts";
import { insertCorrection, replaceAttemptBySpendLog } from "./settlement-db.ts";

/**
 * - `settled`: this call wrote the spend row.
 * - `corrected`: another process had settled the attempt at an estimate; this call wrote the difference.
 * - `repeated`: it was settled (and corrected) before; nothing changed.
 */
export type SettlementResult = "settled" | "corrected" | "repeated";

/**
 * Settles an attempt, atomically and idempotently: repeat it after any error, also one that hides whether it committed. A row
 * that the store can never take is written again as a bare one, flagged `settlement_repaired`, so that nothing which a
 * provider or a caller said keeps an attempt open.
 */
export async function settleAttempt(db: DatabaseClient, attempt: AdmittedAttempt, outcome: AttemptOutcome): Promise<SettlementResult> {
  return settleWith(outcome, async (settle) => settle(db, attempt));
}

/** Settles one attempt, on record, once. */
type SettleOnce = (db: DatabaseExecutor, attempt: AdmittedAttempt) => Promise<SettlementResult>;

/** Runs what settles an attempt; where its row can never be taken, again with a settlement that writes a bare one. */
export async function settleWith(
  outcome: AttemptOutcome,
  run: (settle: SettleOnce) => Promise<SettlementResult>,
): Promise<SettlementResult> {
  try {
    return await run(async (db, attempt) => settleOnce(db, attempt, outcome, (row) => row));
  } catch (error) {
    if (!isPermanentError(error)) throw error;
    const bare = { ...outcome, providerResponseId: null };
    return run(async (db, attempt) => settleOnce(db, attempt, bare, (row) => bareRow(row, error)));
  }
}

async function settleOnce(
  db: DatabaseExecutor,
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
  // Of every meter, as of USD: a request that came to nothing after all takes no place among requests.
  const counted = amountsTaken(meteredRow(written));
  const more = new Map([...taken].map(([meter, amount]) => [meter, subtractDecimals(amount, counted.get(meter) ?? "0")]));
  return (await insertCorrection(db, shape(correction), { reservations: attempt.reservations, more })) ? "corrected" : "repeated";
}

function meteredOutcome({ report, cost, status }: AttemptOutcome): MeteredOutcome {
  const usage = totals(report);
  return metered(cost.totalUsd, storableCount(promptTokens(usage) + completionTokens(usage)), status);
}

/** The same of what was written. */
function meteredRow({ spend, prompt_tokens: prompt, completion_tokens: completion, status }: StoredSpendLog): MeteredOutcome {
  return metered(spend, prompt + completion, status);
}

/** A failure that cost nothing came to nothing. */
function metered(costUsd: DecimalText, totalTokens: number, status: string | null): MeteredOutcome {
  return { costUsd, totalTokens, isVoid: status === "failure" && compareDecimals(costUsd, "0") === 0 };
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
