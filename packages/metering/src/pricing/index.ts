export {
  type Cost,
  costOf,
  dearerReading,
  NO_COST,
  type PricedReport,
  priceReport,
  priceUsage,
  type RequestPrices,
  unpricedModifiers,
} from "./cost.ts";
export { multiply, whole } from "./fraction.ts";
export { findPricesById } from "./host-price.ts";
export { NO_OVERRIDE, overridePrices, type PriceOverride } from "./price-override.ts";
export { findListedModel, type ListedModel, listedModels } from "./price-table.ts";
export type { Price, PriceSchedule } from "./price.ts";
export { readRateSetting } from "./rate-setting.ts";
export { requestPrices } from "./request-prices.ts";
export { worstCasePicoUsd, type WorstCaseRequest } from "./worst-case.ts";
