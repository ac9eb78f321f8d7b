export { createSessionAdmission } from "./admission.ts";
export { RESERVED, moveReservations } from "./db.ts";
export type { KeyControl } from "./key-control.ts";
export { refreshKeyBudgets } from "./refresh-key-budgets.ts";
