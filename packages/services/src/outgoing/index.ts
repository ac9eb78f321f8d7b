export { withDeadline } from "./deadline.ts";
export { type WholeAnswer, fetchStatus, fetchWhole } from "./fetch-whole.ts";
