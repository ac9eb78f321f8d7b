import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type Operator, recordAction } from "../operator/index.ts";
import { type ExplainedBatchRow, type ExplainedReviewRow, readBatch, readReviews, requireKnownOrg } from "../reports/index.ts";
import { dismissReview, mapReview } from "../reviews/index.ts";
import { redriveBatch } from "../settlement/index.ts";

interface RedriveResult {
  readonly kind: "batch" | "review";
  /** The batch's id, or the review's key. */
  readonly id: string;
  readonly orgId: string | null;
  /** False when there was nothing to do: on its way already, delivered, or settled. */
  readonly redriven: boolean;
  /** Of the batch, or what became of the review. */
  readonly state: string;
  readonly message: string;
}

interface RedriveOptions {
  /** Of a review: who pays. */
  readonly orgId?: string | undefined;
  /** Lets the org be one that billing does not know yet. Default false: a typing error must not become an org. */
  readonly create?: boolean | undefined;
  /** Who decided it: put on record with the change. */
  readonly operator?: Operator | undefined;
}

/**
 * Sends on what rests: a batch (its id or key) under its next key, or a spend row in review (the review's key, or the request
 * id), billed to `orgId`. For a person who corrected, or knows, what was wrong. Repeating it is safe. Throws
 * `billing_not_found` for an unknown id, `redrive_refused` where another delivery could deduct twice,
 * `review_not_billable`, `org_not_found`, and `invalid_request` where `orgId` is missing or has no place.
 */
export async function redrive(db: DatabaseClient, id: string, options: RedriveOptions = {}): Promise<RedriveResult> {
  const name = id.trim().replace(/^(batch|request):/, "");
  const batch = await readBatch(db, name);
  if (batch === undefined) return redriveReview(db, name, options);
  if (options.orgId !== undefined)
    throw new AppError(
      "invalid_request",
      `Batch ${batch.batch_id} belongs to ${batch.org_id}; an organization is chosen for reviews only.`,
      { param: "org_id" },
    );
  return redriveRestingBatch(db, batch, options.operator);
}

async function redriveRestingBatch(db: DatabaseClient, batch: ExplainedBatchRow, operator: Operator | undefined): Promise<RedriveResult> {
  const redriven = await db.transaction().execute(async (tx) => {
    if (!(await redriveBatch(tx, batch.batch_id))) return false;
    if (operator)
      await recordAction(tx, {
        action: "batch.redriven",
        subject: batch.batch_id,
        orgId: batch.org_id,
        operator,
        facts: { previous_state: batch.state, error_code: batch.last_error_code },
      });
    return true;
  });
  const now = (await readBatch(db, batch.batch_id)) ?? batch;
  const result = { kind: "batch", id: batch.batch_id, orgId: batch.org_id, redriven, state: now.state } as const;
  if (redriven)
    return { ...result, message: `Batch ${batch.batch_id} of ${batch.org_id}, ${batch.credits} credits, is due again under its next key.` };
  if (now.state === "delivered") return { ...result, message: `Batch ${batch.batch_id} is delivered; nothing was changed.` };
  if (isOnItsWay(now)) return { ...result, message: `Batch ${batch.batch_id} is on its way already (${now.state}); nothing was changed.` };
  throw new AppError("redrive_refused", refusal(now));
}

const isOnItsWay = (batch: ExplainedBatchRow): boolean => !batch.needs_reconcile && ["sealed", "sending", "unknown"].includes(batch.state);

function refusal(batch: ExplainedBatchRow): string {
  const which = `Batch ${batch.batch_id} is not sent again`;
  if (batch.needs_reconcile)
    return `${which}: it may have been applied, and the sink has forgotten its key. Compare it with the sink first: billing reconcile.`;
  if (batch.state === "parked" || batch.state === "dead")
    return `${which}: an earlier attempt at it may have been applied. Compare it with the sink first: billing reconcile.`;
  return `${which}: the sink deducted ${batch.deducted_credits ?? "an unknown part"} of its ${batch.credits} credits, and sending it again would deduct that twice.`;
}

async function redriveReview(db: DatabaseClient, name: string, { orgId, operator, create }: RedriveOptions): Promise<RedriveResult> {
  const review = await findReview(db, name);
  if (review.resolved_at !== null)
    return settled(review, `Review ${review.review_key} is settled already (${review.resolution ?? "closed"}); nothing was changed.`);
  if (orgId === undefined)
    throw new AppError(
      "invalid_request",
      `Review ${review.review_key} (${review.reason}) needs an organization to be billed to: --org, or org_id.`,
      { param: "org_id" },
    );
  if (!create) await requireKnownOrg(db, orgId);
  const redriven = await mapReview(db, review.review_key, orgId, { operator });
  const message = redriven
    ? `Review ${review.review_key}, $${review.spend_usd}, is billed to ${orgId}.`
    : `Review ${review.review_key} is settled already; nothing was changed.`;
  return { kind: "review", id: review.review_key, orgId, redriven, state: "billed", message };
}

/**
 * Closes a review that cannot or need not be billed: somebody looked at it. Nothing is billed by it. Repeating it is safe.
 * Throws `billing_not_found` for an unknown key or request id.
 */
export async function dismiss(db: DatabaseClient, id: string, operator?: Operator): Promise<RedriveResult> {
  const review = await findReview(db, id.trim().replace(/^request:/, ""));
  if (!(await dismissReview(db, review.review_key, operator)))
    return settled(review, `Review ${review.review_key} is settled already (${review.resolution ?? "closed"}); nothing was changed.`);
  return {
    kind: "review",
    id: review.review_key,
    orgId: review.org_id,
    redriven: false,
    state: "dismissed",
    message: `Review ${review.review_key} (${review.reason}) is dismissed; nothing was billed for it.`,
  };
}

function settled(review: ExplainedReviewRow, message: string): RedriveResult {
  return { kind: "review", id: review.review_key, orgId: review.org_id, redriven: false, state: review.resolution ?? "closed", message };
}

/** The open one where a request has several. */
async function findReview(db: DatabaseExecutor, name: string): Promise<ExplainedReviewRow> {
  const reviews = await readReviews(db, name);
  const review = reviews.find((one) => one.resolved_at === null) ?? reviews[0];
  if (review === undefined)
    throw new AppError("billing_not_found", `There is no batch and no review "${name}"; billing explain finds those of a request.`);
  return review;
}
