/** What no other noun and no process asks for: statements that the scale benchmark measures one by one, and parts that a test calls alone. */
export { insertAttemptIfFits, readClock, replaceAttemptBySpendLog } from "../src/requests/db.ts";
