export { quarantineSpendRows, resolveReviews } from "./reviews-db.ts";
export { dismissReview, listReviews, mapKey, mapReview } from "./reviews.ts";
