import { type DatabaseClient, type DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type CallerRow, findCaller } from "../keys/index.ts";
import {
  adoptForeignSpend,
  type Amounts,
  amountsOf,
  checkLimits,
  type CountedLimit,
  insertMissingCounters,
  limitError,
  type LimitedKeys,
  lockCounters,
  type MeteredRequest,
  readLimits,
} from "../limits/index.ts";
import { type CallableModel, requireModelAllowed } from "../principals/index.ts";
import { type AdmittedRequest, insertAttempt, insertAttemptIfFits } from "./admission-db.ts";
import { type NewAttempt, readTransactionStart } from "./db.ts";

export interface AdmissionRequest {
  /** All of the attempt but what admission decides. */
  readonly attempt: Omit<NewAttempt, "key_hash" | "team_id" | "user_id" | "key_alias">;
  /** How long the request has been running, by a clock that only counts; asked at each try. Milliseconds. */
  readonly runningMs: () => number;
  /** As it was read when the request was authenticated. */
  readonly caller: CallerRow;
  /** Throws where the caller, as it is now, may not use the route, or what the request names beside its model. */
  readonly requireNamedAllowed: (caller: CallerRow) => void;
  /** Which keys are known to have limits beside their budgets. Default: none. */
  readonly limitedKeys?: LimitedKeys;
  /** What it can take of every meter. */
  readonly metered: MeteredRequest;
  /** Told what refuses the request, before that is thrown, where it is not only reservations. Default: nobody is, and nothing is asked for it. */
  readonly onExceeded?: (path: ExceededPath) => void;
}

/** What refused a request by what was used of a limit: the whole path, read under the locks of its counters. */
export interface ExceededPath {
  /** As the same transaction read it. */
  readonly caller: CallerRow;
  /** In their order, of which the first that is exceeded was named. */
  readonly limits: readonly CountedLimit[];
  /** Before everything that was read, by the clock of the database. */
  readonly storeAt: Date;
  /** Before that, by `performance.now`. */
  readonly askedAtMs: number;
}

/** How often an admission is decided anew because a window began, or a counter was taken away, in between. */
const MOST_TRIES = 4;

/**
 * Admits a request: atomically checks key, team, allow list and every limit of its path, reserves the most that it can take, and puts
 * the attempt on record; or it throws and changes nothing. Exact under concurrency: counters are read under their row locks. What was
 * read of the caller before only saves a round trip: it is compared with what is there now.
 *
 * Throws `invalid_api_key`, `blocked_api_key`, `expired_api_key`, `team_not_found`, `model_not_allowed`, and what `limitError` says of the
 * limit that stands in the way.
 */
export async function admitAttempt(db: DatabaseClient, request: AdmissionRequest): Promise<AdmittedRequest> {
  requireModelAllowed(requireUsable(request.caller), modelOf(request));
  const asked = amountsOf(request.metered);
  const attempt = attemptOf(request.caller, request);
  const { keyHash, hasLimitColumns } = request.caller;
  const isLimited = hasLimitColumns || (request.limitedKeys?.has(keyHash) ?? false);
  const fits = await insertAttemptIfFits(db, attempt, request.caller, { asked, runningMs: request.runningMs(), isLimited });
  if (fits) {
    if (isLimited && fits.reservations === null) request.limitedKeys?.note(keyHash, false);
    return fits;
  }
  // Seldom: the first request of a key, a team or a window, one that does not fit, or a key that was changed a moment ago.
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const admitted = await admitStepByStep(db, request, asked);
    if ("attempt_id" in admitted) return admitted;
    // Made in a statement of its own: who holds one counter and then waits to make another would wait in a circle.
    await insertMissingCounters(db, admitted, request.attempt.model_group);
  }
  throw new AppError("invalid_api_key", "The API key was revoked a moment ago.");
}

/** Decides anew, and throws what stands in the way. Answers the caller instead when one of its counters does not exist yet, or it changed meanwhile; then nothing was changed. */
async function admitStepByStep(db: DatabaseClient, request: AdmissionRequest, asked: Amounts): Promise<AdmittedRequest | CallerRow> {
  const askedAtMs = performance.now();
  return db.transaction().execute(async (tx) => {
    const caller = requireUsable(await findCaller(tx, request.caller.shownHash));
    requireModelAllowed(caller, modelOf(request));
    request.requireNamedAllowed(caller);
    const limits = await currentLimits(tx, caller, request.attempt.model_group);
    if (limits === undefined) return caller;
    request.limitedKeys?.note(caller.keyHash, limits.length > (caller.teamId === null ? 1 : 2));
    const verdict = checkLimits(limits, asked);
    if (verdict.kind === "exceeded" && request.onExceeded)
      request.onExceeded({ caller, limits, storeAt: await readTransactionStart(tx), askedAtMs });
    if (verdict.kind !== "fits") throw limitError(verdict);
    return insertAttempt(tx, attemptOf(caller, request), { limits, asked, runningMs: request.runningMs() });
  });
}

/**
 * With their counters locked, and with what another engine on the same tables has spent meanwhile; undefined where a counter is missing, or the
 * key, its team or its limits changed since the caller was read.
 */
async function currentLimits(tx: DatabaseExecutor, caller: CallerRow, model: string): Promise<readonly CountedLimit[] | undefined> {
  const before = await readLimits(tx, caller, model);
  if (before.isMissing || before.isChanged) return undefined;
  await lockCounters(tx, before.limits);
  await adoptForeignSpend(tx, caller);
  const { limits, isMissing, isChanged } = await readLimits(tx, caller, model);
  return isMissing || isChanged || countersOf(limits) !== countersOf(before.limits) ? undefined : limits;
}

/** Which counters they are; those of the ones that were read first are locked. */
function countersOf(limits: readonly CountedLimit[]): string {
  return JSON.stringify(limits.map(({ principal, meter, window, model, windowStart }) => [principal, meter, window, model, windowStart]));
}

/** What policies judge of the model that a request calls. */
export function modelOf({ attempt }: Pick<AdmissionRequest, "attempt">): CallableModel {
  return { modelName: attempt.model_group, model: attempt.model, requestedAs: attempt.requested_model };
}

function attemptOf(caller: CallerRow, { attempt }: AdmissionRequest): NewAttempt {
  return { ...attempt, key_hash: caller.keyHash, team_id: caller.teamId, user_id: caller.userId, key_alias: caller.keyAlias };
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
