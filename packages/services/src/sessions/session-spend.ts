import type { DatabaseClient } from "@proliferate/db";
import type { UsageTotals } from "@proliferate/shared/contracts";
import { addDecimals, type DecimalText, normalizeDecimal } from "@proliferate/shared/money";
import { sumBilledEvents, sumUnbilledSpend } from "./db.ts";
import { hasSpendLogs } from "@proliferate/access/spend-logs";

/** What a session has cost so far: on the ledger, beyond it, and together. Exact decimal text. */
interface SessionSpend {
  /** On the ledger. */
  readonly billed: UsageTotals;
  /** In spend rows that the worker has not read yet. */
  readonly unbilledSpendUsd: DecimalText;
  /** Both together. */
  readonly spendUsd: DecimalText;
}

/** What a session has spent until now, from one snapshot: a row that is being billed counts once, never twice or not at all. */
export async function getSessionSpend(db: DatabaseClient, sessionId: string): Promise<SessionSpend> {
  return db
    .transaction()
    .setIsolationLevel("repeatable read")
    .execute(async (tx) => {
      const sums = await sumBilledEvents(tx, sessionId);
      const unbilledSpendUsd = normalizeDecimal((await hasSpendLogs(tx)) ? await sumUnbilledSpend(tx, sessionId) : "0");
      const billed = {
        requests: Number(sums.requests),
        prompt_tokens: Number(sums.prompt_tokens),
        completion_tokens: Number(sums.completion_tokens),
        spend_usd: normalizeDecimal(sums.spend_usd),
        credits: normalizeDecimal(sums.credits),
      };
      return { billed, unbilledSpendUsd, spendUsd: addDecimals(billed.spend_usd, unbilledSpendUsd) };
    });
}
