import type { DatabaseClient } from "@proliferate/db";
import { subtractDecimals } from "@proliferate/shared/money";
import { findSpendLog } from "../spend-logs/db.ts";
import { type AttemptOutcome, buildCorrection, buildSpendLog } from "../spend-logs/spend-log.ts";
import { type AdmittedAttempt, insertCorrection, replaceAttemptBySpendLog } from "./db.ts";

/**
 * - `settled`: this call wrote the spend row.
 * - `corrected`: another process had settled the attempt at an estimate; this call wrote the difference.
 * - `repeated`: it was settled (and corrected) before; nothing changed.
 */
export type SettlementResult = "settled" | "corrected" | "repeated";

/** Settles an attempt, atomically and idempotently: repeat it after any error, also one that hides whether it committed. */
export async function settleAttempt(db: DatabaseClient, attempt: AdmittedAttempt, outcome: AttemptOutcome): Promise<SettlementResult> {
  if (await replaceAttemptBySpendLog(db, attempt.attempt_id, buildSpendLog(attempt, outcome))) return "settled";
  if (outcome.recovered) return "repeated";
  const written = await findSpendLog(db, attempt.attempt_id);
  if (!written || written.metadata["recovered"] !== true) return "repeated";
  const estimate = { spendUsd: written.spend, promptTokens: written.prompt_tokens, completionTokens: written.completion_tokens };
  const correction = buildCorrection(attempt, outcome, estimate, subtractDecimals(outcome.cost.totalUsd, written.spend));
  return (await insertCorrection(db, correction)) ? "corrected" : "repeated";
}
