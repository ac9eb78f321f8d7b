import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import type { DecimalText } from "@proliferate/shared/money";
import { type CallerRow, findCaller } from "../keys/db.ts";
import { type Budget, checkBudgets } from "../budgets/budget.ts";
import { type AdmittedAttempt, insertAttempt, insertAttemptIfFits, type NewAttempt } from "./db.ts";
import { adoptForeignSpend, type CounterRow, insertMissingCounters, lockCounters } from "../budgets/db.ts";

export interface AdmissionRequest {
  /** All of the attempt but what admission decides. */
  readonly attempt: Omit<NewAttempt, "key_hash" | "team_id" | "user_id" | "key_alias" | "reserved_usd">;
  /** How long the request has been running, by a clock that only counts; asked at each try. Milliseconds. */
  readonly runningMs: () => number;
  /** As it was read when the request was authenticated. */
  readonly caller: CallerRow;
  /** Throws where the caller, as it is now, may not use what the request names beside its model. */
  readonly requireNamedAllowed: (caller: CallerRow) => void;
  /** What the request costs at least, and at most. */
  readonly minimumUsd: DecimalText;
  readonly worstCaseUsd: DecimalText;
}

/**
 * Admits a request: atomically checks key, team, allow list and every budget, reserves the worst case, and puts the attempt
 * on record; or it throws and changes nothing. Exact under concurrency: counters are read under their row locks. What was read of
 * the caller before only saves a round trip: it is compared with what is there now.
 *
 * Throws `invalid_api_key`, `blocked_api_key`, `expired_api_key`, `team_not_found`, `model_not_allowed`,
 * `budget_exceeded` (nothing left even if every request in flight cost nothing) and `budget_reserved` (retry in 1 s).
 */
export async function admitAttempt(db: DatabaseClient, request: AdmissionRequest): Promise<AdmittedAttempt> {
  requireModelAllowed(requireUsable(request.caller), request.attempt.model_group);
  const attempt = attemptOf(request.caller, request);
  const fits = await insertAttemptIfFits(db, attempt, request.caller, { minimumUsd: request.minimumUsd, runningMs: request.runningMs() });
  if (fits) return fits;
  // Seldom: the first request of a key or team, one that does not fit, or a key that was changed a moment ago.
  const admitted = await admitStepByStep(db, request);
  if ("attempt_id" in admitted) return admitted;
  // Made in a statement of its own: who holds one counter and then waits to make another would wait in a circle.
  await insertMissingCounters(db, admitted.keyHash, admitted.teamId);
  const second = await admitStepByStep(db, request);
  if ("attempt_id" in second) return second;
  throw new AppError("invalid_api_key", "The API key was revoked a moment ago.");
}

/** Decides anew, and throws what stands in the way. Answers the caller instead when one of its counters does not exist yet; then nothing was changed. */
async function admitStepByStep(db: DatabaseClient, request: AdmissionRequest): Promise<AdmittedAttempt | CallerRow> {
  return db.transaction().execute(async (tx) => {
    const caller = requireUsable(await findCaller(tx, request.caller.keyHash));
    requireModelAllowed(caller, request.attempt.model_group);
    request.requireNamedAllowed(caller);
    const counters = await currentCounters(tx, caller);
    if (counters.length < (caller.teamId === null ? 1 : 2)) return caller;
    const verdict = checkBudgets(budgetsOf(caller, counters), request.minimumUsd);
    if (verdict.kind !== "fits") throw budgetError(verdict.kind, verdict.budget);
    return insertAttempt(tx, attemptOf(caller, request), request.runningMs());
  });
}

/** Locked, and with what another engine on the same tables has spent meanwhile. */
async function currentCounters(tx: DatabaseExecutor, { keyHash, teamId }: CallerRow): Promise<readonly CounterRow[]> {
  const counters = await lockCounters(tx, keyHash, teamId);
  return (await adoptForeignSpend(tx, keyHash, teamId)) > 0 ? lockCounters(tx, keyHash, teamId) : counters;
}

function attemptOf(caller: CallerRow, { attempt, worstCaseUsd }: AdmissionRequest): NewAttempt {
  return {
    ...attempt,
    key_hash: caller.keyHash,
    team_id: caller.teamId,
    user_id: caller.userId,
    key_alias: caller.keyAlias,
    reserved_usd: worstCaseUsd,
  };
}

/** The key, if it may be used at all. Throws the 401s, and `team_not_found` for a key whose team was never made. */
export function requireUsable(caller: CallerRow | undefined): CallerRow {
  if (!caller) throw new AppError("invalid_api_key", "The API key is not known here; it was never minted, or it was revoked.");
  if (caller.blocked) throw new AppError("blocked_api_key", "The API key is blocked.");
  if (caller.teamBlocked) throw new AppError("blocked_api_key", "The team of the API key is blocked.");
  if (caller.expired)
    throw new AppError("expired_api_key", `The API key expired at ${caller.expires?.toISOString() ?? "an unknown time"}.`);
  if (caller.teamId !== null && !caller.teamExists) {
    throw new AppError(
      "team_not_found",
      `Team doesn't exist in db. Team=${caller.teamId}. The API key was minted for it; create it with POST /team/new.`,
    );
  }
  return caller;
}

/** LiteLLM's allow lists: an empty one allows all, and so do its two words for that. */
export function isModelAllowed(caller: CallerRow, model: string): boolean {
  const allows = (models: readonly string[]): boolean =>
    models.length === 0 || models.includes(model) || models.includes("all-proxy-models");
  const keyAllows = allows(caller.models) || caller.models.includes("all-team-models");
  return keyAllows && allows(caller.teamModels);
}

/** Throws `model_not_allowed`, naming what is. */
export function requireModelAllowed(caller: CallerRow, model: string): void {
  if (isModelAllowed(caller, model)) return;
  const names = caller.models.length > 0 ? caller.models : caller.teamModels;
  throw new AppError("model_not_allowed", `The API key may not use model "${model}"; it may use: ${names.join(", ")}.`, { param: "model" });
}

/** The budgets that a request of this caller must fit into. */
export function budgetsOf(caller: CallerRow, counters: readonly CounterRow[]): readonly Budget[] {
  return counters.map((counter) => ({ ...counter, maxUsd: counter.scope === "key" ? caller.maxBudgetUsd : caller.teamMaxBudgetUsd }));
}

/** What a caller is told whose request does not fit. */
export function budgetError(kind: "exceeded" | "reserved", budget: Budget): AppError {
  const whose = budget.scope === "key" ? "API key" : "team";
  const details = { scope: budget.scope, maxUsd: budget.maxUsd, spendUsd: budget.spendUsd, reservedUsd: budget.reservedUsd };
  if (kind === "reserved") {
    return new AppError("budget_reserved", `What is left of the budget of the ${whose} is reserved by requests in flight.`, {
      details,
      retryAfterSeconds: 1,
    });
  }
  // A team's amounts are not for everyone who holds one of its keys.
  const amounts = budget.scope === "key" ? ` (${budget.spendUsd} of ${budget.maxUsd} USD spent)` : "";
  return new AppError("budget_exceeded", `The budget of the ${whose} is spent, or too little is left for this request${amounts}.`, {
    details,
  });
}
