export { type Cost, costOf, priceReport, priceUsage } from "./cost.ts";
export { multiply, whole } from "./fraction.ts";
export { findPricesById } from "./host-price.ts";
export { findListedModel, listedModels, type PricedProvider } from "./price-table.ts";
export type { Price } from "./price.ts";
export { readRateSetting } from "./rate-setting.ts";
export { requestPrices } from "./request-prices.ts";
