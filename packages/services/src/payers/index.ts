export { type ChangedPayer, listPayers, setPayer, unsetPayer } from "./payers.ts";
