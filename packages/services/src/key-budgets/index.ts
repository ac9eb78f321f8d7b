export { createSessionAdmission } from "./admission.ts";
export { moveReservations, RESERVED } from "./db.ts";
export type { KeyControl } from "./key-control.ts";
export { refreshKeyBudgets } from "./refresh-key-budgets.ts";
