export { applyReprice, previewReprice, type RepriceResult } from "./reprice.ts";
