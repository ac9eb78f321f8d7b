import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MASTER_KEY } from "./proxy-process.ts";
import { startTestStack, type TestStack, untilNothingIsInFlight } from "./test-stack.ts";

/**
 * What a real LiteLLM 1.104 answered to management calls (recorded 2026-11-28, with this app's config.yaml and the same provider), call by
 * call against ours: the status, and each field of the answer. Where ours does something else, a row of the tables below says so and why.
 */
interface RecordedCall {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly status: number;
  readonly answer: unknown;
}

const recorded = (await readFile(new URL("litellm-answers.jsonl", import.meta.url), "utf8"))
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as RecordedCall);

/** Fields that LiteLLM has for what ours does not have. Ours answer without them. */
const NOT_HERE = new Set(
  [
    // Organizations, projects, access groups, guardrails, policies, agents, credentials of other kinds.
    "organization_id object_permission object_permission_id litellm_organization_table projects project_id litellm_project_table agent_id",
    "access_group_ids access_group_models access_group_mcp_server_ids access_group_agent_ids policies allow_team_guardrail_config",
    "default_team_member_models team_memberships jwt_key_mappings router_settings allowed_cache_controls permissions config",
    // Limits that are refused here, and what LiteLLM counts beside `spend`.
    "tpd_limit budget_limits budget_fallbacks model_spend total_spend soft_budget_cooldown",
    // Rotation on a schedule, and when something was done last.
    "settings_updated_at last_active rotation_count auto_rotate rotation_interval last_rotation_at key_rotation_at",
    // What a deployment is able to do, by LiteLLM's own list of models.
    "allow_client_keepalive_override use_in_pass_through use_litellm_proxy use_xai_oauth merge_reasoning_content_in_choices",
    "member_auto_router access_via_team_ids direct_access pricing_overrides prompt_cache_min_tokens configurable_clientside_auth_params",
    "supported_openai_params supported_reasoning_efforts input_cost_per_pixel itpm otpm health_status health_response_time health_checked_at",
    "supports_parallel_function_calling supports_vision supports_web_search supports_url_context supports_reasoning supports_function_calling",
    "supports_fast_mode supports_response_schema supports_tool_choice supports_assistant_prefill supports_prompt_caching supports_pdf_input",
    "supports_native_structured_output supports_tool_search supports_computer_use cache_read_input_token_cost_batches",
    "cache_creation_input_token_cost_batches input_cost_per_token_batches output_cost_per_token_batches",
    // Of a user: sign-on, invitations, a password.
    "sso_user_id password_reset_required last_breach_check_at organization_memberships invitations_created invitations_updated",
    "invitations_user model_max_budget_usage",
    // Of a spend row.
    "billing_agent_id cache_read_input_tokens",
  ].flatMap((line) => line.split(" ")),
);

/** Of these the type is compared: they are of one moment, one key or one process. */
const OF_THE_MOMENT =
  /^(created_at|updated_at|token|token_id|key|key_name|id|api_base|startTime|endTime|completionStartTime|request_duration_ms|request_id|litellm_call_id|model_id|session_id|requester_ip_address|cache_key|call_type|metadata|request_tags|end_user|created_by|updated_by)$/;

interface Difference {
  readonly why: string;
  readonly status?: number;
  /** Fields that are not compared. */
  readonly except?: readonly string[];
  /** Only the status is compared. */
  readonly isOther?: true;
}

const ROWS: Difference = {
  except: ["cache_hit", "request_tags", "created_at", "updated_at"],
  why: "LiteLLM adds the caller's program to the tags, says None of a cache that it does not have, and when the row was written",
};

/** Calls whose answer is compared in part, or whose status is another one here, and why. */
const DIFFERENT: Readonly<Record<string, Difference>> = {
  "a key of it": {
    isOther: true,
    why: "LiteLLM repeats every field of the request's model, also those that are nothing here; the row is compared below",
  },
  "no such model id": { status: 400, why: "the same status and text, in the envelope of all other errors" },
  "activity without days": { status: 422, why: "what is missing is a 422, as everywhere" },
  "spend of teams": { isOther: true, why: "LiteLLM rounds to whole cents here" },
  "spend by tag": { isOther: true, why: "LiteLLM adds the caller's program to the tags, and rounds; ours adds none" },
  "spend by tag, ever": { isOther: true, why: "LiteLLM adds the caller's program to the tags; ours adds none" },
  "teams": { except: ["keys", "litellm_model_table"], why: "LiteLLM answers each team with its keys; ours has GET /key/list?team_id=" },
  "teams of a member": { except: ["keys", "litellm_model_table"], why: "as teams" },
  "key of a deleted team": { status: 404, isOther: true, why: "the key is deleted by both; LiteLLM shows its copy of deleted keys" },
  "key of the user": { isOther: true, why: "as a key of it" },
  "key of a deleted user": { status: 404, isOther: true, why: "deleted by both; LiteLLM keeps a copy of a key that was of a team" },
  "users by what there is not": { status: 422, why: "what is wrong in a query is a 422, as everywhere" },
  "newest rows": ROWS,
  "rows of a key": ROWS,
  "rows of a user": ROWS,
  "rows of days": ROWS,
  "member added": { except: ["updated_users", "updated_team_memberships"], why: "a member need be no user here, and none is made" },
  "members added": { except: ["updated_users", "updated_team_memberships"], why: "as member added" },
  "team with members": {
    except: [
      "user_alias",
      "team_member_budget_table",
      "access_group_details",
      "organization_models",
      "caller_edit_access",
      "team_memberships",
    ],
    why: "what a member is called says /user/info; a member has no budget of the team of its own, a team no access groups and no organization",
  },
  "no such key to regenerate": { status: 404, why: "LiteLLM's paid licence is required; here it needs none" },
  "models": {
    except: ["owned_by"],
    why: "LiteLLM says openai of every model in its list, and its provider of a single one; ours its provider of both",
  },
  "model page": { isOther: true, why: "LiteLLM counts deployments, and begins with another; each entry is compared in model info" },
};

let stack: TestStack;
const said: Record<string, string> = {};
const answers = new Map<string, { readonly status: number; readonly answer: unknown }>();

beforeAll(async () => {
  stack = await startTestStack();
  const day = new Date();
  said["today"] = day.toISOString().slice(0, 10);
  said["tomorrow"] = new Date(day.getTime() + 86_400_000).toISOString().slice(0, 10);
  for (const call of recorded) answers.set(call.name, await play(call));
});
afterAll(() => stack.stop());

/** Longer names first: `$key` begins `$keys`. */
const spoken = (text: string): string =>
  Object.entries(said)
    .toSorted(([one], [other]) => other.length - one.length)
    .reduce((all, [name, value]) => all.replaceAll(`$${name}`, value), text);

async function play({ name, method, path, body }: RecordedCall): Promise<{ readonly status: number; readonly answer: unknown }> {
  const isCall = path === "/v1/messages";
  const key = isCall ? said["key"] : name === "a wrong key" ? "sk-wrong-key-of-nobody" : MASTER_KEY;
  const response = await fetch(`${isCall ? stack.proxy.url : stack.proxy.adminUrl}${spoken(path)}`, {
    method,
    headers: { "authorization": `Bearer ${key}`, "content-type": "application/json", "anthropic-version": "2023-06-01" },
    ...(body !== undefined && { body: spoken(JSON.stringify(body)) }),
  });
  const answer = (await response.json()) as Record<string, string>;
  if (name === "a key of it") Object.assign(said, { key: answer["key"], token: answer["token"] });
  if (name === "key of the user") Object.assign(said, { ukey: answer["key"], utoken: answer["token"] });
  if (isCall) await untilNothingIsInFlight(stack);
  return { status: response.status, answer };
}

/** What of LiteLLM's answer ours says otherwise or not at all, by the place of the field. */
function differences(theirs: unknown, ours: unknown, except: ReadonlySet<string>, place = ""): readonly string[] {
  const name = place.split(".").at(-1) ?? "";
  if (Array.isArray(theirs)) {
    if (!Array.isArray(ours)) return [`${place}: no list`];
    return theirs.flatMap((item, index) => differences(item, findLike(item, ours, index), except, `${place}.${index}`));
  }
  if (typeof theirs === "object" && theirs !== null) {
    if (OF_THE_MOMENT.test(name)) return typeof ours === "object" ? [] : [`${place}: no object`];
    if (typeof ours !== "object" || ours === null) return [`${place}: no object`];
    return Object.entries(theirs).flatMap(([field, value]) => {
      const ourField = spoken(field);
      if (!Object.hasOwn(ours, ourField) && NOT_HERE.has(field)) return [];
      if (except.has(field)) return [];
      if (!Object.hasOwn(ours, ourField)) return [`${place}.${field}: missing`];
      return differences(value, (ours as Record<string, unknown>)[ourField], except, `${place}.${ourField}`);
    });
  }
  if (OF_THE_MOMENT.test(name)) return theirs === null || typeof theirs === typeof ours ? [] : [`${place}: ${typeof ours}`];
  if (typeof theirs === "string" && typeof ours === "string" && Date.parse(theirs) === Date.parse(ours)) return [];
  const expected = typeof theirs === "string" ? spoken(theirs) : theirs;
  return Object.is(expected, ours) ? [] : [`${place}: ${JSON.stringify(ours)} for ${JSON.stringify(expected)}`];
}

/** Models are found by their names, everything else by its place. */
function findLike(item: unknown, list: readonly unknown[], index: number): unknown {
  for (const name of ["id", "model_name", "model_group"] as const) {
    const wanted = (item as Record<string, unknown> | null)?.[name];
    if (typeof wanted !== "string") continue;
    return list.find((one) => (one as Record<string, unknown>)[name] === wanted) ?? list[index];
  }
  return list[index];
}

/** What the body says beside the status: its code, or where the request is wrong. */
function codeIn(answer: unknown): string | undefined {
  const { error, detail } = answer as {
    readonly error?: { readonly code: string; readonly message: string };
    readonly detail?: { readonly loc: string[] }[];
  };
  if (detail?.every(({ loc }) => loc.length > 1)) return "422";
  return error?.message === "" ? undefined : error?.code;
}

describe("issue 12: answers of the management API, field by field as LiteLLM's", () => {
  test.each(recorded.filter(({ status }) => status === 200).map((call) => [call.name, call] as const))("%s", (name, call) => {
    const { status, answer } = answers.get(name) ?? { status: 0, answer: null };

    expect(status).toBe(DIFFERENT[name]?.status ?? 200);
    const { isOther = call.path === "/v1/messages", except = [] } = DIFFERENT[name] ?? {};
    expect(isOther ? [] : differences(call.answer, answer, new Set(except))).toEqual([]);
  });

  test.each(recorded.filter(({ status }) => status !== 200).map((call) => [call.name, call] as const))("refused: %s", (name, call) => {
    const { status, answer } = answers.get(name) ?? { status: 0, answer: null };

    expect(status).toBe(DIFFERENT[name]?.status ?? call.status);
    expect(codeIn(answer)).toBe(String(status));
  });

  test("every row that excuses a difference is of a recorded call", () => {
    const names = recorded.map(({ name }) => name);

    expect(Object.keys(DIFFERENT).filter((name) => !names.includes(name))).toEqual([]);
  });
});
