import type { IncomingMessage } from "node:http";
import {
  difference,
  insertManagementAction,
  listManagementActions,
  lockSubjects,
  type ManagementActionRow,
  type SubjectKind,
} from "@proliferate/access/audit";
import { findBudgets } from "@proliferate/access/budgets";
import { findKeys, hashOfKeyOrHash, listKeys, readKeyId, readKeyIds } from "@proliferate/access/keys";
import { listLimits, readTiers } from "@proliferate/access/limits";
import type { LimitOwner } from "@proliferate/access/principals";
import { findTeam } from "@proliferate/access/teams";
import { findUser } from "@proliferate/access/users";
import { type DatabaseClient, type DatabaseExecutor, joinTransaction } from "@proliferate/db";
import { z } from "zod";
import { parseQuery, type Route, type RouteInput } from "./route.ts";

/** What every change by the management API leaves on record: `management_actions`. */

/** Who makes a call, and from where. */
interface Caller {
  /** Undefined for the master key. */
  readonly userId: string | undefined;
  readonly requestId: string;
  readonly request: Pick<IncomingMessage, "headers" | "socket">;
}

type Fields = Readonly<Record<string, unknown>>;

/** One thing that is changed. */
interface Subject {
  readonly kind: SubjectKind;
  readonly id: string;
}

/** What a call changes; what it makes, its answer names. */
interface Audited {
  readonly of: (db: DatabaseClient, input: RouteInput, answer: Fields) => Promise<readonly Subject[]>;
  /** It is many transactions: on record before it begins, with what is deleted. */
  readonly isLong?: true;
}

/** More names than any route takes: it refuses the call. */
const MOST_NAMED = 1_000;

const fieldsOf = (body: unknown): Fields => (typeof body === "object" && body !== null ? (body as Fields) : {});
const textsOf = (value: unknown): readonly string[] =>
  (Array.isArray(value) ? value.slice(0, MOST_NAMED) : [value]).filter((one): one is string => typeof one === "string" && one !== "");

/** By the fields of the body, or those of the answer where the request makes something. */
const named = (kind: SubjectKind, field: string, isLong?: true): Audited => ({
  of: async (_, { body }, answer) => [...textsOf(fieldsOf(body)[field]), ...textsOf(answer[field])].map((id) => ({ kind, id })),
  ...(isLong && { isLong }),
});

/** Keys by themselves, their hashes and their aliases; by the ids that they keep. */
const KEYS: Audited = {
  of: async (db, { body, names }, answer) => {
    const { key, keys, key_aliases: aliases } = fieldsOf(body);
    const hashes = [...textsOf(key), ...textsOf(keys), ...textsOf(names["key"]), ...textsOf(answer["token_id"])].map(hashOfKeyOrHash);
    for (const keyAlias of textsOf(aliases)) hashes.push(...(await listKeys(db, { keyAlias }, 1, 1_000)).rows.map(({ token }) => token));
    return keySubjects(db, hashes);
  },
};

async function keySubjects(db: DatabaseClient, hashes: readonly string[]): Promise<readonly Subject[]> {
  return (await readKeyIds(db, hashes)).map((id) => ({ kind: "key", id }));
}

/** A user, with the key that may be made for him. */
const NEW_USER: Audited = {
  of: async (db, input, answer) => [
    ...(await named("user", "user_id").of(db, input, answer)),
    ...(await keySubjects(db, textsOf(answer["key"]).map(hashOfKeyOrHash))),
  ],
};

const LIMITS: Audited = {
  of: async (db, { body }) => {
    const { principal_kind: kind, principal_id: id } = fieldsOf(body);
    if (typeof kind !== "string" || typeof id !== "string") return [];
    return [{ kind: "limits", id: `${kind}:${kind === "key" ? await readKeyId(db, hashOfKeyOrHash(id)) : id}` }];
  },
};

/** What each route changes. A test holds that every POST route stands here or in {@link READS}. */
export const AUDITED: Readonly<Record<string, Audited>> = {
  "/key/generate": KEYS,
  "/key/update": KEYS,
  "/key/regenerate": KEYS,
  "/key/{key}/regenerate": KEYS,
  "/key/delete": KEYS,
  "/key/block": KEYS,
  "/key/unblock": KEYS,
  "/team/new": named("team", "team_id"),
  "/team/update": named("team", "team_id"),
  "/team/block": named("team", "team_id"),
  "/team/unblock": named("team", "team_id"),
  "/team/delete": named("team", "team_ids", true),
  "/team/member_add": named("team", "team_id"),
  "/team/member_delete": named("team", "team_id"),
  "/team/member_update": named("team", "team_id"),
  "/user/new": NEW_USER,
  "/user/update": named("user", "user_id"),
  "/user/delete": named("user", "user_ids", true),
  "/budget/new": named("budget", "budget_id"),
  "/budget/update": named("budget", "budget_id"),
  "/budget/delete": named("budget", "id"),
  "/limit/set": LIMITS,
  "/limit/delete": LIMITS,
  "/tier/assign": named("tier", "user_ids"),
};

/** POST routes that change nothing. */
export const READS: ReadonlySet<string> = new Set(["/v2/key/info", "/budget/info"]);

const READERS: Readonly<Record<SubjectKind, (db: DatabaseClient, id: string) => Promise<Fields | undefined>>> = {
  key: async (db, id) => (await findKeys(db, [id]))[0],
  team: async (db, id) => findTeam(db, id),
  user: async (db, id) => findUser(db, id),
  budget: async (db, id) => (await findBudgets(db, [id]))[0],
  limits: async (db, id) => {
    const [kind = "", ...rest] = id.split(":");
    const limits = await listLimits(db, { kind: kind as LimitOwner["kind"], id: rest.join(":") });
    return limits.length === 0 ? undefined : { limits };
  },
  tier: async (db, id) => {
    const tier = (await readTiers(db, [id])).get(id);
    return tier === undefined ? undefined : { tier };
  },
};

/**
 * Runs a route, and puts on record what it changes, in one transaction: both are there or neither. A route that reads runs as it is; one that is many
 * transactions is on record before it begins. `routesOn` makes the routes on a connection, always in the same order.
 */
export async function runAudited(
  db: DatabaseClient,
  routesOn: (db: DatabaseClient) => readonly Route[],
  { index, input, caller }: { readonly index: number; readonly input: RouteInput; readonly caller: Caller },
): Promise<unknown> {
  const route = routesOn(db)[index] as Route;
  if (route.method === "GET" || READS.has(route.path)) return route.handle(input);
  const audited = AUDITED[route.path];
  // Nothing is changed that leaves no trace.
  if (!audited) throw new Error(`${route.path} stands neither in AUDITED nor in READS`);
  const answered = await db.transaction().execute(async (tx) => {
    const joined = joinTransaction(tx);
    const before = await read(joined, await lock(tx, await audited.of(joined, input, {})));
    if (audited.isLong) return void (await record(joined, { route, caller, before, after: new Map() }));
    const answer = await (routesOn(joined)[index] as Route).handle(input);
    const after = await read(joined, await audited.of(joined, input, fieldsOf(answer)));
    await record(joined, { route, caller, before, after });
    return { answer };
  });
  return answered === undefined ? route.handle(input) : answered.answer;
}

async function lock(tx: DatabaseExecutor, subjects: readonly Subject[]): Promise<readonly Subject[]> {
  if (subjects.length > 0)
    await lockSubjects(
      tx,
      subjects.map(({ kind, id }) => `${kind}:${id}`),
    );
  return subjects;
}

/** What there is of each, by its kind and id. */
type States = ReadonlyMap<string, { readonly subject: Subject; readonly row: Fields | undefined }>;

async function read(db: DatabaseClient, subjects: readonly Subject[]): Promise<States> {
  const found = new Map<string, { readonly subject: Subject; readonly row: Fields | undefined }>();
  for (const subject of subjects) {
    const name = `${subject.kind}:${subject.id}`;
    if (!found.has(name)) found.set(name, { subject, row: await READERS[subject.kind](db, subject.id) });
  }
  return found;
}

interface Recorded {
  readonly route: Route;
  readonly caller: Caller;
  readonly before: States;
  readonly after: States;
}

async function record(db: DatabaseClient, { route, caller, before, after }: Recorded): Promise<void> {
  const { userId, requestId, request } = caller;
  for (const [name, { subject }] of new Map([...before, ...after])) {
    const differing = difference(before.get(name)?.row, after.get(name)?.row);
    if (!differing) continue;
    await insertManagementAction(db, {
      action: `${route.method} ${route.path}`,
      kind: subject.kind,
      subject: subject.id,
      operator: userId ?? "proxy_admin",
      changedBy: saidBy(request.headers["litellm-changed-by"]),
      remoteAddress: request.socket.remoteAddress ?? null,
      requestId,
      ...differing,
    });
  }
}

/** LiteLLM's header: on behalf of whom. Bounded, in one line. */
function saidBy(header: string | readonly string[] | undefined): string | null {
  const text =
    typeof header === "string"
      ? header
          .replaceAll(/\p{Cc}/gu, " ")
          .trim()
          .slice(0, 200)
      : "";
  return text === "" ? null : text;
}

const auditQuerySchema = z.looseObject({
  page: z.coerce.number().int().min(1).default(1),
  page_size: z.coerce.number().int().min(1).max(100).default(10),
  object_id: z.string().optional(),
});

/** `GET /audit` in the shape of LiteLLM's, with where a change came from. */
export function auditRoutes(db: DatabaseClient): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/audit",
      handle: async ({ query }) => {
        const { page, page_size: size, object_id: subject } = parseQuery(auditQuerySchema, query);
        const { rows, total } = await listManagementActions(db, { subject }, { page, size });
        return { audit_logs: rows.map(auditView), total, page, page_size: size, total_pages: Math.ceil(total / size) };
      },
    },
  ];
}

function auditView(row: ManagementActionRow): unknown {
  return {
    id: row.action_id,
    updated_at: row.acted_at,
    changed_by: row.changed_by ?? row.operator,
    operator: row.operator,
    action: row.action,
    table_name: row.subject_kind,
    object_id: row.subject,
    before_value: row.before,
    updated_values: row.after,
    remote_address: row.remote_address,
    request_id: row.request_id,
  };
}
