export {
  clearTeamSpend,
  findAliases,
  findTeam,
  findTeamAliases,
  insertTeam,
  listTeams,
  listTeamsDueForReset,
  removeFromTeams,
  type TeamFields,
  type TeamRow,
} from "./db.ts";
export { addMembers, changeMember, isTeamAdmin, type MemberName, removeMember, type TeamMember } from "./members.ts";
export { listTeamPage } from "./list-db.ts";
export { changeTeam, removeTeams, requireSoftBelow } from "./teams.ts";
