import type { DatabaseClient } from "@proliferate/db";
import { seedRateCard } from "@proliferate/services/rates";
import { settle } from "@proliferate/services/settlement";
import type { DeliveryOutcome } from "@proliferate/services/sinks";
import { syncSpend } from "@proliferate/services/billing";
import { insertSpendRows } from "@proliferate/services/test/test-ledger";
import { ScriptedSink } from "@proliferate/services/test/test-sink";

/** For tests only: a request of $0.01 that went all the way, or as far as the sink's scripted answer lets it. Returns its batch's id. */
export async function billOneRequest(db: DatabaseClient, requestId: string, answer?: DeliveryOutcome): Promise<string> {
  const orgId = `org_of_${requestId}`;
  await insertSpendRows(db, [{ requestId, orgId, spendUsd: "0.01" }]);
  await syncSpend(db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const sink = new ScriptedSink();
  sink.script = () => answer;
  await settle(db, { sink });
  const batch = await db.selectFrom("settlement_batches").select("batch_id").where("org_id", "=", orgId).executeTakeFirstOrThrow();
  return batch.batch_id;
}

/** For tests only: a request of $0.01 whose org is not known, so that it stands in review as `id:<request id>`. There is a default rate. */
export async function reviewOneRequest(db: DatabaseClient, requestId: string): Promise<void> {
  const rate = { markup: "3", creditsPerUsd: "100" };
  await seedRateCard(db, rate);
  await insertSpendRows(db, [{ requestId, orgId: "", sessionId: "nobody", spendUsd: "0.01" }]);
  await syncSpend(db, { rate });
}
