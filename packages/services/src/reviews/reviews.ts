import { type DatabaseClient, type DatabaseExecutor, isNullRefused, type SpendReviewReason } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type Operator, recordAction } from "../operator/index.ts";
import type { RateCard } from "../rates/index.ts";
import { lockIngest } from "../ledger/index.ts";
import {
  billReview,
  dismissReviewRow,
  lockReview,
  readKeyOwner,
  readReviewPage,
  readReviewsOfKey,
  type ReviewListRow,
  setKeyOwner,
} from "./reviews-db.ts";

/** Reasons that a person can settle by naming the org. An amount that is no number cannot be billed by anybody. */
const MAPPABLE = new Set(["no_org", "no_request_id", "recycled_id", "unlinked_refund", "retired_month"]);

interface MapReviewOptions {
  /** Where no rate card covers the row. */
  readonly rate?: RateCard;
  /** Who decided it: put on record with the change. */
  readonly operator?: Operator | undefined;
}

/**
 * Bills the row of a review to `orgId`, once, from what the review keeps: the source may have lost it. Idempotent: a review
 * that is billed already is left as it is, and false is returned. Throws `review_not_found`, `review_not_billable`, and
 * `rate_card_invalid` when no rate card covers the row and no `rate` is given.
 */
export async function mapReview(db: DatabaseClient, reviewKey: string, orgId: string, options: MapReviewOptions = {}): Promise<boolean> {
  checkOrgId(orgId);
  try {
    return await db.transaction().execute(async (tx) => {
      await lockIngest(tx);
      const review = await lockReview(tx, reviewKey);
      if (review === undefined) throw new AppError("review_not_found", `There is no review ${JSON.stringify(reviewKey)}.`);
      if (!MAPPABLE.has(review.reason))
        throw new AppError(
          "review_not_billable",
          `Review ${reviewKey} cannot be billed to an organization: its reason is ${review.reason}.`,
        );
      if (review.resolved_at !== null) return false;
      const isBilled = (await billReview(tx, { reviewKey, orgId, rate: options.rate })) > 0;
      if (options.operator)
        await recordAction(tx, {
          action: "review.billed",
          subject: reviewKey,
          orgId,
          operator: options.operator,
          facts: { reason: review.reason },
        });
      return isBilled;
    });
  } catch (error) {
    if (!isNullRefused(error)) throw error;
    throw new AppError("rate_card_invalid", `No rate card covers the row of review ${reviewKey}; add a default card that does.`, {
      cause: error,
    });
  }
}

/**
 * Says whose a key is: spend rows of it that name no org are billed to `orgId` from now on, and its open reviews at once.
 * Returns how many of them were billed. Idempotent. Throws as {@link mapReview}, and `invalid_request` for what is no hash of a key.
 */
export async function mapKey(db: DatabaseClient, keyHash: string, orgId: string, options: MapReviewOptions = {}): Promise<number> {
  checkOrgId(orgId);
  // The hash as LiteLLM writes it. A key itself must not get into a table.
  if (keyHash.startsWith("sk-") || !/^\S{1,200}$/.test(keyHash))
    throw new AppError("invalid_request", "The hash of a key is expected (the SHA-256 that the review shows), not the key.", {
      param: "key_hash",
    });
  await db.transaction().execute(async (tx) => {
    const previousOrgId = await readKeyOwner(tx, keyHash);
    if (previousOrgId === orgId) return;
    await setKeyOwner(tx, keyHash, orgId);
    if (options.operator)
      await recordAction(tx, {
        action: "key.mapped",
        subject: keyHash,
        orgId,
        operator: options.operator,
        facts: { previous_org_id: previousOrgId ?? null },
      });
  });
  let billed = 0;
  for (const reviewKey of await readReviewsOfKey(db, keyHash)) billed += (await mapReview(db, reviewKey, orgId, options)) ? 1 : 0;
  return billed;
}

/** Closes an open review: somebody looked at it, and there is nothing to bill. Returns false when it was closed or is unknown. */
export async function dismissReview(db: DatabaseClient, reviewKey: string, operator?: Operator): Promise<boolean> {
  return db.transaction().execute(async (tx) => {
    if (!(await dismissReviewRow(tx, reviewKey))) return false;
    if (operator) await recordAction(tx, { action: "review.dismissed", subject: reviewKey, operator });
    return true;
  });
}

interface ReviewPage {
  readonly reviews: readonly ReviewListRow[];
  /** Give it to the next call; null on the last page. */
  readonly nextCursor: string | null;
}

/** Spend rows in review, the oldest first; closed ones with `all`. Default 100 a page, 1,000 at most. */
export async function listReviews(
  db: DatabaseExecutor,
  filter: {
    readonly orgId?: string | undefined;
    readonly reason?: SpendReviewReason | undefined;
    readonly all?: boolean | undefined;
    readonly cursor?: string | undefined;
    readonly limit?: number | undefined;
  } = {},
): Promise<ReviewPage> {
  const limit = Math.min(Math.max(Math.trunc(filter.limit ?? 100), 1), 1_000);
  const rows = await readReviewPage(db, {
    orgId: filter.orgId,
    reason: filter.reason,
    openOnly: !(filter.all ?? false),
    afterKey: filter.cursor,
    limit: limit + 1,
  });
  const reviews = rows.slice(0, limit);
  return { reviews, nextCursor: rows.length > limit ? (reviews.at(-1)?.review_key ?? null) : null };
}

function checkOrgId(orgId: string): void {
  if (orgId.length >= 1 && orgId.length <= 200) return;
  throw new AppError("review_not_billable", "The organization's id is empty or longer than 200 characters.");
}
