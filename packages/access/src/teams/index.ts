export {
  clearTeamSpend,
  findAliases,
  findTeam,
  findTeamAliases,
  insertTeam,
  listTeams,
  listTeamsDueForReset,
  type TeamFields,
  type TeamRow,
} from "./db.ts";
export { listTeamPage } from "./list-db.ts";
export { changeTeam, removeTeams, requireSoftBelow } from "./teams.ts";
