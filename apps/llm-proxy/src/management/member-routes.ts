import type { DatabaseClient } from "@proliferate/db";
import { addMembers, changeMember, type MemberName, removeMember, type TeamMember } from "@proliferate/access/teams";
import { findUserByEmail } from "@proliferate/access/users";
import { AppError } from "@proliferate/shared/errors";
import { z } from "zod";
import { parseLimits, type Route } from "./route.ts";
import { membersOfTeam } from "./team-admin.ts";
import { teamWithAliases } from "./team-routes.ts";

const name = { user_id: z.string().min(1).max(255).nullish(), user_email: z.string().min(1).max(255).nullish() };
const role = z.enum(["admin", "user"]);
const memberSchema = z.object({ ...name, role }).refine(hasName, { message: "Either user_id or user_email must be provided" });

const addRequestSchema = z.looseObject({
  team_id: z.string().min(1),
  member: z.union([memberSchema, z.array(memberSchema).min(1).max(100)]),
});
const change = { team_id: z.string().min(1), ...name };
const unnamed = { message: "Either user_id or user_email must be provided", path: ["user_id"] };
const removeRequestSchema = z.looseObject(change).refine(hasName, unnamed);
const changeRequestSchema = z.looseObject({ ...change, role: role.nullish() }).refine(hasName, unnamed);

function hasName({
  user_id: id,
  user_email: email,
}: {
  readonly user_id?: string | null | undefined;
  readonly user_email?: string | null | undefined;
}): boolean {
  return (id ?? email ?? null) !== null;
}

/** `/team/member_*` in LiteLLM's shapes. */
export function memberRoutes(db: DatabaseClient): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/team/member_add",
      teamAdmin: membersOfTeam,
      handle: async ({ body }) => add(db, parseLimits(addRequestSchema, body)),
    },
    {
      method: "POST",
      path: "/team/member_delete",
      teamAdmin: membersOfTeam,
      handle: async ({ body }) => remove(db, parseLimits(removeRequestSchema, body)),
    },
    {
      method: "POST",
      path: "/team/member_update",
      teamAdmin: membersOfTeam,
      handle: async ({ body }) => changeRole(db, parseLimits(changeRequestSchema, body)),
    },
  ];
}

async function add(db: DatabaseClient, { team_id: teamId, member }: z.output<typeof addRequestSchema>): Promise<unknown> {
  const members: TeamMember[] = [];
  for (const one of Array.isArray(member) ? member : [member]) members.push({ ...(await known(db, one)), role: one.role });
  const team = await addMembers(db, teamId, members);
  return { ...(await teamWithAliases(db, team)), updated_users: [], updated_team_memberships: [] };
}

/** A member has an id: an address is that of a user, who is made first. Throws `user_not_found`. */
async function known(
  db: DatabaseClient,
  { user_id: id, user_email: email }: z.output<typeof memberSchema>,
): Promise<Pick<TeamMember, "user_id" | "user_email">> {
  if (id != null) return { user_id: id, user_email: email ?? null };
  const found = await findUserByEmail(db, email ?? "");
  if (found === undefined)
    throw new AppError("user_not_found", "No user has this address; make the user with POST /user/new first, or name a user_id.", {
      param: "user_email",
    });
  return { user_id: found, user_email: email ?? null };
}

async function remove(db: DatabaseClient, request: z.output<typeof removeRequestSchema>): Promise<unknown> {
  return teamWithAliases(db, await removeMember(db, request.team_id, nameOf(request)));
}

async function changeRole(db: DatabaseClient, request: z.output<typeof changeRequestSchema>): Promise<unknown> {
  const { user_id, user_email } = await changeMember(db, request.team_id, nameOf(request), request.role ?? undefined);
  const none = { max_budget_in_team: null, tpm_limit: null, rpm_limit: null, budget_duration: null, allowed_models: null };
  return { user_id, user_email, team_id: request.team_id, ...none, temp_budget_increase: null, temp_budget_expiry: null };
}

function nameOf({ user_id: userId, user_email: userEmail }: z.output<typeof removeRequestSchema>): MemberName {
  return { userId: userId ?? undefined, userEmail: userEmail ?? undefined };
}
