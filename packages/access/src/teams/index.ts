export { findAliases, clearTeamSpend, findTeam, insertTeam, listTeams, listTeamsDueForReset, type TeamRow } from "./db.ts";
