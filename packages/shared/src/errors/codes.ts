/**
 * The one table of error codes. Everything a caller can be told stands here; `docs/errors.md` is checked against it.
 *
 * - `status`: HTTP status where the error reaches a caller over HTTP; 0 where it never does (start-up, client library).
 * - `retryable`: whether the same call can succeed later without anybody changing anything. A false one is sent with
 *   `x-should-retry: false`, which the OpenAI and Anthropic SDKs and Claude Code obey.
 * - `anthropicType`, `openaiType`: the `error.type` in the envelope of each dialect. Where a client's
 *   program needs another status or type than these, `refusals.ts` says so.
 * - `fix`: what the reader of the message does about it.
 */
interface ErrorCodeRow {
  readonly status: number;
  readonly retryable: boolean;
  readonly anthropicType: string;
  readonly openaiType: string;
  readonly fix: string;
}

const row = (status: number, retryable: boolean, anthropicType: string, openaiType: string, fix: string): ErrorCodeRow => ({
  status,
  retryable,
  anthropicType,
  openaiType,
  fix,
});

/**
 * Every error there is, by its code: status, whether the same request can succeed later, its type in both dialects, what the reader
 * does. A table is read by its rows: one line each.
 */
// oxfmt-ignore
export const ERROR_CODES = {
  // Who is calling
  missing_api_key: row(401, false, "authentication_error", "invalid_request_error", "Send the virtual key as `x-api-key: KEY`, `x-goog-api-key: KEY` or `Authorization: Bearer KEY`."),
  invalid_api_key: row(401, false, "authentication_error", "invalid_request_error", "Use a key that the gateway minted and that was not revoked."),
  expired_api_key: row(401, false, "authentication_error", "invalid_request_error", "Mint a new key; resume the session to get one."),
  blocked_api_key: row(401, false, "authentication_error", "invalid_request_error", "Ask the operator to unblock the key (`POST /key/unblock`)."),
  admin_key_required: row(403, false, "permission_error", "invalid_request_error", "Call management routes with the master key, on the management port."),
  unauthorized: row(401, false, "authentication_error", "invalid_request_error", "Send `Authorization: Bearer GATEWAY_API_TOKEN`."),
  insufficient_scope: row(403, false, "permission_error", "invalid_request_error", "Use a token that has the scope, and the organization, that the message names; tokens are made with `POST /v1/tokens`."),
  invalid_webhook_signature: row(401, false, "authentication_error", "invalid_request_error", "Set AUTUMN_WEBHOOK_SECRET to the signing secret that Autumn shows for this endpoint, and check the clock."),
  token_not_found: row(404, false, "not_found_error", "invalid_request_error", "Use the id of a service token; `GET /v1/tokens` lists them."),

  // What is asked for
  model_not_found: row(404, false, "not_found_error", "invalid_request_error", "Use a model that `GET /v1/models` lists, or add it to litellm/config.yaml."),
  route_not_allowed: row(403, false, "permission_error", "invalid_request_error", "Use a key that opens this route: its kind does, and its `allowed_routes`, if any, name it."),
  model_not_allowed: row(403, false, "permission_error", "invalid_request_error", "Use a model that the key allows, or mint a key that allows this one."),
  model_dialect_mismatch: row(404, false, "not_found_error", "invalid_request_error", "Call the route that the message names; this model is not served in this dialect."),
  model_unpriced: row(400, false, "invalid_request_error", "invalid_request_error", "Give the model a price in litellm/config.yaml (`model_info`), or regenerate the price table."),
  unjudged_request: row(400, false, "invalid_request_error", "invalid_request_error", "Leave the field out; or the operator sets UNJUDGED_REQUESTS=reserve at the proxy, which reserves for it as the documentation says."),
  invalid_json: row(400, false, "invalid_request_error", "invalid_request_error", "Send one JSON object as the body."),
  not_translatable: row(400, false, "invalid_request_error", "invalid_request_error", "Leave out what the message names, or call a model that is served in your own API."),
  invalid_request: row(400, false, "invalid_request_error", "invalid_request_error", "Correct the field that the message names."),
  upload_timeout: row(408, true, "invalid_request_error", "invalid_request_error", "Send the body without pauses; the operator may lower LLM_PROXY_UPLOAD_BYTES_PER_SECOND."),
  request_too_large: row(413, false, "request_too_large", "invalid_request_error", "Send a smaller body; the message names the limit."),
  not_found: row(404, false, "not_found_error", "invalid_request_error", "Check the path and the port: the proxy's data plane has `GET /v1/models`, the gateway `GET /openapi.json`."),
  websocket_not_served: row(426, false, "invalid_request_error", "invalid_request_error", "Send the request by POST; clients do so by themselves when they read this status."),
  method_not_allowed: row(405, false, "invalid_request_error", "invalid_request_error", "Use the method that the `allow` header names."),
  not_implemented: row(501, false, "api_error", "api_error", "Do what the message says instead; the README of the proxy lists what its management API answers."),

  // Money and limits
  budget_exceeded: row(402, false, "billing_error", "insufficient_quota", "Raise the budget of the key or the team, or mint a new key."),
  too_many_at_once: row(429, true, "rate_limit_error", "rate_limit_exceeded", "Send fewer or smaller requests at a time with this key; the message says what is full."),
  limit_exceeded: row(429, false, "rate_limit_error", "rate_limit_exceeded", "Wait until the limit that the message names begins anew, or ask the operator to raise it (`POST /limit/set`)."),
  rate_limited: row(429, true, "rate_limit_error", "rate_limit_exceeded", "Wait as long as `retry-after` says; send fewer requests at a time."),
  limit_reserved: row(429, true, "rate_limit_error", "rate_limit_exceeded", "Wait for a request in flight to end; what is left of the limit is reserved by it."),
  budget_reserved: row(429, true, "rate_limit_error", "rate_limit_exceeded", "Wait for a request in flight to end; what is left of the budget is reserved by it."),

  // The billing gate
  no_credits: row(402, false, "billing_error", "insufficient_quota", "Add credits to the organization, or end sessions that hold what is left."),
  grace_expired: row(402, false, "billing_error", "insufficient_quota", "Add credits to the organization; its grace period after the last credit is over."),
  billing_not_configured: row(409, false, "billing_error", "invalid_request_error", "Give the organization a customer and a plan with credits in Autumn; its id there is in the message."),
  billing_state_blocked: row(403, false, "billing_error", "invalid_request_error", "Ask the operator to resume the organization; it was suspended by hand."),
  concurrent_session_limit: row(409, false, "invalid_request_error", "invalid_request_error", "End a session of the organization, or raise its max_sessions."),

  // The provider
  provider_key_missing: row(503, false, "api_error", "api_error", "Set the variable that the message names where the proxy runs."),
  provider_key_rejected: row(502, false, "api_error", "api_error", "The operator replaces the provider key that the message names; the caller's own key is good."),
  provider_unreachable: row(502, true, "api_error", "api_error", "Try again; the operator checks api_base and the network."),
  provider_timeout: row(504, true, "timeout_error", "api_error", "Try again; the operator may raise router_settings.timeout."),
  provider_stream_broken: row(502, true, "api_error", "api_error", "Try again; the provider ended the answer before its end."),
  provider_answer_unreadable: row(502, true, "api_error", "api_error", "Try again; the operator checks what stands between the gateway and the provider."),
  provider_stream_missing: row(502, false, "api_error", "api_error", "Ask without `stream`; the operator checks api_base, whose server does not stream."),
  provider_answer_too_large: row(502, false, "api_error", "api_error", "Ask for less; the message names the limit."),

  // The store and ourselves
  store_unavailable: row(503, true, "api_error", "api_error", "Try again; the operator checks PostgreSQL. No key is refused because of it."),
  gateway_busy: row(503, true, "api_error", "api_error", "Try again in a moment; the operator adds processes, or raises the limit that the message names (docs/env.md)."),
  shutting_down: row(503, true, "api_error", "api_error", "Try again; this process is stopping."),
  internal_error: row(500, true, "api_error", "api_error", "Report the request id."),

  // Management API
  reports_busy: row(429, true, "rate_limit_error", "rate_limit_exceeded", "Wait until another export or report has ended; so many may run at once on a gateway."),
  key_not_found: row(404, false, "not_found_error", "not_found_error", "Name an existing key, hash or alias."),
  key_alias_taken: row(400, false, "invalid_request_error", "bad_request_error", "Use another key_alias, or delete the key that holds it."),
  team_not_found: row(404, false, "not_found_error", "not_found_error", "Create the team first (`POST /team/new`)."),
  user_not_found: row(404, false, "not_found_error", "not_found_error", "Make the user first (`POST /user/new`)."),
  user_exists: row(409, false, "invalid_request_error", "bad_request_error", "Use the existing user (`GET /user/list`), or another user_id or user_email."),
  team_exists: row(400, false, "invalid_request_error", "bad_request_error", "Use the existing team, or another team_id."),

  // Control plane
  session_not_found: row(404, false, "not_found_error", "invalid_request_error", "Use the id of a session that was created here."),
  session_conflict: row(409, false, "invalid_request_error", "invalid_request_error", "Choose another session id: an id belongs to one organization, and an ended session stays ended."),
  session_not_ready: row(409, true, "invalid_request_error", "invalid_request_error", "Read the session's state, and wait for the one that the message names."),
  idempotency_conflict: row(409, false, "invalid_request_error", "invalid_request_error", "Send another Idempotency-Key: this one belongs to a request with another body."),
  idempotency_in_progress: row(409, true, "invalid_request_error", "invalid_request_error", "Repeat it in a second: the first request with this Idempotency-Key is still at work."),
  llm_proxy_failed: row(502, true, "api_error", "api_error", "Check LLM_PROXY_ADMIN_URL, LLM_PROXY_MASTER_KEY and that the proxy is up."),

  // @proliferate/shared, talking to the proxy
  proxy_not_configured: row(0, false, "api_error", "api_error", "Set LLM_PROXY_URL and LLM_PROXY_MASTER_KEY."),
  proxy_unreachable: row(0, true, "api_error", "api_error", "Check LLM_PROXY_ADMIN_URL (or LLM_PROXY_URL) and that the proxy is up."),
  proxy_timeout: row(0, true, "api_error", "api_error", "Check the proxy and its database; raise timeoutMs if it is far away."),
  proxy_unauthorized: row(0, false, "api_error", "api_error", "Set LLM_PROXY_MASTER_KEY to the proxy's LITELLM_MASTER_KEY."),
  proxy_rejected: row(0, false, "api_error", "api_error", "Correct the argument that the proxy's message names."),
  proxy_bad_response: row(0, false, "api_error", "api_error", "Check that the URL is a LiteLLM-compatible proxy, not some other server."),
  provider_key_exposure: row(400, false, "invalid_request_error", "invalid_request_error", "Configure the proxy; a provider key never enters a sandbox unless the unsafe option is set."),
  reserved_variable: row(400, false, "invalid_request_error", "invalid_request_error", "Rename the variable; the gateway sets this name itself."),

  // Billing, for operators
  billing_not_found: row(404, false, "not_found_error", "invalid_request_error", "Name a request, event, batch or review of this deployment; `./scripts/billing export` lists them."),
  org_not_found: row(404, false, "not_found_error", "invalid_request_error", "Check the id: `./scripts/billing org list` lists the organizations that billing knows. One that is to be set up before its first session is created explicitly (--create, or create)."),
  account_mode_refused: row(409, false, "invalid_request_error", "invalid_request_error", "Settle what the message names first; an account is kept only when nothing of it is still to be sent."),
  payer_refused: row(409, false, "invalid_request_error", "invalid_request_error", "Name who pays in the end: whoever pays for others pays for itself."),
  redrive_refused: row(409, false, "invalid_request_error", "invalid_request_error", "Do what the message names first; a batch that may have been applied is reconciled, not sent again."),
  decision_refused: row(409, false, "invalid_request_error", "invalid_request_error", "Do what the message names; only what nobody else can find out is decided by hand."),
  top_up_not_found: row(404, false, "not_found_error", "invalid_request_error", "Check the id; `./scripts/billing top-up list` lists packs, `./scripts/billing top-up show` an organization's policy."),
  customer_mapping_conflict: row(409, false, "invalid_request_error", "invalid_request_error", "A customer pays for one organization; list the mappings, and map the other organization elsewhere first."),
  rate_card_invalid: row(400, false, "invalid_request_error", "invalid_request_error", "Correct what the message names; rates are decimal numbers above zero with at most 6 decimals."),
  rate_card_overlap: row(409, false, "invalid_request_error", "invalid_request_error", "List the rate cards, and choose a time that none of the same organization covers."),
  review_not_found: row(404, false, "not_found_error", "invalid_request_error", "Use the key of an open review; `./scripts/billing status` counts them by reason."),
  review_not_billable: row(409, false, "invalid_request_error", "invalid_request_error", "Repair the row at its source, or dismiss the review."),
  sink_not_configured: row(409, false, "invalid_request_error", "invalid_request_error", "Give this process the variables of the sink that the worker has (docs/env.md), or compare with `./scripts/billing reconcile`."),
  partition_not_retirable: row(409, false, "invalid_request_error", "invalid_request_error", "Deliver or settle what the message names first, then retire the month."),

  // Sandboxes
  sandbox_create_failed: row(502, true, "api_error", "api_error", "Try again; what had been created was ended."),
  sandbox_refused: row(502, false, "api_error", "api_error", "The operator corrects what the message names: image, app, region or size of the sandbox."),
  sandbox_exists: row(409, false, "invalid_request_error", "invalid_request_error", "Use the running sandbox of this session, or end it first."),
  sandbox_not_found: row(404, false, "not_found_error", "invalid_request_error", "Launch a new sandbox; this one ended or never was."),
  sandbox_snapshot_not_found: row(404, false, "not_found_error", "invalid_request_error", "Launch without the snapshot; it was deleted or has expired."),
  sandbox_file_not_found: row(404, false, "not_found_error", "invalid_request_error", "Check the path; it is relative to the home directory of the sandbox."),
  sandbox_not_ready: row(504, true, "api_error", "api_error", "Try again; raise readyTimeoutMs when the agent needs longer. The sandbox was ended."),
  sandbox_launch_timeout: row(504, true, "api_error", "api_error", "Try again; a repository whose server stays silent, or an image that is built, may take longer than SANDBOX_LAUNCH_TIMEOUT_MS. The sandbox was ended."),
  sandbox_launch_cancelled: row(409, false, "invalid_request_error", "invalid_request_error", "Launch again; the sandbox was ended as the caller asked."),
  sandbox_exec_failed: row(502, true, "api_error", "api_error", "Try again; check that the program is in the image (locally: installed, or named in OPENCODE_COMMAND; the development stack brings OpenCode with --opencode) and the sandbox still runs."),
  sandbox_exec_timeout: row(504, true, "api_error", "api_error", "Raise timeoutMs, or start the command in the background."),
  sandbox_snapshot_failed: row(502, true, "api_error", "api_error", "Try again; the sandbox runs on unchanged."),
  sandbox_terminate_failed: row(502, true, "api_error", "api_error", "Try again; the sandbox ends by itself at its time-out."),
  sandbox_provider_unauthorized: row(502, false, "api_error", "api_error", "The operator sets MODAL_TOKEN_ID (ak-…) and MODAL_TOKEN_SECRET (as-…) of one token."),
  sandbox_provider_unavailable: row(503, true, "api_error", "api_error", "Try again; the operator checks the launcher's service and its limits."),
  launcher_not_configured: row(400, false, "invalid_request_error", "invalid_request_error", "Use a launcher that the message names; the operator adds one to SANDBOX_LAUNCHERS."),
  repo_unavailable: row(502, true, "api_error", "api_error", "Check the repository's URL, ref and token; the sandbox was ended."),
  agent_unreachable: row(502, true, "api_error", "api_error", "Resume the session, which starts its agent again in a new sandbox with the files of the old one; the event `failed` has its last words."),
  launch_interrupted: row(502, true, "api_error", "api_error", "Start another session; what this one had made was ended."),

  // Settlement
  spend_source_missing: row(0, true, "api_error", "api_error", "Start LiteLLM once, or run the `litellm` migrations; check LITELLM_DB_SCHEMA."),
  autumn_unavailable: row(0, true, "api_error", "api_error", "Wait; the batch is sent again with the same key."),
  autumn_rejected: row(0, false, "api_error", "api_error", "Read the code in the message; correct the customer, feature or key, then redrive the batch."),

  // Start-up
  env_invalid: row(0, false, "api_error", "api_error", "Set the variables that the message names; docs/env.md describes each."),
  config_invalid: row(0, false, "api_error", "api_error", "Correct the line of config.yaml that the message names."),
  engine_lacks_feature: row(0, false, "api_error", "api_error", "Run our engine and set LLM_PROXY_ENGINE=ours, or remove the settings that the message names (docs/engines.md)."),
  gateway_unreachable: row(0, true, "api_error", "api_error", "Check GATEWAY_URL and that the gateway is up."),
  port_in_use: row(0, false, "api_error", "api_error", "Stop the program that holds the port, or set the variable that the message names."),
  database_unreachable: row(0, true, "api_error", "api_error", "Check DATABASE_URL and that PostgreSQL is up."),
  database_pooling: row(0, false, "api_error", "api_error", "Set DATABASE_POOLING=transaction and DATABASE_DIRECT_URL, and give the role its settings with node scripts/migrate.ts --grant ROLE (docs/operations.md, PgBouncer)."),
  database_forbidden: row(0, false, "api_error", "api_error", "Run node scripts/migrate.ts --grant ROLE as the owner of the schemas, with the role that was refused (docs/operations.md, Roles)."),
  redis_unreachable: row(0, true, "api_error", "api_error", "Check REDIS_URL and that Redis is up; unset it to keep the job schedules in PostgreSQL."),
  spool_unusable: row(0, false, "api_error", "api_error", "Let STORE_SPOOL_DIR name a folder on a disk that stays, in which the process may write, or set STORE_ABSENCE=closed."),
  migration_failed: row(0, false, "api_error", "api_error", "Read the message; an applied migration file is never edited."),
  embedded_postgres_failed: row(0, false, "api_error", "api_error", "Read the server's last lines in the message, or set DATABASE_URL."),
} as const satisfies Record<string, ErrorCodeRow>;

/** The name of a row of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES;
