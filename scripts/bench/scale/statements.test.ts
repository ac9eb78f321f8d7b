import { expect, test } from "vitest";
import { Modules, readTrackedFiles } from "../../modules.ts";
import { STATEMENTS } from "./statements.ts";

/** What runs by itself in a process, and what it runs from. */
const PERIODIC = [
  "packages/services/src/sessions/session-events.ts",
  "apps/gateway/src/upkeep.ts",
  "apps/llm-proxy/src/data-plane/authenticate.ts",
  "apps/llm-proxy/src/data-plane/recover.ts",
  "apps/llm-proxy/src/exhausted/open-limit-memory.ts",
  "apps/llm-proxy/src/metrics/metrics-page.ts",
  "apps/worker/src/balance-worker.ts",
  "apps/worker/src/health.ts",
  "apps/worker/src/outbox-worker.ts",
  "apps/worker/src/settlement-jobs.ts",
  "apps/worker/src/worker.ts",
  "apps/worker/src/flush-worker.ts",
  "apps/worker/src/billing-worker.ts",
  "packages/access/src/requests/admit.ts",
  "packages/access/src/requests/budget-reset.ts",
  "packages/access/src/requests/limits-left.ts",
  "packages/access/src/requests/settle.ts",
  "packages/services/src/autumn-webhooks/autumn-webhook.ts",
  "packages/services/src/balance/reconcile-balance.ts",
  "packages/services/src/billing-gate/gate.ts",
  "packages/services/src/billing/audit.ts",
  "packages/services/src/settlement/deliver-batches.ts",
  "packages/services/src/comparison/reconcile-deliveries.ts",
  "packages/services/src/settlement/revive-orgs.ts",
  "packages/services/src/import/spend-import.ts",
  "packages/services/src/billing/spend-sync.ts",
  "packages/services/src/settlement/settlement.ts",
  "packages/services/src/ledger/retention.ts",
  "packages/services/src/key-budgets/refresh-key-budgets.ts",
  "packages/services/src/metrics/billing-metrics.ts",
  "packages/services/src/sessions/reap-sessions.ts",
  "packages/services/src/sessions/watch-agents.ts",
  "packages/services/src/top-up/top-up.ts",
  "packages/services/src/webhook-events/send-webhooks.ts",
];

/** Runs only where something is found, row by row or by its key; or for a person. */
const FOLLOWS_WHAT_IS_FOUND = new Set([
  ..."adjustByCorrectionRows adjustChangedRows adjustOriginalsOfCorrections quarantineRetiredChanges quarantineSpendRows areRequestIdsUnique spellMark beginSweep endSweep readSourceMark writeSweepPosition returnPass".split(
    " ",
  ),
  ..."adoptStrayEvents countEvents countRetired countUnsettled detachPartition lockPartition noteRetiredSums raiseAlert readPartitions readUnsettled ensurePartitions recordAction".split(
    " ",
  ),
  ..."clearKeySpend clearTeamSpend clearSpendOfBudget readKeyId beginNextWindow clearBudgetCounter lockBudgetCounter listAttempts listAttemptsById withDeadInstance enterCircuit ensureDeployment areKeysOurs".split(
    " ",
  ),
  ..."checkDatabase openDatabase readDeploymentId findSpendLog adoptForeignSpend insertAttempt insertMissingCounters insertCorrection".split(
    " ",
  ),
  ..."lockGate holdsPlace writeLowBalanceTold insertWebhookEvent insertLimitWarning insertReconciliation readBillingNow readUnposted writeBalance writeReadAgain writeReading listKnownOrgs".split(
    " ",
  ),
  ..."openCircuit redriveWithoutBalance endWaitForBalance beginCorrection confirmDelivery finishCorrection recordFindings redriveForgotten writeBaseline recordWebhookAttempt".split(
    " ",
  ),
  ..."recordAudit restoreDeletedAdjustments restoreDeletedEvents clearAlert upsertKeyTeam upsertSpendRows".split(" "),
  ..."takeSilentAgent writeAgentAnswers writeAgentRestart writeAgentSilence writeSessionFailure".split(" "),
  ..."claimTopUp closeDueBreaker insertTopUp lockPolicy openBreaker readGranted recordTopUp".split(" "),
  // By keys and ids alone; `takesWrites` and `readTransactionStart` read no table.
  ..."listUsableKeys placeReservations insertSpooledAttempt takesWrites readTransactionStart".split(" "),
  // Questions about an error that is there already; no statements.
  ..."isDatabaseUnavailable isPermanentError isLoginRefused isTableMissing isUniqueViolation isOverlap isNullRefused".split(" "),
  ..."releaseTelling writeTold moveOrg hasSpendLogs markPaused moveSandbox writeLaunchFailure deleteOldRequests lockIngest readLookBackStart lockIngest".split(
    " ",
  ),
]);

/** Where statements are declared: a noun's files of SQL, and the package of the connection. */
const isSql = (path: string): boolean => /(^|\/)([a-z-]+-)?db\.ts$|^packages\/db\//.test(path);

test("code 10-17: every statement that runs by itself is measured by the scale benchmark, or follows what another one found", async () => {
  const measured = new Set(STATEMENTS.flatMap(({ name }) => (name.split(":")[0] ?? "").split(", ")));
  const modules = new Modules(await readTrackedFiles());
  const missing = PERIODIC.flatMap((file) => {
    const statements = modules.namesImportedBy(file).filter(({ declaration }) => isSql(declaration.path));
    const unknown = statements.filter(({ name }) => /^[a-z]\w*$/.test(name) && !measured.has(name) && !FOLLOWS_WHAT_IS_FOUND.has(name));
    return unknown.map(({ name }) => `${file}: ${name}`);
  });

  expect(missing).toEqual([]);
});
