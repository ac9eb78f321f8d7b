import type { DatabaseClient } from "@proliferate/db";
import { reconcileBalance, reconcileDueOrgs, type ReconcileReport, type RemoteBalances } from "@proliferate/services/balance";
import { foldCounts } from "@proliferate/services/billing";
import type { RateCard } from "@proliferate/services/rates";
import { moveDueOrgs } from "@proliferate/services/billing-gate";
import { type KeyControl, refreshKeyBudgets } from "@proliferate/services/key-budgets";
import { topUpDueOrgs, type TopUpProvider } from "@proliferate/services/top-up";
import { insertAnomalyEvents } from "@proliferate/services/webhook-events";
import { createLLMProxyClient, type LLMProxyConfig } from "@proliferate/shared";

/** What a pass of the gate needs. */
interface GateWorkerDeps {
  readonly db: DatabaseClient;
  readonly rate: RateCard;
  /** Absent where the worker was not told about the LLM proxy: keys then keep the budget that they were minted with. */
  readonly keys: KeyControl | undefined;
  readonly onProblem: (event: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** What a pass over balances needs. */
interface BalanceWorkerDeps extends GateWorkerDeps {
  readonly remote: RemoteBalances;
  readonly topUps: TopUpProvider;
}

/** Zero-priced usage is told of for as long as a worker may have been down. */
const ANOMALY_LOOK_BACK_MS = 24 * 60 * 60 * 1_000;

/** One pass of what follows from usage: states of orgs, budgets and blocks of keys, anomalies. No call leaves but to the LLM proxy. */
export async function runGate(deps: GateWorkerDeps): Promise<object> {
  const { db, keys, rate } = deps;
  const foldedCounts = await foldCounts(db);
  const moved = await moveDueOrgs(db);
  const onProblem = (problem: object): void => deps.onProblem("key_budget.not_applied", { ...problem });
  const budgets = keys === undefined ? { changed: 0, failed: 0 } : await refreshKeyBudgets(db, { keys, rate, onProblem });
  const anomalies = await insertAnomalyEvents(db, ANOMALY_LOOK_BACK_MS);
  return { moved, ...budgets, anomalies, foldedCounts };
}

/** One pass of what is asked of the sink: balances that are due, packs to be bought. */
export async function runBalances(deps: BalanceWorkerDeps): Promise<object> {
  const { db, remote, rate } = deps;
  const onReport = (report: ReconcileReport): void => reportDrift(report, deps);
  const reconciled = await reconcileDueOrgs(db, { remote, rate, onReport });
  const packs = await topUpDueOrgs(db, {
    provider: deps.topUps,
    reconcile: async (orgId) => onReport(await reconcileBalance(db, orgId, { remote, rate, trigger: "top_up" })),
    onProblem: (problem) => deps.onProblem("top_up.unpaid", { ...problem }),
  });
  return { reconciled, ...packs };
}

function reportDrift(report: ReconcileReport, { onProblem }: BalanceWorkerDeps): void {
  if (report.outcome === "failed")
    onProblem("balance.not_read", { code: "autumn_unavailable", org_id: report.orgId, message: report.problem });
  if (report.outcome !== "reconciled" || report.severity === "none" || report.severity === "info") return;
  onProblem("balance.drift", { code: report.cause, org_id: report.orgId, drift_credits: report.driftCredits, severity: report.severity });
}

/** The keys of the proxy that the `LLM_PROXY_*` variables name; undefined where they name none. */
export function connectKeyControl(config: LLMProxyConfig): KeyControl | undefined {
  if (config.adminUrl === undefined || config.masterKey === undefined) return undefined;
  const client = createLLMProxyClient(config);
  return {
    setBudget: async (keyHash, maxBudgetUsd) => ((await client.setKeyBudget(keyHash, maxBudgetUsd)) ? "done" : "gone"),
    setBlocked: async (keyHash, blocked) => ((await client.setKeyBlocked(keyHash, blocked)) ? "done" : "gone"),
  };
}
