import { listReviews, mapKey } from "@proliferate/services/reviews";
import { requireKnownOrg, SPEND_REVIEW_REASONS } from "@proliferate/services/reports";
import type { Action, OperatorOptions } from "../command-context.ts";
import { EXIT } from "../exit-status.ts";
import { parseChoice, parseLimit } from "../option-values.ts";
import { columns, dollars, jsonDocument } from "../output.ts";

export interface ReviewListOptions {
  readonly org?: string;
  readonly reason?: string;
  readonly all?: boolean;
  readonly limit?: string;
  readonly after?: string;
}

/** `billing review list`: spend rows that wait for a person, oldest first. */
export function reviewList(options: ReviewListOptions): Action {
  return async ({ db, json, write }) => {
    const reason = options.reason === undefined ? undefined : parseChoice("--reason", options.reason, SPEND_REVIEW_REASONS);
    const limit = options.limit === undefined ? undefined : parseLimit("--limit", options.limit);
    if (options.org !== undefined) await requireKnownOrg(db, options.org);
    const page = await listReviews(db, { orgId: options.org, reason, all: options.all, cursor: options.after, limit });
    const rows = page.reviews.map((review) => [
      review.review_key,
      review.resolution ?? "open",
      review.reason,
      /^-?\d/.test(review.spend_usd) ? dollars(review.spend_usd) : review.spend_usd,
      review.model || "–",
      review.org_id ?? "–",
      review.session_id ?? "–",
      review.key_hash ?? "–",
      review.occurred_at.toISOString(),
    ]);
    const text =
      rows.length === 0
        ? "Nothing needs review.\n"
        : columns(["review", "state", "reason", "spend", "model", "organization", "session", "key hash", "began"], rows);
    await write(json ? jsonDocument(page) : text + (page.nextCursor === null ? "" : `More: --after ${page.nextCursor}\n`));
    return EXIT.done;
  };
}

/** `billing review map-key <hash> --org`: whose a key is; bills its rows in review at once, and those to come. */
export function reviewMapKey(keyHash: string, options: OperatorOptions & { readonly org: string; readonly create?: boolean }): Action {
  return async ({ db, json, operator, write }) => {
    const who = operator(options);
    if (!options.create) await requireKnownOrg(db, options.org);
    const billed = await mapKey(db, keyHash, options.org, { operator: who });
    await write(
      json
        ? jsonDocument({ keyHash, orgId: options.org, billedReviews: billed })
        : `The key is ${options.org}'s; ${billed} rows in review were billed to it.\n`,
    );
    return EXIT.done;
  };
}
