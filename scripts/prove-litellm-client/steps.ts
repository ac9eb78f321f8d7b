/** What the client or the command line is asked to do, and how it must end. */
export interface Step {
  /** Words behind `litellm-proxy`; undefined: a call of the client. */
  readonly cli?: readonly string[];
  /** `keys.list`, of the client's parts. */
  readonly call?: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** 0: it succeeds; else the status of HTTP that it ends with. */
  readonly status: number;
  /** Stands in what it prints or returns. */
  readonly says?: string;
}

/** Everything that LiteLLM 1.104's `litellm-proxy` (`lite`) can ask of a proxy's management API, each command once at least. */
const COMMANDS: readonly Step[] = [
  { cli: ["--version"], status: 0 },
  { cli: ["version"], status: 0 },
  { cli: ["models", "list", "--format", "json"], status: 0, says: "claude-haiku-4-5" },
  { cli: ["models", "list"], status: 0, says: "Available Models" },
  { cli: ["models", "info"], status: 0, says: "anthropic" },
  { cli: ["models", "info", "--columns", "public_model,upstream_model,input_cost,output_cost"], status: 0 },
  { cli: ["models", "info", "--format", "json"], status: 0, says: "input_cost_per_token" },
  { cli: ["models", "get", "--name", "claude-haiku-4-5"], status: 0, says: "claude-haiku-4-5-20251001" },
  { cli: ["models", "get", "--name", "no-such-model"], status: 1 },
  { cli: ["models", "add", "new-model", "-p", "model=openai/gpt-4o"], status: 501 },
  { cli: ["models", "delete", "no-such-id"], status: 501 },
  { cli: ["models", "update", "no-such-id", "-p", "model=openai/gpt-4o"], status: 501 },
  // It hides every error: what it prints is its file.
  { cli: ["models", "import", "apps/llm-proxy/litellm/config.yaml", "--dry-run"], status: 0, says: "would be imported" },
  { cli: ["model-groups", "list"], status: 0, says: "claude-haiku" },
  { cli: ["model-groups", "list", "--format", "json"], status: 0, says: "output_cost_per_token" },
  {
    cli: ["keys", "generate", "--key-alias", "by-cli", "--models", "claude-haiku-4-5", "--duration", "1h", "--team-id", "team-1"],
    status: 0,
    says: "sk-",
  },
  { cli: ["keys", "generate", "--key-alias", "by-cli"], status: 400, says: "already exists" },
  { cli: ["keys", "list"], status: 0, says: "by-cli" },
  { cli: ["keys", "list", "--key-alias", "by-cli", "--return-full-object", "--size", "5", "--page", "1"], status: 0, says: "team-1" },
  { cli: ["keys", "delete", "--key-aliases", "by-cli"], status: 0, says: "deleted" },
  { cli: ["keys", "delete", "--key-aliases", "by-cli"], status: 404 },
  { cli: ["keys", "import", "--source-base-url", "$URL", "--source-api-key", "$KEY", "--dry-run"], status: 0, says: "Found" },
  { cli: ["teams", "list"], status: 0, says: "team-1" },
  { cli: ["teams", "available"], status: 0, says: "No available teams" },
  // It gives the key that it runs with to the team: the master key is no row.
  { cli: ["teams", "assign-key", "--team-id", "team-1"], status: 1, says: "Key not found in database" },
  { cli: ["users", "create", "--email", "cli@example.org", "--alias", "cli", "--max-budget", "3"], status: 0, says: "cli@example.org" },
  { cli: ["users", "create", "--email", "cli@example.org"], status: 409 },
  { cli: ["users", "create", "--email", "other@example.org", "--role", "proxy_admin"], status: 422 },
  { cli: ["users", "list"], status: 0, says: "cli@example.org" },
  { cli: ["users", "get", "--id", "user-1"], status: 0, says: "user-1" },
  { cli: ["users", "get", "--id", "nobody"], status: 404 },
  { cli: ["users", "delete", "user-1"], status: 0, says: "1" },
  { cli: ["credentials", "list"], status: 501 },
  { cli: ["credentials", "get", "mine"], status: 501 },
  { cli: ["credentials", "create", "mine", "--info", "{}", "--values", "{}"], status: 501 },
  { cli: ["credentials", "delete", "mine"], status: 501 },
  { cli: ["encryption", "migrate", "--check"], status: 501 },
  { cli: ["http", "request", "GET", "/v2/team/list"], status: 0, says: "total_pages" },
  { cli: ["http", "request", "POST", "/team/block", "-j", '{"team_id":"nobody"}'], status: 404, says: "Team not found" },
  {
    cli: ["http", "request", "POST", "/team/member_add", "-j", '{"team_id":"team-1","member":{"role":"user","user_id":"user-2"}}'],
    status: 0,
    says: "members_with_roles",
  },
  { cli: ["http", "request", "GET", "/audit"], status: 0, says: "POST /team/member_add" },
  { cli: ["http", "request", "GET", "/organization/list"], status: 501, says: "GET /organization/list" },
];

/** Every method of its Python client. */
const CALLS: readonly Step[] = [
  { call: "http.request", arguments: { method: "GET", uri: "/global/spend" }, status: 0, says: "max_budget" },
  { call: "http.request", arguments: { method: "GET", uri: "/spend/logs" }, status: 0 },
  { call: "http.request", arguments: { method: "POST", uri: "/v2/key/info", json: { keys: ["$VIRTUAL_KEY"] } }, status: 0, says: "user-2" },
  { call: "models.list", status: 0, says: "owned_by" },
  { call: "models.info", status: 0, says: "model_info" },
  { call: "models.get", arguments: { model_name: "gpt-4o-mini" }, status: 0, says: "openai/gpt-4o-mini" },
  { call: "models.new", arguments: { model_name: "x", model_params: { model: "openai/gpt-4o" } }, status: 501 },
  { call: "models.update", arguments: { model_id: "x", model_params: { model: "openai/gpt-4o" } }, status: 501 },
  { call: "models.delete", arguments: { model_id: "x" }, status: 501 },
  { call: "model_groups.info", status: 0, says: "providers" },
  { call: "keys.generate", arguments: { key_alias: "by-client", user_id: "user-2", team_id: "team-1" }, status: 0, says: "sk-" },
  { call: "keys.list", arguments: { user_id: "user-2", return_full_object: true }, status: 0, says: "by-client" },
  { call: "keys.info", arguments: { key: "$VIRTUAL_KEY" }, status: 0, says: "user-2" },
  { call: "keys.info", arguments: { key: "sk-of-nobody-at-all" }, status: 404 },
  { call: "keys.update", arguments: { key: "$VIRTUAL_KEY", team_id: "team-1" }, status: 0, says: "team-1" },
  { call: "keys.delete", arguments: { key_aliases: ["by-client"] }, status: 0, says: "by-client" },
  { call: "teams.list", status: 0, says: "team-1" },
  { call: "teams.list", arguments: { user_id: "default_user_id" }, status: 0, says: "team-1" },
  { call: "teams.list_v2", arguments: { team_alias: "first", sort_by: "team_alias" }, status: 0, says: "team-1" },
  { call: "teams.get_available", status: 0 },
  { call: "users.list_users", status: 0, says: "cli@example.org" },
  { call: "users.create_user", arguments: { user_data: { user_id: "user-3", auto_create_key: false } }, status: 0, says: "user-3" },
  { call: "users.get_user", arguments: { user_id: "user-3" }, status: 0, says: "user_info" },
  { call: "users.get_user_v2", arguments: { user_id: "user-3" }, status: 0, says: "user-3" },
  { call: "users.delete_user", arguments: { user_ids: ["user-3"] }, status: 0, says: "1" },
  { call: "credentials.list", status: 501 },
  { call: "credentials.get", arguments: { credential_name: "x" }, status: 501 },
  { call: "credentials.create", arguments: { credential_name: "x", credential_info: {}, credential_values: {} }, status: 501 },
  { call: "credentials.delete", arguments: { credential_name: "x" }, status: 501 },
  // The calls behind it go on with the former key.
  {
    call: "http.request",
    arguments: { method: "POST", uri: "/key/regenerate", json: { key: "$VIRTUAL_KEY", grace_period: "1h" } },
    status: 0,
    says: "token_id",
  },
  { call: "health.get_readiness", status: 0, says: "healthy" },
  { call: "health.get_server_version", status: 0 },
  {
    call: "chat.completions",
    arguments: { model: "gpt-4o-mini", messages: [{ role: "user", content: "hi" }] },
    status: 0,
    says: "choices",
  },
  {
    call: "chat.completions_stream",
    arguments: { model: "gpt-4o-mini", messages: [{ role: "user", content: "hi" }] },
    status: 0,
    says: "delta",
  },
];

export const STEPS: readonly Step[] = [...COMMANDS, ...CALLS];

/** What else there is, and why it is not run: it asks nothing of a management API. */
export const NOT_RUN: readonly { readonly commands: RegExp; readonly why: string }[] = [
  { commands: /^(login|logout|whoami|auth )/, why: "signs on in a browser; here there is the master key alone" },
  {
    commands: /^(chat|claude|codex|opencode|pi|gemini|cursor|copilot|aider|goose|openclaw|hermes)/,
    why: "starts an agent or a chat in the terminal; these are run by the tests of clients",
  },
  {
    commands: /^(up|down|configure|unconfigure|config |autoroute)/,
    why: "writes settings of this machine, or starts a LiteLLM of its own",
  },
  { commands: /^debug/, why: "reads routes of LiteLLM's page, /spend/logs/session/ui and /spend/logs/ui, which are refused by name" },
];
