export { readActions } from "./db.ts";
export { type Operator, recordAction, requireReason } from "./operator.ts";
