/** What no other noun and no process asks for: statements that the scale benchmark measures one by one, and parts that a test calls alone. */
export { insertAttemptIfFits } from "../src/requests/admission-db.ts";
export { readClock } from "../src/requests/db.ts";
export { replaceAttemptBySpendLog } from "../src/requests/settlement-db.ts";
