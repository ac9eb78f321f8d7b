import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { durationPattern, generateKeyRequestSchema, keyAliasPattern, updateKeyRequestSchema } from "@proliferate/shared/contracts";
import type { SpendLogsQuirks } from "./litellm-spend-logs.ts";

/** What LiteLLM answers to management calls, in its own shapes, words and quirks; keys and teams live in memory. */

export interface LiteLLMStandInOptions {
  /** Default 0: any free one. Loopback only. */
  readonly port?: number;
  /** Default: a random one. */
  readonly masterKey?: string;
  /** Refuse `/key/generate` for a team that does not exist, as later versions do. Default false, as 1.92. */
  readonly checksTeamAtMint?: boolean;
  /** How `/key/list` matches `user_id`. Default exact. */
  readonly userFilter?: "exact" | "partial";
  readonly spendLogs?: SpendLogsQuirks;
  /** When a key says that it was made. Default: now. */
  readonly mintedAt?: () => Date;
}

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface KeyRow {
  readonly token: string;
  readonly user_id: string | null;
  readonly team_id: string | null;
  readonly key_alias: string | null;
  readonly expires: string | null;
  readonly blocked: boolean | null;
  readonly created_at: string;
  readonly [field: string]: unknown;
}

type Answer = { readonly status: number; readonly body: unknown };

export interface Store {
  readonly keys: Map<string, KeyRow>;
  readonly teams: Set<string>;
  readonly options: LiteLLMStandInOptions;
}

/** LiteLLM's envelope: the code is text, the param often the text "None". */
const failure = (status: number, message: string, type: string, param = "None"): Answer => ({
  status,
  body: { error: { message, type, param, code: String(status) } },
});

/** What a raised HTTPException becomes: its detail as Python prints a dict. */
const raised = (status: number, detail: string): Answer =>
  failure(status, `{'error': ${detail.includes("'") ? `"${detail}"` : `'${detail}'`}}`, "auth_error");

export function wrongMasterKey(request: IncomingMessage): Answer {
  const received = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
  if (received === "") return failure(401, "Authentication Error, No api key passed in.", "auth_error");
  const abbreviated = `sk-...${received.slice(-4)}`;
  return failure(
    401,
    `Authentication Error, Invalid proxy server token passed. Received API Key = ${abbreviated}, Key Hash (Token) =${hashOf(received)}. Unable to find token in cache or \`LiteLLM_VerificationTokenTable\``,
    "token_not_found_in_db",
    "key",
  );
}

export function route(store: Store, request: RecordedRequest): Answer {
  switch (`${request.method} ${request.path}`) {
    case "GET /health/readiness":
      return { status: 200, body: { status: "healthy", db: "connected", cache: null, litellm_version: "1.104.0", success_callbacks: [] } };
    case "GET /health/liveliness":
      return { status: 200, body: "I'm alive!" };
    case "POST /team/new":
      return newTeam(store, request.body);
    case "GET /team/info":
      return teamInfo(store, request.query["team_id"] ?? "");
    case "POST /key/generate":
      return generateKey(store, request.body);
    case "GET /key/info":
      return keyInfo(store, request.query["key"] ?? "");
    case "GET /key/list":
      return listKeys(store, request.query);
    case "POST /key/update":
      return updateKey(store, request.body);
    case "POST /key/delete":
      return deleteKeys(store, request.body);
    case "POST /key/block":
    case "POST /key/unblock":
      return blockKey(store, String(request.body["key"]), request.path === "/key/block");
    default:
      return { status: 404, body: { detail: "Not Found" } };
  }
}

export const hashOf = (key: string): string => createHash("sha256").update(key).digest("hex");
const tokenOf = (keyOrHash: string): string => (keyOrHash.startsWith("sk-") ? hashOf(keyOrHash) : keyOrHash);

function teamRow(teamId: string): object {
  const now = new Date().toISOString();
  return {
    team_id: teamId,
    team_alias: teamId,
    organization_id: null,
    admins: [],
    members: [],
    members_with_roles: [{ user_id: "default_user_id", user_email: null, role: "admin" }],
    metadata: {},
    tpm_limit: null,
    rpm_limit: null,
    max_budget: null,
    budget_duration: null,
    models: [],
    blocked: false,
    router_settings: {},
    spend: 0,
    max_parallel_requests: null,
    budget_reset_at: null,
    model_id: null,
    created_at: now,
    updated_at: now,
    litellm_model_table: null,
    object_permission: null,
  };
}

function newTeam(store: Store, body: RecordedRequest["body"]): Answer {
  const teamId = String(body["team_id"] ?? randomBytes(16).toString("hex"));
  if (store.teams.has(teamId)) return raised(400, `Team id = ${teamId} already exists. Please use a different team id.`);
  store.teams.add(teamId);
  return { status: 200, body: teamRow(teamId) };
}

function teamInfo(store: Store, teamId: string): Answer {
  if (!store.teams.has(teamId)) return failure(404, `{'message': 'Team not found, passed team id: ${teamId}.'}`, "auth_error");
  const keys = [...store.keys.values()].filter((row) => row.team_id === teamId).map(({ token: _token, ...row }) => row);
  return { status: 200, body: { team_id: teamId, team_info: teamRow(teamId), keys, team_memberships: [] } };
}

/** The fields that a key's row has and that no caller of ours sets; LiteLLM sends them all. */
const unusedKeyFields = {
  soft_budget: null,
  budget_id: null,
  budget_duration: null,
  budget_reset_at: null,
  budget_limits: null,
  tpm_limit: null,
  rpm_limit: null,
  max_parallel_requests: null,
  model_max_budget: {},
  model_rpm_limit: null,
  model_tpm_limit: null,
  model_spend: {},
  aliases: {},
  config: {},
  permissions: {},
  router_settings: {},
  guardrails: null,
  policies: [],
  prompts: null,
  tags: null,
  enforced_params: null,
  allowed_routes: [],
  allowed_cache_controls: [],
  allowed_passthrough_routes: null,
  allowed_vector_store_indexes: null,
  object_permission: null,
  object_permission_id: null,
  organization_id: null,
  project_id: null,
  agent_id: null,
  access_group_ids: [],
  key_type: "default",
  auto_rotate: false,
  rotation_interval: null,
  rotation_count: 0,
  last_rotation_at: null,
  key_rotation_at: null,
  send_invite_email: null,
  last_active: null,
  soft_budget_cooldown: false,
  litellm_budget_table: null,
  created_by: "default_user_id",
  updated_by: "default_user_id",
};

const aliasHolder = (store: Store, alias: string): KeyRow | undefined => [...store.keys.values()].find((row) => row.key_alias === alias);

const aliasTaken = (alias: string): Answer =>
  failure(
    400,
    `Key with alias '${alias}' already exists. Unique key aliases across all keys are required.`,
    "bad_request_error",
    "key_alias",
  );

const validationError = (field: string, message: string): Answer => ({
  status: 422,
  body: { detail: [{ type: "value_error", loc: ["body", field], msg: message, input: "…" }] },
});

function expiryOf(duration: string): string {
  const amount = Number.parseInt(duration, 10);
  const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, mo: 2_592_000_000 };
  return new Date(Date.now() + amount * (unitMs[duration.replace(/\d+/, "")] ?? 0)).toISOString();
}

function generateKey(store: Store, body: RecordedRequest["body"]): Answer {
  const parsed = generateKeyRequestSchema.safeParse(body);
  if (!parsed.success) return validationError(String(parsed.error.issues[0]?.path[0]), parsed.error.issues[0]?.message ?? "");
  const {
    key = `sk-${randomBytes(16).toString("base64url")}`,
    key_alias: alias,
    duration,
    team_id: teamId,
    user_id: userId,
    models,
    metadata,
  } = parsed.data;
  if (typeof key !== "string" || !key.startsWith("sk-"))
    return raised(400, "Invalid key format. LiteLLM Virtual Key must start with 'sk-'.");
  if (duration && !durationPattern.test(duration)) return raised(400, `Invalid duration format: ${duration}`);
  if (alias && !keyAliasPattern.test(alias)) return failure(400, `Invalid key_alias '${alias}'.`, "bad_request_error", "key_alias");
  if (alias && aliasHolder(store, alias)) return aliasTaken(alias);
  if (teamId && store.options.checksTeamAtMint && !store.teams.has(teamId))
    return raised(400, `Unable to find team object in database. Team ID: ${teamId}`);
  const token = hashOf(key);
  const existing = store.keys.get(token);
  const now = (store.options.mintedAt?.() ?? new Date()).toISOString();
  const row: KeyRow = existing ?? {
    ...unusedKeyFields,
    token,
    key_name: `sk-...${key.slice(-4)}`,
    key_alias: alias ?? null,
    user_id: userId ?? null,
    team_id: teamId ?? null,
    models: models ?? [],
    metadata: metadata ?? {},
    spend: 0,
    max_budget: body["max_budget"] ?? null,
    blocked: parsed.data.blocked ?? null,
    expires: duration ? expiryOf(duration) : null,
    created_at: now,
    updated_at: now,
  };
  store.keys.set(token, row);
  return { status: 200, body: { ...row, key, token_id: token, duration: duration ?? null } };
}

const keyNotFound = (): Answer => failure(404, "Key not found in database", "not_found_error", "key");

function keyInfo(store: Store, keyOrHash: string): Answer {
  const row = store.keys.get(tokenOf(keyOrHash));
  if (!row) return keyNotFound();
  const { token: _token, ...info } = row;
  return { status: 200, body: { key: keyOrHash, info } };
}

function listKeys(store: Store, query: RecordedRequest["query"]): Answer {
  const size = Number(query["size"] ?? "10");
  const page = Number(query["page"] ?? "1");
  if (!(size >= 1 && size <= 100))
    return {
      status: 422,
      body: {
        detail: [{ type: "less_than_equal", loc: ["query", "size"], msg: "Input should be less than or equal to 100", input: size }],
      },
    };
  const userId = query["user_id"];
  const isMeant = (row: KeyRow): boolean =>
    userId === undefined || (store.options.userFilter === "partial" ? (row.user_id ?? "").includes(userId) : row.user_id === userId);
  const rows = [...store.keys.values()].filter(isMeant).toReversed();
  const shown = rows.slice((page - 1) * size, page * size);
  const keys = query["return_full_object"] === "true" ? shown : shown.map((row) => row.token);
  return { status: 200, body: { keys, total_count: rows.length, current_page: page, total_pages: Math.ceil(rows.length / size) } };
}

function updateKey(store: Store, body: RecordedRequest["body"]): Answer {
  const parsed = updateKeyRequestSchema.safeParse(body);
  if (!parsed.success) return validationError("key", parsed.error.issues[0]?.message ?? "");
  const token = tokenOf(parsed.data.key);
  const row = store.keys.get(token);
  if (!row) return keyNotFound();
  const alias = parsed.data.key_alias;
  const holder = alias ? aliasHolder(store, alias) : undefined;
  if (alias && holder && holder.token !== token) return aliasTaken(alias);
  const updated: KeyRow = { ...row, ...body, token, updated_at: new Date().toISOString() };
  store.keys.set(token, updated);
  return { status: 200, body: { key: parsed.data.key, ...updated } };
}

function deleteKeys(store: Store, body: RecordedRequest["body"]): Answer {
  const { keys = [], key_aliases: aliases = [] } = body as { keys?: readonly string[]; key_aliases?: readonly string[] };
  const tokens = [...keys.map(tokenOf), ...aliases.flatMap((alias) => aliasHolder(store, alias)?.token ?? [])];
  const deleted = tokens.filter((token) => store.keys.delete(token));
  if (deleted.length === 0) return raised(404, "No keys found to delete.");
  if (deleted.length < keys.length)
    return raised(400, "Not all keys passed in were deleted. This probably means you don't have access to delete all the keys passed in.");
  return { status: 200, body: { deleted_keys: keys.length > 0 ? keys : deleted } };
}

function blockKey(store: Store, keyOrHash: string, blocked: boolean): Answer {
  const row = store.keys.get(tokenOf(keyOrHash));
  if (!row) return keyNotFound();
  const updated = { ...row, blocked };
  store.keys.set(row.token, updated);
  return { status: 200, body: updated };
}
