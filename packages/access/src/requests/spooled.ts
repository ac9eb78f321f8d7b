import type { DatabaseClient } from "@proliferate/db";
import { type Amounts, type CountedLimit, isLiteLLMBudget } from "../limits/index.ts";
import type { AdmissionRequest } from "./admit.ts";
import { type SettlementResult, settleWith } from "./settle.ts";
import type { AttemptOutcome } from "./spend-log.ts";
import { insertSpooledAttempt, placeReservations, type SpooledAttempt } from "./spooled-db.ts";

/**
 * The attempt of a request that is admitted without the store: as `admitAttempt` would record it, with what it takes at most in every
 * limit that is known, started at `startedAt` by what is known of the database's clock.
 */
export function spooledAttempt(
  { attempt, caller }: Pick<AdmissionRequest, "attempt" | "caller">,
  { limits, asked, startedAt }: { readonly limits: readonly CountedLimit[]; readonly asked: Amounts; readonly startedAt: Date },
): SpooledAttempt {
  const reservations = limits
    .filter((limit) => !isLiteLLMBudget(limit))
    .map(({ principal: { kind, id }, meter, window, model }) => ({
      kind,
      id,
      meter,
      window,
      model,
      amount: asked.get(meter)?.most ?? "0",
    }));
  return {
    ...attempt,
    key_hash: caller.keyHash,
    team_id: caller.teamId,
    user_id: caller.userId,
    key_alias: caller.keyAlias,
    reserved_usd: asked.get("usd")?.most ?? "0",
    reservations: reservations.length === 0 ? null : reservations,
    started_at: startedAt,
  };
}

/**
 * Puts an attempt that was admitted without the store on record and settles it, in one transaction. Idempotent: its id is its identity,
 * so repeat it after any error, from any process; what was settled already stays, and an estimate is corrected by the truth. Its usage
 * counts in the windows in which it started. Throws only when the store is away, or takes not even a bare row.
 */
export async function settleSpooledAttempt(
  db: DatabaseClient,
  spooled: SpooledAttempt,
  outcome: AttemptOutcome,
): Promise<SettlementResult> {
  const attempt = { ...spooled, reservations: await placeReservations(db, spooled) };
  return settleWith(outcome, async (settle) =>
    db.transaction().execute(async (tx) => {
      await insertSpooledAttempt(tx, attempt);
      return settle(tx, attempt);
    }),
  );
}
