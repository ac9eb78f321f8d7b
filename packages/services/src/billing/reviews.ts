import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import type { RateCard } from "./credits.ts";
import { lockIngest } from "./db.ts";
import { billReview, dismissReviewRow, lockReview, readReviewsOfKey, setKeyOwner } from "./reviews-db.ts";

/** Reasons that a person can settle by naming the org. An amount that is no number cannot be billed by anybody. */
const MAPPABLE = new Set(["no_org", "no_request_id", "recycled_id", "unlinked_refund"]);
const NOT_NULL_VIOLATION = "23502";

/**
 * Bills the row of a review to `orgId`, once, from what the review keeps: the source may have lost it. Idempotent: a review
 * that is billed already is left as it is, and false is returned. Throws `review_not_found`, `review_not_billable`, and
 * `rate_card_invalid` when no rate card covers the row and no `rate` is given.
 */
export async function mapReview(db: DatabaseClient, reviewKey: string, orgId: string, options: { readonly rate?: RateCard } = {}): Promise<boolean> {
  checkOrgId(orgId);
  try {
    return await db.transaction().execute(async (tx) => {
      await lockIngest(tx);
      const review = await lockReview(tx, reviewKey);
      if (review === undefined) throw new AppError("review_not_found", `There is no review ${JSON.stringify(reviewKey)}.`);
      if (!MAPPABLE.has(review.reason)) throw new AppError("review_not_billable", `Review ${reviewKey} cannot be billed to an organization: its reason is ${review.reason}.`);
      if (review.resolved_at !== null) return false;
      return (await billReview(tx, { reviewKey, orgId, rate: options.rate })) > 0;
    });
  } catch (error) {
    if ((error as { code?: unknown }).code !== NOT_NULL_VIOLATION) throw error;
    throw new AppError("rate_card_invalid", `No rate card covers the row of review ${reviewKey}; add a default card that does.`, { cause: error });
  }
}

/**
 * Says whose a key is: spend rows of it that name no org are billed to `orgId` from now on, and its open reviews at once.
 * Returns how many of them were billed. Idempotent. Throws as {@link mapReview}.
 */
export async function mapKey(db: DatabaseClient, keyHash: string, orgId: string, options: { readonly rate?: RateCard } = {}): Promise<number> {
  checkOrgId(orgId);
  await setKeyOwner(db, keyHash, orgId);
  let billed = 0;
  for (const reviewKey of await readReviewsOfKey(db, keyHash)) billed += (await mapReview(db, reviewKey, orgId, options)) ? 1 : 0;
  return billed;
}

/** Closes an open review: somebody looked at it, and there is nothing to bill. Returns false when it was closed or is unknown. */
export async function dismissReview(db: DatabaseClient, reviewKey: string): Promise<boolean> {
  return dismissReviewRow(db, reviewKey);
}

function checkOrgId(orgId: string): void {
  if (orgId.length >= 1 && orgId.length <= 200) return;
  throw new AppError("review_not_billable", "The organization's id is empty or longer than 200 characters.");
}
