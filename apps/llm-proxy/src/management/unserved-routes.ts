import { AppError } from "@proliferate/shared/errors";
import { matchesPath } from "./route.ts";

/** A part of LiteLLM's management API that is not here. */
interface UnservedRoutes {
  /** `POST /a/{id}` is that route; `/a/*` is every method of everything at and below `/a`. */
  readonly routes: readonly string[];
  /** What somebody who calls them does here, after "not served here: ". */
  readonly instead: string;
}

/**
 * Every management route of LiteLLM 1.104 that this engine does not answer, with what takes its place. They are answered with 501 and
 * their name, so that nobody takes them for a typing error. `test/litellm-management-routes.txt` has all that LiteLLM's own OpenAPI
 * document names, and a test compares; the table of the README says the same.
 */
export const UNSERVED_ROUTES: readonly UnservedRoutes[] = [
  {
    routes: ["POST /key/bulk_update", "POST /team/key/bulk_update", "POST /key/{key}/reset_spend"],
    instead: "POST /key/update changes one key; a budget_duration starts its spend again",
  },
  { routes: ["POST /key/service-account/generate"], instead: "POST /key/generate with a team_id and without a user_id makes such a key" },
  {
    routes: [
      "POST /key/health",
      "GET /callbacks/*",
      "GET /active/callbacks",
      "/get/*",
      "/update/*",
      "/settings/*",
      "/router/*",
      "/fallback/*",
    ],
    instead:
      "there are no callbacks, fallbacks or settings that change at run time; litellm/config.yaml and the environment say what holds",
  },
  {
    routes: [
      "/team/bulk_member_add",
      "/team/{team_id}/member/*",
      "/team/{team_id}/members/*",
      "/team/permissions_list",
      "/team/permissions_update",
      "/team/permissions_bulk_update",
      "/management/v1/teams/*",
    ],
    instead:
      "POST /team/member_add, /team/member_delete and /team/member_update change members one call each; a limit of a user is POST /limit/set",
  },
  {
    routes: [
      "PATCH /team/{team_id}",
      "/team/model/*",
      "GET /team/metadata_schema",
      "/team/{team_id}/callback/*",
      "POST /team/{team_id}/disable_logging",
    ],
    instead: "POST /team/update sets what a team may use",
  },
  {
    routes: [
      "POST /user/bulk_update",
      "POST /user/password/change",
      "GET /user/available_users",
      "/user/daily/activity/*",
      "/management/v1/users/*",
    ],
    instead: "POST /user/update changes one user, who has no password here; GET /spend/logs?user_id= says what was spent",
  },
  {
    routes: [
      "/organization/*",
      "/v2/organization/*",
      "/project/*",
      "/customer/*",
      "/tag/*",
      "/access_group/*",
      "/v1/access_group/*",
      "/v1/unified_access_group/*",
      "/jwt/*",
      "/email/*",
      "/session/*",
      "/sso/*",
    ],
    instead: "who is billed stands at the gateway (/v1/orgs); keys have a team, a user and tags",
  },
  {
    routes: [
      "POST /model/new",
      "POST /model/update",
      "PATCH /model/{model_id}/update",
      "POST /model/delete",
      "POST /model/block",
      "POST /model/unblock",
      "GET /model/deprecations",
      "GET /v1/model/deprecations",
      "POST /model_group/make_public",
      "/model_hub/*",
      "/auto_router/*",
      "/adaptive_router/*",
    ],
    instead: "models stand in litellm/config.yaml, which is read at start",
  },
  {
    routes: ["/credentials/*", "/config_overrides/*", "/config/*"],
    instead: "provider keys are variables of the process, which litellm/config.yaml names",
  },
  {
    routes: [
      "POST /global/spend/reset",
      "GET /global/spend/report",
      "GET /key/spend/report",
      "GET /user/spend/report",
      "GET /team/spend/report",
      "GET /team/spend/by_user",
      "GET /team/daily/activity",
      "GET /team/daily/activity/aggregated",
      "GET /gateway/daily/activity",
      "GET /spend/capture_rate",
      "GET /spend/keys",
      "GET /spend/users",
      "GET /spend/logs/ui",
      "GET /spend/logs/ui/{request_id}",
      "GET /spend/logs/session/ui",
      "POST /global/spend/refresh",
      "GET /global/spend/all_tag_names",
      "POST /global/spend/end_users",
      "GET /global/all_end_users",
      "GET /global/activity/exceptions",
      "GET /global/activity/exceptions/deployment",
      "POST /spend/calculate",
      "GET /provider/budgets",
      "/management/v1/spend_logs/*",
      "/cost/*",
      "/cost_optimization/*",
      "/usage/*",
      "/cloudzero/*",
      "/vantage/*",
    ],
    instead: "GET /global/spend, /global/spend/teams and /spend/logs say what was spent, the gateway's /v1/billing what is billed",
  },
  { routes: ["GET /budget/settings", "GET /management/v1/budgets"], instead: "GET /budget/list and POST /budget/info show budgets" },
  {
    routes: [
      "GET /health",
      "GET /health/services",
      "GET /health/history",
      "GET /health/latest",
      "GET /health/shared-status",
      "GET /health/license",
      "GET /health/readiness/details",
      "GET /health/backlog",
      "GET /health/drain",
      "POST /health/test_connection",
      "/debug/*",
    ],
    instead: "no model is called to see whether it answers, as that is paid for; GET /health/readiness and /metrics say how the proxy is",
  },
  { routes: ["/utils/*"], instead: "POST /v1/messages/count_tokens of the data plane counts tokens" },
  {
    routes: ["GET /routes", "GET /public/*", "POST /upload/logo", "/add/allowed_ip", "/delete/allowed_ip", "/v1/rust_control_plane/*"],
    instead: "the README of the proxy lists its routes",
  },
  {
    routes: [
      "/cache/*",
      "/coordination_redis/*",
      "/guardrails/*",
      "/v2/guardrails/*",
      "POST /apply_guardrail",
      "/policies/*",
      "/policy/*",
      "/prompts/*",
      "/search_tools/*",
      "/vector_store/*",
      "/v1/vector_store/*",
      "/v1/tool/*",
      "/v1/workflows/*",
      "GET /audit/{id}",
      "/compliance/*",
    ],
    instead: "there is no such thing here",
  },
];

/** Throws `not_implemented`, with the name of the route, for one of LiteLLM's that is not here. */
export function refuseUnserved(method: string, path: string): void {
  for (const { routes, instead } of UNSERVED_ROUTES) {
    if (!routes.some((route) => isRoute(route, method, path))) continue;
    throw new AppError("not_implemented", `${method} ${path.slice(0, 128)} is a route of LiteLLM that is not served here: ${instead}.`);
  }
}

function isRoute(route: string, method: string, path: string): boolean {
  const [named, pattern] = route.startsWith("/") ? [method, route] : (route.split(" ") as [string, string]);
  return named === method && matchesPath(pattern, path) !== undefined;
}
