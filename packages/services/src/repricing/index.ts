export { type RepriceResult, applyReprice, previewReprice } from "./reprice.ts";
