/** LiteLLM's own tables, with its names and types; migrations `litellm/`, or LiteLLM's. */
import type { Generated, JSONColumnType } from "kysely";
import type { Amount, AmountWithDefault, BigInteger, Instant, InstantWithDefault, Json } from "./column-types.ts";

/** LiteLLM's table of spend rows: one row a request that ended. LiteLLM's columns, names and types; billing's only source. */
export interface SpendLogTable {
  request_id: string;
  call_type: string;
  api_key: string;
  spend: Amount;
  total_tokens: number;
  prompt_tokens: number;
  completion_tokens: number;
  startTime: Instant;
  endTime: Instant;
  request_duration_ms: number | null;
  completionStartTime: Instant | null;
  model: string;
  model_id: string | null;
  model_group: string | null;
  custom_llm_provider: string | null;
  api_base: string | null;
  user: string | null;
  metadata: Json;
  cache_hit: string | null;
  cache_key: string | null;
  request_tags: JSONColumnType<string[], string | undefined, string>;
  team_id: string | null;
  organization_id: string | null;
  end_user: string | null;
  requester_ip_address: string | null;
  session_id: string | null;
  status: string | null;
  litellm_call_id: string | null;
}

/** LiteLLM's table of virtual keys, by the SHA-256 of the key. The key itself is stored nowhere. */
export interface VerificationTokenTable {
  token: string;
  key_name: string | null;
  key_alias: string | null;
  spend: AmountWithDefault;
  expires: Instant | null;
  /** Every list of LiteLLM's own tables may be NULL. */
  models: Generated<string[]>;
  allowed_cache_controls: Generated<string[]>;
  allowed_routes: Generated<string[]>;
  key_type: string | null;
  aliases: Json;
  budget_id: string | null;
  user_id: string | null;
  team_id: string | null;
  max_parallel_requests: number | null;
  metadata: Json;
  blocked: boolean | null;
  tpm_limit: BigInteger | null;
  rpm_limit: BigInteger | null;
  model_max_budget: Json;
  max_budget: Amount | null;
  budget_duration: string | null;
  budget_reset_at: Instant | null;
  created_at: InstantWithDefault;
  created_by: string | null;
  updated_at: InstantWithDefault;
  updated_by: string | null;
}

/** LiteLLM's table of teams: who holds the budget that its keys share. */
export interface TeamTable {
  team_id: string;
  team_alias: string | null;
  metadata: Json;
  max_budget: Amount | null;
  spend: AmountWithDefault;
  soft_budget: Amount | null;
  model_id: number | null;
  models: Generated<string[]>;
  admins: Generated<string[]>;
  members: Generated<string[]>;
  team_member_permissions: Generated<string[]>;
  members_with_roles: JSONColumnType<unknown[], string | undefined, string>;
  max_parallel_requests: number | null;
  tpm_limit: BigInteger | null;
  rpm_limit: BigInteger | null;
  model_max_budget: Json;
  budget_duration: string | null;
  budget_reset_at: Instant | null;
  blocked: Generated<boolean>;
  created_at: InstantWithDefault;
  updated_at: InstantWithDefault;
}

/** LiteLLM's table of users, as far as it is read here: there is a password beside these. */
export interface UserTable {
  user_id: string;
  user_alias: string | null;
  user_email: string | null;
  user_role: string | null;
  team_id: string | null;
  teams: Generated<string[]>;
  models: Generated<string[]>;
  metadata: Json;
  max_budget: Amount | null;
  budget_duration: string | null;
  budget_reset_at: Instant | null;
  max_parallel_requests: number | null;
  tpm_limit: BigInteger | null;
  rpm_limit: BigInteger | null;
  model_max_budget: Json;
  created_at: InstantWithDefault;
  updated_at: InstantWithDefault;
}

/** LiteLLM's table of budgets that keys share; what a key sets itself goes before what its budget says. */
export interface BudgetTable {
  budget_id: string;
  max_budget: Amount | null;
  soft_budget: Amount | null;
  max_parallel_requests: number | null;
  tpm_limit: BigInteger | null;
  rpm_limit: BigInteger | null;
  model_max_budget: JSONColumnType<Record<string, unknown>, string | null | undefined, string | null> | null;
  budget_duration: string | null;
  budget_reset_at: Instant | null;
  created_at: InstantWithDefault;
  created_by: string;
  updated_at: InstantWithDefault;
  updated_by: string;
}

/** LiteLLM's table of the aliases that a team's `model_id` leads to. */
export interface ModelAliasTable {
  id: Generated<number>;
  aliases: JSONColumnType<Record<string, string>, string | null, string | null> | null;
  created_by: string;
  updated_by: string;
}

/** LiteLLM's table of keys that were regenerated and still work, by the SHA-256 of the former key. */
export interface DeprecatedVerificationTokenTable {
  id: string;
  token: string;
  /** The hash that stands in the table of keys. */
  active_token_id: string;
  revoke_at: Instant;
  created_at: InstantWithDefault;
}
