import type { DatabaseClient, DatabaseExecutor, SettlementState } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { compareDecimals } from "@proliferate/shared/money";
import { type Operator, recordAction, requireReason } from "../operator/index.ts";
import { readBatch } from "../reports/index.ts";
import { closeFindings, confirmDelivery, lockBatch, redriveForgotten, type UndecidedBatchRow } from "../comparison/index.ts";

interface BatchDecision {
  readonly batchId: string;
  readonly orgId: string;
  /** False where nothing was left to decide: it is so already. */
  readonly decided: boolean;
  readonly state: SettlementState;
  readonly message: string;
}

/**
 * Decides a batch that may have been taken, and of which neither its key nor the sink's record tells any more, on the word of a
 * person who looked at the sink. Taken: it is delivered in full. Not taken: it is due again under its next key (a dead one stays
 * dead, and may be redriven). Of one that counts as taken it closes what the sink's record says otherwise: somebody made that good
 * there, or leaves it. Kept with the person's name and reason, in one transaction; changes no other batch. Repeating it
 * changes nothing. Throws `billing_not_found`, `invalid_request` without a reason, and `decision_refused` for a batch that decides
 * itself or is certain.
 */
export async function decideBatch(
  db: DatabaseClient,
  batchIdOrKey: string,
  decision: { readonly wasTaken: boolean; readonly operator: Operator },
): Promise<BatchDecision> {
  const reason = requireReason(decision.operator);
  const { wasTaken } = decision;
  const named = await readBatch(db, batchIdOrKey.trim().replace(/^batch:/, ""));
  if (named === undefined) throw new AppError("billing_not_found", `There is no batch "${batchIdOrKey}".`);
  const batchId = named.batch_id;
  return db.transaction().execute(async (tx) => {
    const batch = (await lockBatch(tx, batchId)) as UndecidedBatchRow;
    const settled = settledMessage(batchId, batch, wasTaken);
    if (settled !== undefined) return { batchId, orgId: batch.org_id, decided: false, state: batch.state, message: settled };
    // A batch that counts as taken stays so in our books. Where the sink has less, the sink is corrected.
    if (!isUndecided(batch) || (!wasTaken && COUNTS_AS_TAKEN.has(batch.state)))
      throw new AppError("decision_refused", refusal(batchId, batch));
    await (wasTaken ? confirmDelivery(tx, batchId) : redriveForgotten(tx, batchId));
    await closeFindings(tx, batchId, { staysClosed: wasTaken });
    await recordAction(tx, {
      action: "batch.decided",
      subject: batchId,
      orgId: batch.org_id,
      operator: { ...decision.operator, reason },
      facts: { was_taken: wasTaken, credits: batch.credits, previous_state: batch.state },
    });
    return { batchId, orgId: batch.org_id, decided: true, state: await stateOf(tx, batchId), message: outcome(batchId, batch, wasTaken) };
  });
}

/** Their credits, or a part, were taken. */
const COUNTS_AS_TAKEN: ReadonlySet<SettlementState> = new Set(["delivered", "shortfall", "unapplied"]);

/**
 * Nobody but a person can tell: past the sink's memory of keys, refused for good after it may have been taken, never confirmed,
 * taken more than in full, or of another amount by the sink's record than by our books.
 */
function isUndecided(batch: UndecidedBatchRow): boolean {
  if (!batch.was_sent) return false;
  return (
    batch.needs_reconcile ||
    batch.open_findings > 0 ||
    batch.state === "dead" ||
    (batch.state === "delivered" && batch.deducted_credits === null) ||
    isTakenTooMuch(batch)
  );
}

const isTakenTooMuch = (batch: UndecidedBatchRow): boolean =>
  batch.state === "unapplied" && compareDecimals(batch.deducted_credits ?? "0", batch.credits) > 0;

function settledMessage(batchId: string, batch: UndecidedBatchRow, wasTaken: boolean): string | undefined {
  if (wasTaken && batch.state === "delivered" && batch.deducted_credits !== null && batch.open_findings === 0)
    return `Batch ${batchId} is delivered; nothing was changed.`;
  if (wasTaken || batch.was_sent) return undefined;
  if (batch.state === "sealed" || batch.state === "sending") return `Batch ${batchId} is on its way (${batch.state}); nothing was changed.`;
  if (batch.state === "dead") return `Batch ${batchId} is dead and certainly was not taken; nothing was changed. billing redrive sends it.`;
  return undefined;
}

function refusal(batchId: string, batch: UndecidedBatchRow): string {
  const which = `Batch ${batchId} is not decided by hand`;
  switch (batch.state) {
    case "delivered":
      return `${which}: it is delivered. If the sink has no such deduction, billing reconcile finds it and proposes the correction; what nobody but you can tell is made good at the sink by hand, and closed with --delivered.`;
    case "unapplied":
    case "shortfall":
      return `${which}: the sink stated that it took ${batch.deducted_credits ?? "0"} of ${batch.credits} credits.`;
    case "dead":
      return `${which}: it was certainly not taken. Correct its cause, then billing redrive.`;
    case "parked":
    case "sealed":
    case "sending":
    case "unknown":
      return `${which}: it is sent again by itself, under ${batch.was_sent ? "the same key, which cannot deduct twice. It waits for a person when the sink has forgotten that key (needs reconcile)" : "a key that certainly was not used"}.`;
  }
}

function outcome(batchId: string, batch: UndecidedBatchRow, wasTaken: boolean): string {
  const which = `Batch ${batchId} of ${batch.org_id}, ${batch.credits} credits`;
  if (wasTaken && (batch.state === "shortfall" || (batch.state === "unapplied" && !isTakenTooMuch(batch))))
    return `${which}, stays ${batch.state}; what the sink's record says of it is left at that.`;
  if (wasTaken && batch.open_findings > 0) return `${which}, is delivered; what the sink's record says of it is left at that.`;
  if (wasTaken) return `${which}, is delivered.`;
  return batch.state === "dead"
    ? `${which}, was not taken; it stays dead until billing redrive.`
    : `${which}, was not taken; it is due again under its next key.`;
}

async function stateOf(tx: DatabaseExecutor, batchId: string): Promise<SettlementState> {
  return ((await lockBatch(tx, batchId)) as UndecidedBatchRow).state;
}
