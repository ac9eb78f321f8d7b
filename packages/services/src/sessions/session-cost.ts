import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import type { SessionCost } from "@proliferate/shared/contracts";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, normalizeDecimal } from "@proliferate/shared/money";
import { findSession } from "./db.ts";
import { hasSpendLogs } from "@proliferate/access/spend-logs";
import { type ModelCost, selectModelCosts } from "./cost-db.ts";

/**
 * What a session costs as of now, by model, from one snapshot: what is on the ledger, what is in spend rows that are not
 * billed yet, and what requests in flight may still cost. Throws `session_not_found`.
 */
export async function getSessionCost(db: DatabaseClient, sessionId: string): Promise<SessionCost> {
  const session = await findSession(db, sessionId);
  if (!session) throw new AppError("session_not_found", `There is no session ${sessionId}.`);
  const costs = await db
    .transaction()
    .setIsolationLevel("repeatable read")
    .execute(async (tx: DatabaseExecutor) => selectModelCosts(tx, sessionId, await hasSpendLogs(tx)));
  return {
    session_id: sessionId,
    max_budget_usd: session.max_budget_usd === null ? null : normalizeDecimal(session.max_budget_usd),
    requests: costs.reduce((sum, cost) => sum + cost.requests, 0),
    spend_usd: total(costs, "spend_usd"),
    reserved_usd: total(costs, "reserved_usd"),
    by_model: costs.map((cost) => ({
      ...cost,
      spend_usd: normalizeDecimal(cost.spend_usd),
      reserved_usd: normalizeDecimal(cost.reserved_usd),
    })),
  };
}

const total = (costs: readonly ModelCost[], amount: "spend_usd" | "reserved_usd"): string =>
  costs.reduce((sum, cost) => addDecimals(sum, cost[amount]), "0");
