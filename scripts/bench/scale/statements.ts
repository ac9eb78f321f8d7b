import type { DatabaseClient } from "@proliferate/db";
import { checkpointAttempts, listInstancesWithAttempts, readReservations } from "@proliferate/access/requests";
import { readClock, replaceAttemptBySpendLog } from "@proliferate/access/test/internals";
import { deleteEndedCounters, lockCounters, readLimits } from "@proliferate/access/limits";
import {
  beginAttempt,
  beginReading,
  claimDueBatches,
  claimDueEvents,
  claimUntoldKey,
  closeCircuit,
  compareSourceWithLedger,
  countLiveSessions,
  countSourceRows,
  countStrayEvents,
  decideBudgets,
  enterCircuit,
  findLiveToken,
  finishAttempt,
  flagForgottenKeys,
  flagForgottenTopUps,
  hadBalance,
  hasNewerReading,
  ingestSpendRows,
  insertReservation,
  isTopUpAllowed,
  listComparableOrgs,
  listKeysWithoutTeam,
  listOrgsToMove,
  listOrgsToReconcile,
  listOrgsToRefresh,
  listOrgsToTopUp,
  lockAccountsToSeal,
  lockReservations,
  lockUnposted,
  readBatchStates,
  readBooks,
  readComparableBatches,
  readDecided,
  readEngineMark,
  readFirstSightDoubt,
  readGaps,
  readLookBackStart,
  countMirrorRows,
  readMirrorEnd,
  readOpenEvents,
  readOpenReviews,
  readWaitingOrgs,
  reapReservations,
  recordOutcome,
  releaseClaims,
  releaseHeld,
  releaseReservations,
  sealBatches,
  selectEndedWithKeys,
  selectExpiredSessions,
  selectLaunched,
  selectModelCosts,
  selectSessionEvents,
  selectSessions,
  selectUnfinished,
  sumBilledEvents,
  sumUnbilledSpend,
  takeAgentsToAsk,
  takeOrgsWithoutBalance,
  updateSpentOfNewKeys,
  writeLastUse,
  writeRates,
  writeReadingProblem,
  writeSeen,
  writeState,
} from "@proliferate/services/test/internals";
import { isKept, writeAllRates, writeReconcileWanted } from "@proliferate/services/balance";
import { findChunkEnd, foldCounts } from "@proliferate/services/billing";
import {
  countDifferences,
  findMonthEnd,
  lockIngest,
  readOldestStart,
  readOpenAlerts,
  readUsageByModel,
} from "@proliferate/services/ledger";
import { readMark, readPasses, recordPass, takePass, writeMark } from "@proliferate/services/passes";
import { resolveReviews } from "@proliferate/services/reviews";
import { requestFlush, takeFlushRequests } from "@proliferate/services/settlement";
import {
  readAttention,
  readBalances,
  readDelivery,
  readOpenFindings,
  readRecentlyBroken,
  readSourceLag,
} from "@proliferate/services/reports";
import { ensureGatesOfSpenders, ensureOrg, isKnownOrg, listOrgsNearZero, readGate } from "@proliferate/services/billing-gate";
import { deleteOldManagementActions } from "@proliferate/access/audit";
import { deleteExpiredKeys, findCaller, listKeysDueForReset } from "@proliferate/access/keys";
import { deleteOldSessions, endForgottenSessions, findSession } from "@proliferate/services/sessions";
import { readPayer } from "@proliferate/access/principals";
import { listBudgetsDueForReset } from "@proliferate/access/budgets";
import { listTeamsDueForReset } from "@proliferate/access/teams";
import { insertAnomalyEvents } from "@proliferate/services/webhook-events";
import { NEW_ROWS } from "./fill.ts";
import { admit, claimOne, DELIVERED, KEY_MEMORY_MS, NO_ID, SPEND_ROW, TAKEN } from "./samples.ts";

/** How many of each process the deployment has that calls are counted for. */
export const PROCESSES = { proxies: 20, workers: 5, gateways: 4 } as const;
/** Each worker and gateway is scraped every 15 s. */
const SCRAPES = (PROCESSES.workers + PROCESSES.gateways) * 4;

export interface ScaleStatement {
  /** The function that runs it. */
  readonly name: string;
  /** Who calls it, and when. */
  readonly caller: string;
  /** In a deployment of {@link PROCESSES} in which nobody does anything; null: it follows requests or sessions. */
  readonly idleCallsAMinute: number | null;
  readonly run: (db: DatabaseClient) => Promise<unknown>;
}

const DAY_MS = 86_400_000;
const RANGE = { lookBackMs: 26 * 3_600_000, quietMs: 600_000, openOnly: false } as const;
const LIVE = { sessionId: "session-5", keyHash: "key-5", token: "key-5", teamId: "org-5" } as const;
const idle = (name: string, caller: string, idleCallsAMinute: number, run: ScaleStatement["run"]): ScaleStatement => ({
  name,
  caller,
  idleCallsAMinute,
  run,
});
const hot = (name: string, caller: string, run: ScaleStatement["run"]): ScaleStatement => ({ name, caller, idleCallsAMinute: null, run });
/** When the database was filled: what was new then is what the statements ask for, however long the others took. */
export const filled = { at: new Date() };
const ago = (ms: number): Date => new Date(filled.at.getTime() - ms);
const sourceAgo = (ms: number): string => ago(ms).toISOString().replace("T", " ").replace("Z", "");

/** Every statement that runs by itself or for each request. A test compares it with what the jobs import. */
export const STATEMENTS: readonly ScaleStatement[] = [
  idle("takePass", "worker, flush, sweep, audit", PROCESSES.workers * 6 + 2, (db) => takePass(db, "bench", 1_000)),
  idle("readEngineMark", "worker, each 30 s", 2, readEngineMark),
  idle("readMark", "worker, each pass", 8, (db) => readMark(db, "spend-recent")),
  idle("writeMark", "worker, each 30 s", 2, (db) => writeMark(db, "bench", new Date().toISOString())),
  idle("countDifferences", "worker, each 30 s and flush: the last 15 minutes", 8, (db) =>
    countDifferences(db, { from: sourceAgo(900_000), to: "infinity" }),
  ),
  idle("countDifferences: a slice of a sweep", "one worker, 200 an hour for the last day, as many for a month", 7, async (db) => {
    const from = sourceAgo(DAY_MS);
    return countDifferences(db, { from, to: await findChunkEnd(db, { from, to: "infinity" }, 5_000) });
  }),
  idle("findChunkEnd", "one worker, as the slices", 7, (db) => findChunkEnd(db, { from: sourceAgo(DAY_MS), to: "infinity" }, 5_000)),
  idle("readGaps", "one worker, hourly, and once a day for two days: a slice of 500 rows", 2, async (db) => {
    const from = ago(1_800_000);
    const last = await findChunkEnd(db, { from: from.toISOString(), to: "infinity" }, 500);
    return readGaps(db, { from, to: new Date(`${last.replace(" ", "T")}Z`) });
  }),
  idle("countSourceRows", "one worker, hourly: an hour", 1, (db) => countSourceRows(db, { from: ago(3_600_000), to: ago(0) })),
  idle("readOpenAlerts", "one worker, hourly", 1, readOpenAlerts),
  idle("readMirrorEnd", "worker over REST, each pass", 8, readMirrorEnd),
  idle("listKeysWithoutTeam", "worker over REST, each pass: the last 15 minutes", 8, (db) =>
    listKeysWithoutTeam(db, { from: ago(900_000), limit: 500 }),
  ),
  idle("countMirrorRows", "worker over REST, once a day: a window of 10 minutes", 1, (db) =>
    countMirrorRows(db, { from: ago(1_800_000), to: ago(1_200_000) }),
  ),
  idle("findMonthEnd", "one worker, hourly", 1, async (db) => findMonthEnd(db, "-infinity", await readLookBackStart(db, DAY_MS))),
  idle("readOldestStart", "one worker, hourly", 1, readOldestStart),
  hot("ingestSpendRows", "worker, where rows are new: 300 of them", async (db) => {
    await lockIngest(db);
    const found = await ingestSpendRows(db, {
      range: { from: sourceAgo(60_000), to: "infinity" },
      rate: { markup: "3", creditsPerUsd: "100" },
      uniqueIds: true,
      checksAllKeys: false,
    });
    if (found.events !== NEW_ROWS) throw new Error(`${NEW_ROWS} rows are new, and ${found.events} were billed`);
  }),
  idle("resolveReviews", "worker, each pass", 8, resolveReviews),
  idle("takeFlushRequests", "worker, each second", PROCESSES.workers * 60, takeFlushRequests),
  idle("listOrgsNearZero", "one worker, each 10 s", 6, listOrgsNearZero),
  idle("lockAccountsToSeal", "worker, each minute and flush", 7, (db) => lockAccountsToSeal(db, { afterOrgId: "", limit: 500 })),
  hot("sealBatches", "worker, a chunk of orgs with open events: 100 here", async (db) => {
    const { batches } = await sealBatches(db, await lockAccountsToSeal(db, { afterOrgId: "", limit: 100 }));
    if (batches.length !== 100) throw new Error(`100 orgs have open events, and ${batches.length} batches were sealed`);
  }),
  idle("flagForgottenKeys", "worker, each minute and flush", 7, (db) => flagForgottenKeys(db, KEY_MEMORY_MS)),
  idle("claimDueBatches", "worker, each pass; 500 are due here", 7, (db) =>
    claimDueBatches(db, { limit: 64, limitPerOrg: 8, leaseMs: 60_000, exceptOrgIds: [], keyMemoryMs: KEY_MEMORY_MS }),
  ),
  idle("listComparableOrgs: open ones", "worker, each 10 minutes", 1, (db) =>
    listComparableOrgs(db, { ...RANGE, openOnly: true }, { afterOrgId: "", limit: 500 }),
  ),
  idle("listComparableOrgs", "worker, hourly, pages of 500 orgs: 100 of them", 2, (db) =>
    listComparableOrgs(db, RANGE, { afterOrgId: "", limit: 500 }),
  ),
  hot("readComparableBatches", "worker, hourly, each org with deliveries", (db) => readComparableBatches(db, "org-7", RANGE)),
  idle("listOrgsToMove", "one worker, each 10 s", 6, listOrgsToMove),
  idle("writeAllRates", "one worker, each 10 s", 6, (db) => writeAllRates(db, { markup: "3", creditsPerUsd: "100" })),
  idle("reapReservations", "one worker, each 10 s", 6, (db) => reapReservations(db, { mintTimeoutMs: 300_000, holdMs: 300_000 })),
  idle("updateSpentOfNewKeys", "one worker, each 10 s", 6, (db) => updateSpentOfNewKeys(db, 600_000)),
  idle("listOrgsToRefresh", "one worker, each 10 s; 2,000 live keys", 6, listOrgsToRefresh),
  idle("releaseHeld", "one worker, each 10 s", 6, (db) => releaseHeld(db, { hasSpendLogs: true })),
  idle("insertAnomalyEvents", "one worker, each 10 s", 6, (db) => insertAnomalyEvents(db, DAY_MS)),
  idle("ensureGatesOfSpenders", "one worker, each 10 s", 6, ensureGatesOfSpenders),
  idle("listOrgsToReconcile", "one worker, each 10 s", 6, (db) =>
    listOrgsToReconcile(db, { limit: 200, everyMs: DAY_MS, outOfCreditsMs: 60_000 }),
  ),
  idle("foldCounts", "one worker, each 10 s", 6, foldCounts),
  idle("recordPass", "worker, each pass", 21, (db) => recordPass(db, "bench")),
  idle("countStrayEvents", "one worker, hourly", 1, countStrayEvents),
  idle("readOpenEvents", "metrics, each scrape", SCRAPES, readOpenEvents),
  idle("readBatchStates", "metrics, each scrape", SCRAPES, readBatchStates),
  idle("readOpenReviews", "metrics, each scrape", SCRAPES, readOpenReviews),
  idle("readDelivery", "metrics, each scrape", SCRAPES, readDelivery),
  idle("readSourceLag", "metrics, each scrape", SCRAPES, readSourceLag),
  idle("readPasses", "metrics, each scrape", SCRAPES, readPasses),
  idle("readAttention", "metrics, each scrape", SCRAPES, readAttention),
  idle(
    "compareSourceWithLedger: a minute",
    "metrics of workers, each 5 minutes; one for 2,000 rows of the last hour",
    PROCESSES.workers / 5,
    (db) => compareSourceWithLedger(db, { from: ago(900_000), to: ago(840_000), graceMs: 600_000 }),
  ),
  idle("readRecentlyBroken: a minute", "metrics of workers, 10 in 5 minutes", PROCESSES.workers * 2, (db) =>
    readRecentlyBroken(db, ago(180_000), ago(120_000)),
  ),
  idle("readRecentlyBroken: the last minute, and what is open", "metrics of workers, each 5 minutes", 1, (db) =>
    readRecentlyBroken(db, ago(60_000)),
  ),
  idle("readBalances", "metrics of workers, each 5 minutes", 1, readBalances),
  idle("readOpenFindings", "metrics of workers, each 5 minutes", 1, readOpenFindings),
  idle("readClock", "proxy, each 10 s, twice with REDIS_URL", PROCESSES.proxies * 12, readClock),
  idle("readReservations", "metrics of proxies, each scrape", PROCESSES.proxies * 4, (db) => readReservations(db, 1)),
  idle("listKeysDueForReset", "proxy, each 10 s", PROCESSES.proxies * 6, (db) => listKeysDueForReset(db, new Date())),
  idle("listBudgetsDueForReset", "proxy, each 10 s", PROCESSES.proxies * 6, (db) => listBudgetsDueForReset(db, new Date())),
  idle("listTeamsDueForReset", "proxy, each 10 s", PROCESSES.proxies * 6, (db) => listTeamsDueForReset(db, new Date())),
  idle("listInstancesWithAttempts", "proxy, each 10 s", PROCESSES.proxies * 6, (db) => listInstancesWithAttempts(db, 1)),
  idle("selectEndedWithKeys", "gateway, each 10 s", PROCESSES.gateways * 6, selectEndedWithKeys),
  idle("selectUnfinished", "gateway, each 10 s", PROCESSES.gateways * 6, (db) => selectUnfinished(db, ["modal"])),
  idle("selectExpiredSessions", "gateway, each 10 s", PROCESSES.gateways * 6, (db) => selectExpiredSessions(db, ["modal"])),
  idle("selectLaunched", "gateway, each 10 s", PROCESSES.gateways * 6, (db) => selectLaunched(db, "modal")),
  idle("deleteOldManagementActions", "one worker, hourly, nothing to delete", 1, (db) =>
    deleteOldManagementActions(db, { olderThanMs: 365 * DAY_MS, limit: 5_000 }),
  ),
  idle("deleteExpiredKeys", "one worker, hourly, nothing to delete", 1, (db) =>
    deleteExpiredKeys(db, { olderThanMs: 30 * DAY_MS, limit: 5_000 }),
  ),
  idle("deleteEndedCounters", "one worker, hourly, nothing to delete", 1, (db) =>
    deleteEndedCounters(db, { olderThanMs: DAY_MS, limit: 5_000 }),
  ),
  idle("deleteOldSessions", "one worker, hourly, nothing to delete", 1, (db) =>
    deleteOldSessions(db, { olderThanMs: 90 * DAY_MS, limit: 5_000 }),
  ),
  idle("endForgottenSessions", "one worker, hourly", 1, (db) => endForgottenSessions(db, { olderThanMs: 7 * DAY_MS, limit: 5_000 })),
  hot("findSession, selectSessionEvents", "gateway, each reader of events: each 25 s and each event", async (db) => {
    await findSession(db, LIVE.sessionId);
    await selectSessionEvents(db, LIVE.sessionId, "0", 200);
  }),
  idle("takeAgentsToAsk", "gateway, each 10 s: agents of ready sandboxes", PROCESSES.gateways * 6, (db) =>
    takeAgentsToAsk(db, ["modal"], 30_000, 50),
  ),
  idle("takeOrgsWithoutBalance", "worker, each pass", 7, (db) => takeOrgsWithoutBalance(db, { limit: 64 })),
  idle("readWaitingOrgs", "worker, each pass", 7, readWaitingOrgs),
  idle("flagForgottenTopUps", "one worker, each 10 s", 6, (db) => flagForgottenTopUps(db, KEY_MEMORY_MS)),
  idle("listOrgsToTopUp", "one worker, each 10 s", 6, listOrgsToTopUp),
  idle("claimDueEvents", "worker, each 10 s", PROCESSES.workers * 6, (db) => claimDueEvents(db, { limit: 50, leaseMs: 60_000 })),
  hot("enterCircuit, closeCircuit", "worker, around each call of the sink", async (db) => {
    await enterCircuit(db, "autumn");
    await closeCircuit(db, "autumn");
  }),
  hot("readUsageByModel", "worker, each delivery", async (db) => readUsageByModel(db, (await claimOne(db)).batchId, 20)),
  hot("beginAttempt, finishAttempt, recordOutcome", "worker, each delivery", async (db) => {
    const batch = await claimOne(db);
    const attempt = await beginAttempt(db, batch, { idempotencyKey: batch.idempotencyKey, leaseMs: 60_000, keyMemoryMs: KEY_MEMORY_MS });
    if (attempt === undefined) throw new Error("a batch that was claimed may be sent");
    const record = { attempt, ...DELIVERED } as const;
    await finishAttempt(db, batch.batchId, record);
    return recordOutcome(db, batch, record);
  }),
  hot("releaseClaims", "worker, what a pass did not come to", async (db) => releaseClaims(db, [await claimOne(db)])),
  hot("hadBalance", "worker, a delivery without a balance", (db) => hadBalance(db, "org-5")),
  hot("readBooks", "worker, hourly, each org with deliveries", (db) =>
    readBooks(db, "org-5", { comparedIds: [], since: ago(3_600_000).toISOString() }),
  ),
  hot("readDecided", "worker, hourly, each org with deliveries", (db) => readDecided(db, [NO_ID])),
  hot("beginReading, hasNewerReading, lockUnposted, readFirstSightDoubt", "worker, each reading of a balance", async (db) => {
    const start = await beginReading(db, "org-5");
    await hasNewerReading(db, "org-5", start.readAt);
    await lockUnposted(db, "org-5", start);
    return readFirstSightDoubt(db, "org-5");
  }),
  hot("writeRates", "worker, each reading of a balance", (db) => writeRates(db, "org-5", { markup: "3", creditsPerUsd: "100" })),
  hot("writeReadingProblem", "worker, a reading that failed", (db) => writeReadingProblem(db, "org-5", "unavailable", 60_000)),
  hot("isKnownOrg, writeReconcileWanted", "gateway, a webhook of the sink", async (db) => {
    await isKnownOrg(db, "org-5");
    return writeReconcileWanted(db, "org-5");
  }),
  hot("readPayer, isKept", "gateway, each question to the gate; worker, each reading of a balance", async (db) => {
    await readPayer(db, "org-5");
    return isKept(db, "org-5");
  }),
  hot("ensureOrg, readGate, countLiveSessions", "gateway, a session that starts: the gate", async (db) => {
    await ensureOrg(db, "org-5");
    await readGate(db, "org-5");
    return countLiveSessions(db, "org-5", null);
  }),
  hot("writeState", "gate, an org that moves", (db) => writeState(db, { orgId: "org-5", state: "exhausted", exhaustedBy: "balance" })),
  hot("isTopUpAllowed", "worker, an org at its threshold", (db) => isTopUpAllowed(db, "org-5")),
  hot("insertReservation", "gateway, a session that starts: its budget", (db) =>
    insertReservation(db, { sessionId: "session-new", keyGeneration: 1, orgId: "org-5" }, null),
  ),
  hot("lockReservations, decideBudgets, claimUntoldKey, writeSeen", "worker, an org whose balance moved", async (db) => {
    await lockReservations(db, "org-5");
    await decideBudgets(db, "org-5");
    await claimUntoldKey(db, "org-5", { leaseMs: 30_000, exceptKeyHashes: [] });
    return writeSeen(db, { org_id: "org-5", seen: "1" });
  }),
  hot("insertAttemptIfFits", "proxy, each request", admit),
  hot("checkpointAttempts, replaceAttemptBySpendLog", "proxy, each request's end", async (db) => {
    await admit(db);
    await checkpointAttempts(db, [{ attemptId: NO_ID, checkpoint: { usage: {}, providerResponseId: null, firstByteAt: null } }]);
    return replaceAttemptBySpendLog(db, { attempt_id: NO_ID, reservations: null }, SPEND_ROW, TAKEN);
  }),
  hot("findCaller", "proxy, each request", (db) => findCaller(db, LIVE.keyHash)),
  hot("readLimits, lockCounters", "proxy, a request that does not fit", async (db) => {
    return lockCounters(db, (await readLimits(db, LIVE, "m")).limits);
  }),
  hot("findLiveToken, writeLastUse", "gateway, each request by a service token", async (db) => {
    await findLiveToken(db, "hash");
    return writeLastUse(db, NO_ID);
  }),
  hot("findSession", "gateway, each request of a session", (db) => findSession(db, LIVE.sessionId)),
  hot("selectSessions", "gateway, a list of sessions", (db) => selectSessions(db, { orgId: "org-5", limit: 50 })),
  hot("requestFlush", "gateway, end of a session", (db) => requestFlush(db, "org-5")),
  hot("sumBilledEvents", "gateway, a session's spend", (db) => sumBilledEvents(db, LIVE.sessionId)),
  hot("sumUnbilledSpend", "gateway, a session's spend", (db) => sumUnbilledSpend(db, LIVE.sessionId)),
  hot("selectModelCosts", "gateway, a session's cost", (db) => selectModelCosts(db, LIVE.sessionId, true)),
  hot("releaseReservations", "gateway, end of a session", (db) =>
    releaseReservations(db, LIVE.sessionId, { belowGeneration: null, hasSpendLogs: true }),
  ),
];
