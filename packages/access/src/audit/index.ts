export {
  deleteOldManagementActions,
  insertManagementAction,
  listManagementActions,
  lockSubjects,
  type ManagementActionRow,
  type SubjectKind,
} from "./db.ts";
export { difference } from "./facts.ts";
