import { setTimeout as delay } from "node:timers/promises";
import { readPayer } from "@proliferate/access/principals";
import type { DatabaseClient } from "@proliferate/db";
import { AppError, isAppError } from "@proliferate/shared/errors";
import type { DecimalText } from "@proliferate/shared/money";
import { ensureOrg, findRefusal, lockPayersGate, moveOrg, readGate } from "../billing-gate/index.ts";
import { hasSpendLogs } from "@proliferate/access/spend-logs";
import type { SessionAdmission } from "../sessions/index.ts";
import { deleteReservation, insertReservation, readReservations, releaseReservations, writeKeyHash, writeLimit } from "./db.ts";

/** A session that asks whether it may start. */
interface AdmissionRequest {
  /** The team of the session; its payer is asked, and reserves. */
  readonly orgId: string;
  /** Whose key is to be minted; it reserves the budget. */
  readonly sessionId: string;
  /** The generation of the key that is to be minted; more than one means that the session is resumed. */
  readonly keyGeneration: number;
  /** What is about to begin; the refusal says so. */
  readonly operation: "session_start" | "session_resume" | "automation_trigger";
  /** The caller's own limit for the key, USD of provider cost. */
  readonly limitUsd?: DecimalText | undefined;
}

/**
 * Asks the gate of the team's payer and reserves there what the session's new key may spend, in one transaction under the org's lock: however many
 * calls there are at once, live sessions stay within the limit and reservations within the balance. Returns the budget to
 * mint the key with, USD. Throws what the gate throws, and `no_credits` where all that is left is reserved by others.
 */
export async function admitSession(db: DatabaseClient, request: AdmissionRequest): Promise<DecimalText> {
  await ensureOrg(db, await readPayer(db, request.orgId));
  const admitted = await db.transaction().execute(async (tx) => {
    const orgId = await lockPayersGate(tx, request.orgId);
    const gate = await moveOrg(tx, orgId);
    const refusal = await findRefusal(tx, gate, request.operation, request.sessionId);
    if (refusal) return refusal;
    const budgetUsd = await insertReservation(tx, { ...request, orgId }, request.limitUsd ?? null);
    if (budgetUsd !== undefined) return budgetUsd;
    const held = await readReservations(tx, orgId);
    return new AppError(
      "no_credits",
      `Organization ${orgId} can afford ${held?.affordable_usd ?? "0"} USD, of which ${held?.live_sessions ?? 0} live sessions hold ${held?.reserved_usd ?? "0"}.`,
    );
  });
  // The refusal is thrown after the transaction. Thrown inside, it would roll back the new state that the gate was moved to.
  if (admitted instanceof AppError) throw admitted;
  return admitted;
}

/** Notes the key that was minted, and releases what the session's older keys held. Idempotent. */
export async function confirmAdmission(
  db: DatabaseClient,
  key: { readonly sessionId: string; readonly keyGeneration: number; readonly keyHash: string },
): Promise<void> {
  await writeKeyHash(db, key.sessionId, key.keyGeneration, key.keyHash);
  await releaseReservations(db, key.sessionId, { belowGeneration: key.keyGeneration, hasSpendLogs: await hasSpendLogs(db) });
}

/** Takes a reservation back whose key was certainly never made. Idempotent. */
async function cancelAdmission(db: DatabaseClient, sessionId: string, keyGeneration: number): Promise<void> {
  await deleteReservation(db, sessionId, keyGeneration);
}

/** How long an org's first session waits for the worker to read its first balance. */
const FIRST_BALANCE_TIMEOUT_MS = 5_000;
const FIRST_BALANCE_POLL_MS = 100;

/**
 * The gate and the reservations, as sessions use them. The first session of an org that nobody has asked the sink about
 * waits up to `firstBalanceTimeoutMs` (default 5 s) for its balance; then the refusal stands.
 */
export function createSessionAdmission(db: DatabaseClient, { firstBalanceTimeoutMs = FIRST_BALANCE_TIMEOUT_MS } = {}): SessionAdmission {
  return {
    admit: async (request) => {
      try {
        return await admitSession(db, request);
      } catch (error) {
        if (!isAppError(error, "billing_not_configured") || !(await awaitFirstBalance(db, request.orgId, firstBalanceTimeoutMs)))
          throw error;
        return admitSession(db, request);
      }
    },
    confirm: (key) => confirmAdmission(db, key),
    cancel: (sessionId, keyGeneration) => cancelAdmission(db, sessionId, keyGeneration),
    setLimit: (sessionId, keyGeneration, limitUsd) => writeLimit(db, sessionId, keyGeneration, limitUsd),
    release: (sessionId) => releaseSession(db, sessionId),
  };
}

/** True once the sink was asked about the org, false when it knows none, or nobody asked in time. */
async function awaitFirstBalance(db: DatabaseClient, orgId: string, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const gate = await readGate(db, await readPayer(db, orgId));
    if (gate?.reconciled_at) return true;
    if ((gate?.reconcile_problem ?? null) !== null || performance.now() >= deadline) return false;
    await delay(FIRST_BALANCE_POLL_MS);
  }
}

/** Releases all that a session holds but what is still under way. To be called after its keys were revoked. Idempotent. */
export async function releaseSession(db: DatabaseClient, sessionId: string): Promise<void> {
  await releaseReservations(db, sessionId, { belowGeneration: null, hasSpendLogs: await hasSpendLogs(db) });
}
