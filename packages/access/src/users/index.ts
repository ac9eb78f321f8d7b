export { findUser, findUserByEmail, listUsers, type UserFields, type UserRow } from "./db.ts";
export { changeUser, makeUser, removeUsers, requireUser } from "./users.ts";
