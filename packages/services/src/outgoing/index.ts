export { withDeadline } from "./deadline.ts";
export { fetchStatus, fetchWhole, type WholeAnswer } from "./fetch-whole.ts";
