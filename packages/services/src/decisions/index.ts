export { clearAlertByHand } from "./clear-alert.ts";
export { decideBatch } from "./decide-batch.ts";
export { dismiss, redrive } from "./redrive.ts";
