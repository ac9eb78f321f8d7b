import type { DatabaseClient } from "@proliferate/db";
import { findCaller, hashKey, requireKey } from "@proliferate/access/keys";
import { kindOfCredential } from "@proliferate/access/principals";
import { isTeamAdmin } from "@proliferate/access/teams";
import { requireUser } from "@proliferate/access/users";
import { AppError, isAppError } from "@proliferate/shared/errors";
import type { RouteInput } from "./route.ts";

/**
 * What an admin of a team may call by a key of his own: the keys and the members of that team, and nothing else. A route is closed to him
 * unless it says by one of these functions what of a call he has to be allowed; each throws where he is not, and answers the call as the
 * route then gets it. They read a call exactly as its route does.
 */
export type TeamAdminRule = (db: DatabaseClient, input: RouteInput, userId: string) => Promise<RouteInput>;

/**
 * The user whose key this is, if he can be a team's admin by it: a virtual key of his own that may be used and is not made for some routes of the
 * data plane alone. A key of a team is none: its `user_id` may be a session's or a machine's, which whoever starts those chooses. Undefined for any other.
 */
export async function userOfKey(db: DatabaseClient, credential: string): Promise<string | undefined> {
  if (kindOfCredential(credential)?.name !== "virtual_key") return undefined;
  const caller = await findCaller(db, hashKey(credential));
  if (!caller || caller.blocked || caller.expired || caller.teamId !== null || caller.allowedRoutes.length > 0) return undefined;
  return caller.userId ?? undefined;
}

/** LiteLLM's words. */
const refused = (message: string, param?: string): AppError =>
  new AppError("admin_key_required", message, param === undefined ? {} : { param });

/** What only the proxy's admin may set on a key: what it may spend, and whose it is. */
const OF_PROXY_ADMIN = [
  "max_budget",
  "budget_duration",
  "budget_id",
  "soft_budget",
  "model_max_budget",
  "team_id",
  "user_id",
  "caller_kind",
];

function fieldOf(body: unknown, name: string): unknown {
  return typeof body === "object" && body !== null ? (body as Readonly<Record<string, unknown>>)[name] : undefined;
}

function textOf(body: unknown, name: string): string | undefined {
  const value = fieldOf(body, name);
  return typeof value === "string" ? value : undefined;
}

async function requireTeamAdmin(db: DatabaseClient, teamId: string | null | undefined, userId: string, what: string): Promise<void> {
  if (teamId && (await isTeamAdmin(db, teamId, userId))) return;
  throw refused(`User=${userId} not authorized to ${what}.`);
}

async function requireKeyOfTeam(db: DatabaseClient, key: string | undefined, userId: string): Promise<void> {
  // Without a name the route refuses the call itself, before it does anything.
  if (!key) return;
  const { team_id: teamId } = await requireKey(db, key);
  await requireTeamAdmin(db, teamId, userId, "manage this key: it is of no team of which the user is an admin");
}

function requireFieldsOf(body: unknown, names: readonly string[]): void {
  const name = names.find((one) => fieldOf(body, one) !== undefined);
  if (name !== undefined) throw refused(`Team admins cannot set ${name}; ask the proxy admin, who has the master key.`, name);
}

/** Of the key that `key` of the body names. */
export const keyOfBody: TeamAdminRule = async (db, input, userId) => {
  await requireKeyOfTeam(db, textOf(input.body, "key"), userId);
  return input;
};

/** The same, with what may be changed of it. */
export const changeOfKey: TeamAdminRule = async (db, input, userId) => {
  // As the route of a regeneration names it: the body before the path.
  await requireKeyOfTeam(db, textOf(input.body, "key") || input.names["key"], userId);
  requireFieldsOf(input.body, OF_PROXY_ADMIN);
  return input;
};

/** Of each key that `keys` of the body names; by aliases nobody but the proxy's admin. */
export const keysOfBody: TeamAdminRule = async (db, input, userId) => {
  requireFieldsOf(input.body, ["key_aliases"]);
  const keys = fieldOf(input.body, "keys");
  for (const key of Array.isArray(keys) ? keys.slice(0, 1_000) : [])
    await requireKeyOfTeam(db, typeof key === "string" ? key : undefined, userId).catch((error: unknown) => {
      // What is not there is nobody's: the route says so.
      if (!(isAppError(error) && error.code === "key_not_found")) throw error;
    });
  if (Array.isArray(keys) && keys.length > 1_000) throw refused("Name 1,000 keys at most.", "keys");
  return input;
};

export const keyOfQuery: TeamAdminRule = async (db, input, userId) => {
  await requireKeyOfTeam(db, lastOf(input.query, "key"), userId);
  return input;
};

/** Of a team whose keys are listed, or shown. */
export const teamOfQuery: TeamAdminRule = async (db, input, userId) => {
  await requireTeamAdmin(db, lastOf(input.query, "team_id"), userId, "access this team; name a team_id of which the user is an admin");
  return input;
};

/** A key for himself, of a team of his. */
export const keyForTeam: TeamAdminRule = async (db, input, userId) => {
  await requireTeamAdmin(db, textOf(input.body, "team_id"), userId, "make keys of this team");
  requireFieldsOf(input.body, ["budget_id", "caller_kind"]);
  const owner = fieldOf(input.body, "user_id");
  if (owner !== undefined && owner !== null && owner !== userId)
    throw refused(`User can only create keys for themselves. Got user_id=${String(owner).slice(0, 128)}, Your ID=${userId}`, "user_id");
  return { ...input, body: { ...(input.body as object), user_id: userId } };
};

/** Of a team whose members are changed; whoever is added has to be known. */
export const membersOfTeam: TeamAdminRule = async (db, input, userId) => {
  await requireTeamAdmin(db, textOf(input.body, "team_id"), userId, "change the members of this team");
  const member = fieldOf(input.body, "member");
  for (const one of Array.isArray(member) ? member.slice(0, 100) : [member]) {
    const id = textOf(one, "user_id");
    if (id === undefined) continue;
    await requireUser(db, id).catch((error: unknown) => {
      if (!(isAppError(error) && error.code === "user_not_found")) throw error;
      throw refused(`Only proxy admins can add a user_id that does not exist yet: ${id.slice(0, 128)}.`, "member");
    });
  }
  return input;
};

/** Of a name that is given twice, the last value counts, as in `parseQuery`. */
function lastOf(query: URLSearchParams, name: string): string | undefined {
  return query.getAll(name).at(-1);
}
