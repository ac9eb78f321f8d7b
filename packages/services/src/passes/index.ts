export { readMark, readPasses, recordPass, returnPass, takePass, writeMark } from "./db.ts";
