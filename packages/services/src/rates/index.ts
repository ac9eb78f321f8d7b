export type { RateCard } from "./credits.ts";
export type { RateCardRow } from "./rate-cards-db.ts";
export { addRateCard, listRateCards, seedRateCard } from "./rate-cards.ts";
