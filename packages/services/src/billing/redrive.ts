import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type ExplainedBatchRow, readBatch } from "./explain-db.ts";
import { redriveBatch } from "./settlement-db.ts";

export interface RedriveResult {
  readonly batchId: string;
  readonly orgId: string;
  /** False when there was nothing to do: it is on its way already, or delivered. */
  readonly redriven: boolean;
  readonly state: string;
  readonly message: string;
}

/**
 * Makes a batch that rests undelivered due again, under its next key. For a person who corrected what its error names.
 * Repeating it is safe: a batch that is on its way, or delivered, is left as it is and `redriven` is false. Throws
 * `billing_not_found` for an unknown id, `redrive_refused` where another delivery could deduct twice.
 */
export async function redrive(db: DatabaseExecutor, batchIdOrKey: string): Promise<RedriveResult> {
  const batch = await readBatch(db, batchIdOrKey.trim().replace(/^batch:/, ""));
  if (batch === undefined) throw new AppError("billing_not_found", `There is no batch "${batchIdOrKey}"; billing explain finds the batch of a request.`);
  const redriven = await redriveBatch(db, batch.batch_id);
  const now = (await readBatch(db, batch.batch_id)) ?? batch;
  const result = { batchId: batch.batch_id, orgId: batch.org_id, redriven, state: now.state };
  if (redriven) return { ...result, message: `Batch ${batch.batch_id} of ${batch.org_id}, ${batch.credits} credits, is due again under its next key.` };
  if (now.state === "delivered") return { ...result, message: `Batch ${batch.batch_id} is delivered; nothing was changed.` };
  if (isOnItsWay(now)) return { ...result, message: `Batch ${batch.batch_id} is on its way already (${now.state}); nothing was changed.` };
  throw new AppError("redrive_refused", refusal(now));
}

const isOnItsWay = (batch: ExplainedBatchRow): boolean => !batch.needs_reconcile && ["sealed", "sending", "unknown"].includes(batch.state);

function refusal(batch: ExplainedBatchRow): string {
  const which = `Batch ${batch.batch_id} is not sent again`;
  if (batch.needs_reconcile) return `${which}: it may have been applied, and the sink has forgotten its key. Compare it with the sink first: billing reconcile.`;
  if (batch.state === "parked" || batch.state === "dead") return `${which}: an earlier attempt at it may have been applied. Compare it with the sink first: billing reconcile.`;
  return `${which}: the sink deducted ${batch.deducted_credits ?? "an unknown part"} of its ${batch.credits} credits, and sending it again would deduct that twice.`;
}
