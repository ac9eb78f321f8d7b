import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { ADMIN_USER_ID } from "../keys/index.ts";
import { findTeam, lockTeam, type TeamRow, writeMembers } from "./db.ts";

/** Who belongs to a team, as LiteLLM writes it. An admin may manage the team's keys and members by any key of his own. */
export interface TeamMember {
  readonly user_id: string | null;
  readonly user_email: string | null;
  readonly role: "admin" | "user";
}

/** Whom a change of members means: by one of the two. */
export interface MemberName {
  readonly userId?: string | undefined;
  readonly userEmail?: string | undefined;
}

/** So many members one team has at most: they stand in one row, which is read whenever the team is shown. */
const MOST_MEMBERS = 10_000;

/** The members of a team; entries that LiteLLM would not read either are none. */
function membersOf({ members_with_roles: members }: Pick<TeamRow, "members_with_roles">): readonly TeamMember[] {
  return (Array.isArray(members) ? members : []).flatMap((member: unknown): readonly TeamMember[] => {
    if (typeof member !== "object" || member === null) return [];
    const { user_id: id, user_email: email, role } = member as Readonly<Record<string, unknown>>;
    const known = { user_id: typeof id === "string" ? id : null, user_email: typeof email === "string" ? email : null };
    return role === "admin" || role === "user" ? [{ ...known, role }] : [];
  });
}

/** Whether the user is an admin of the team. Nobody is by LiteLLM's id for the master key, which every team has among its admins. */
export async function isTeamAdmin(db: DatabaseExecutor, teamId: string, userId: string): Promise<boolean> {
  if (userId === ADMIN_USER_ID || userId === "") return false;
  const team = await findTeam(db, teamId);
  return team !== undefined && membersOf(team).some((member) => member.role === "admin" && member.user_id === userId);
}

/** Adds members, all or none. Throws `team_not_found`, and `invalid_request` for one who is one already, or is too many. */
export async function addMembers(db: DatabaseClient, teamId: string, added: readonly TeamMember[]): Promise<TeamRow> {
  return changeMembers(db, teamId, (members) => {
    const known = [...members];
    for (const member of added) {
      if (known.some((one) => isMeant(one, { userId: member.user_id ?? undefined, userEmail: member.user_email ?? undefined })))
        throw new AppError("invalid_request", `User already in team. Member: user_id=${member.user_id}, user_email=${member.user_email}.`, {
          param: "member",
        });
      known.push(member);
    }
    if (known.length > MOST_MEMBERS)
      throw new AppError("invalid_request", `A team has ${MOST_MEMBERS} members at most.`, { param: "member" });
    return known;
  });
}

/** Throws `team_not_found`, and `invalid_request` for one who is no member, as LiteLLM has it. */
export async function removeMember(db: DatabaseClient, teamId: string, name: MemberName): Promise<TeamRow> {
  return changeMembers(db, teamId, (members) => {
    if (!members.some((member) => isMeant(member, name)))
      throw new AppError("invalid_request", "User not found in team", { param: name.userId === undefined ? "user_email" : "user_id" });
    return members.filter((member) => !isMeant(member, name));
  });
}

/** Gives a member another role. Throws `team_not_found`, and `user_not_found` for one who is no member. */
export async function changeMember(
  db: DatabaseClient,
  teamId: string,
  name: MemberName,
  role: TeamMember["role"] | undefined,
): Promise<TeamMember> {
  const team = await changeMembers(db, teamId, (members) => {
    requireMember(teamId, members, name);
    return members.map((member) => (isMeant(member, name) && role !== undefined ? { ...member, role } : member));
  });
  return requireMember(teamId, membersOf(team), name);
}

async function changeMembers(
  db: DatabaseClient,
  teamId: string,
  change: (members: readonly TeamMember[]) => readonly TeamMember[],
): Promise<TeamRow> {
  return db.transaction().execute(async (tx) => {
    const team = await lockTeam(tx, teamId);
    if (!team)
      throw new AppError("team_not_found", `Team doesn't exist in db. Team=${teamId.slice(0, 128)}. Create team via \`/team/new\` call.`, {
        param: "team_id",
      });
    return writeMembers(tx, teamId, change(membersOf(team)));
  });
}

/** The first where there are several. */
function requireMember(teamId: string, members: readonly TeamMember[], name: MemberName): TeamMember {
  const found = members.find((member) => isMeant(member, name));
  if (found) return found;
  const who = String(name.userId ?? name.userEmail).slice(0, 128);
  throw new AppError("user_not_found", `User ${who} is not a member of team ${teamId.slice(0, 128)}`, { param: "user_id" });
}

function isMeant(member: TeamMember, { userId, userEmail }: MemberName): boolean {
  if (userId !== undefined) return member.user_id === userId;
  return userEmail !== undefined && member.user_email?.toLowerCase() === userEmail.toLowerCase();
}
