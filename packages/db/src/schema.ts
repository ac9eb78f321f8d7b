import type { ColumnType, Generated, JSONColumnType } from "kysely";

/** NUMERIC and DOUBLE: read as exact text, written as text. */
type Amount = ColumnType<string, string, string>;
type AmountWithDefault = ColumnType<string, string | undefined, string>;
type Instant = ColumnType<Date, Date | string, Date | string>;
type InstantWithDefault = ColumnType<Date, Date | string | undefined, Date | string>;
/** BIGINT: read as text. */
type BigInteger = ColumnType<string, string | number | bigint, string | number | bigint>;
type Json = JSONColumnType<Record<string, unknown>, string | undefined, string>;

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

export interface VerificationTokenTable {
  token: string;
  key_name: string | null;
  key_alias: string | null;
  spend: AmountWithDefault;
  expires: Instant | null;
  models: Generated<string[]>;
  user_id: string | null;
  team_id: string | null;
  max_parallel_requests: number | null;
  metadata: Json;
  blocked: boolean | null;
  tpm_limit: BigInteger | null;
  rpm_limit: BigInteger | null;
  max_budget: Amount | null;
  budget_duration: string | null;
  budget_reset_at: Instant | null;
  created_at: InstantWithDefault;
  created_by: string | null;
  updated_at: InstantWithDefault;
  updated_by: string | null;
}

export interface TeamTable {
  team_id: string;
  team_alias: string | null;
  metadata: Json;
  max_budget: Amount | null;
  spend: AmountWithDefault;
  models: Generated<string[]>;
  members_with_roles: JSONColumnType<unknown[], string | undefined, string>;
  tpm_limit: BigInteger | null;
  rpm_limit: BigInteger | null;
  budget_duration: string | null;
  budget_reset_at: Instant | null;
  blocked: Generated<boolean>;
  created_at: InstantWithDefault;
  updated_at: InstantWithDefault;
}

export interface RequestAttemptTable {
  attempt_id: string;
  instance_id: number;
  key_hash: string;
  team_id: string | null;
  user_id: string | null;
  key_alias: string | null;
  dialect: "anthropic" | "openai";
  call_type: string;
  model_group: string;
  model: string;
  provider: string;
  api_base: Generated<string>;
  price_id: string;
  end_user: string | null;
  client_session_id: string | null;
  requester_ip_address: string | null;
  reserved_usd: Amount;
  estimated_input_tokens: number;
  checkpoint: ColumnType<Record<string, unknown> | null, string | null, string | null>;
  started_at: InstantWithDefault;
  checkpointed_at: Instant | null;
}

export interface BudgetCounterTable {
  scope: "key" | "team";
  scope_id: string;
  spend_usd: AmountWithDefault;
  reserved_usd: AmountWithDefault;
}

export interface BillingDeploymentTable {
  singleton: Generated<boolean>;
  deployment_id: Generated<string>;
}

export interface BillingAccountTable {
  org_id: string;
  carry_credits: AmountWithDefault;
  last_batch_sequence: Generated<number>;
  created_at: InstantWithDefault;
  /** Null while the sink was never asked. */
  balance_credits: Amount | null;
}

export type SettlementState = "sealed" | "sending" | "unknown" | "delivered" | "unapplied" | "parked" | "dead";

export interface SettlementBatchTable {
  batch_id: string;
  org_id: string;
  sequence: number;
  idempotency_key: string;
  redrive_count: Generated<number>;
  event_count: number;
  spend_usd: Amount;
  events_credits: Amount;
  carry_in: Amount;
  carry_out: Amount;
  credits: Amount;
  state: Generated<SettlementState>;
  sealed_at: InstantWithDefault;
  lease_token: Generated<number>;
  lease_until: Instant | null;
  next_attempt_at: InstantWithDefault;
  attempt_count: Generated<number>;
  first_sent_at: Instant | null;
  needs_reconcile: Generated<boolean>;
  delivered_at: Instant | null;
  deducted_credits: Amount | null;
  balance_after: Amount | null;
  last_error_code: string | null;
  last_error: string | null;
}

export interface SettlementAttemptTable {
  batch_id: string;
  attempt: number;
  idempotency_key: string;
  started_at: InstantWithDefault;
  finished_at: Instant | null;
  outcome: string | null;
  status: number | null;
  error_code: string | null;
}

export interface BillingEventTable {
  event_id: ColumnType<string, never, never>;
  idempotency_key: string;
  org_id: string;
  event_type: Generated<"llm">;
  request_id: string;
  session_id: string | null;
  key_hash: string | null;
  model: string;
  prompt_tokens: number;
  completion_tokens: number;
  spend_usd: Amount;
  markup: Amount;
  credits_per_usd: Amount;
  credits: Amount;
  occurred_at: Instant;
  recorded_at: InstantWithDefault;
  batch_id: string | null;
}

export type SpendReviewReason = "no_org" | "no_request_id" | "bad_spend";

export interface SpendReviewTable {
  review_key: string;
  request_id: string;
  reason: SpendReviewReason;
  /** The source's own spelling. */
  spend_usd: string;
  model: string;
  occurred_at: Instant;
  first_seen_at: InstantWithDefault;
  resolved_at: Instant | null;
}

export interface WorkerPassTable {
  job: string;
  succeeded_at: InstantWithDefault;
}

export interface GatewaySessionTable {
  session_id: string;
  session_number: ColumnType<string, never, never>;
  org_id: string;
  user_id: string | null;
  state: Generated<"starting" | "active" | "ending" | "ended">;
  key_generation: Generated<number>;
  model: string;
  models: Generated<string[]>;
  key_hash: string | null;
  key_alias: string | null;
  max_budget_usd: Amount | null;
  expires_at: Instant | null;
  metadata: Json;
  created_at: InstantWithDefault;
  ended_at: Instant | null;
}

export type OrgState = "unconfigured" | "trial" | "active" | "grace" | "exhausted" | "suspended";

export interface OrgGateTable {
  org_id: string;
  state: Generated<OrgState>;
  state_since: InstantWithDefault;
  exhausted_by: "grace" | "overdraft" | "balance" | null;
  grace_until: Instant | null;
  suspended_reason: string | null;
  plan: Generated<"paid" | "trial">;
  grace_ms: Generated<number>;
  overdraft_credits: AmountWithDefault;
  min_credits: AmountWithDefault;
  max_sessions: number | null;
  low_balance_credits: AmountWithDefault;
  low_balance_told: Generated<boolean>;
  credits_per_spend_usd: Amount | null;
  remote_granted_credits: Amount | null;
  remote_next_reset_at: Instant | null;
  reconciled_at: Instant | null;
  reconcile_wanted_at: Instant | null;
  reconcile_retry_at: Instant | null;
  reconcile_problem: string | null;
}

export interface BalanceReconciliationTable {
  reconciliation_id: ColumnType<string, never, never>;
  org_id: string;
  trigger: "first_sight" | "scheduled" | "on_demand" | "top_up";
  before_credits: Amount | null;
  remote_credits: Amount;
  unposted_credits: Amount;
  uncertain_credits: Amount;
  after_credits: Amount;
  grant_credits: Amount;
  drift_credits: Amount;
  severity: "none" | "info" | "warn" | "critical";
  cause: "first_sight" | "agrees" | "grant" | "period_reset" | "sink_took_more" | "sink_took_less";
  reconciled_at: Instant;
}

export interface KeyReservationTable {
  session_id: string;
  key_generation: number;
  org_id: string;
  key_hash: string | null;
  budget_usd: Amount;
  applied_usd: Amount;
  spent_usd: AmountWithDefault;
  limit_usd: Amount | null;
  blocked: Generated<boolean>;
  applied_blocked: Generated<boolean>;
  created_at: Instant;
  released_at: Instant | null;
}

export interface TopUpPolicyTable {
  org_id: string;
  enabled: Generated<boolean>;
  plan_id: string;
  pack_credits: Amount;
  threshold_credits: AmountWithDefault;
  max_packs_per_month: Generated<number>;
  min_interval_ms: Generated<number>;
  breaker_until: Instant | null;
  breaker_reason: string | null;
}

export interface TopUpTable {
  top_up_id: string;
  org_id: string;
  month: string;
  pack_number: number;
  idempotency_key: string;
  plan_id: string;
  credits: Amount;
  state: Generated<"charging" | "unknown" | "paid" | "declined" | "needs_review">;
  granted_before: Amount | null;
  lease_until: Instant | null;
  attempt_count: Generated<number>;
  next_attempt_at: Instant;
  first_sent_at: Instant | null;
  started_at: Instant;
  finished_at: Instant | null;
  error_code: string | null;
  error_message: string | null;
}

export interface WebhookEventTable {
  event_id: Generated<string>;
  event_key: string;
  type: string;
  org_id: string;
  payload: Json;
  state: Generated<"pending" | "delivered" | "dead">;
  created_at: Instant;
  lease_until: Instant | null;
  next_attempt_at: Instant;
  attempt_count: Generated<number>;
  last_status: number | null;
  last_error: string | null;
  delivered_at: Instant | null;
}

/** Every table the product's statements name. The first three are LiteLLM's, in its own schema. */
export interface Database {
  LiteLLM_SpendLogs: SpendLogTable;
  LiteLLM_VerificationToken: VerificationTokenTable;
  LiteLLM_TeamTable: TeamTable;
  request_attempts: RequestAttemptTable;
  budget_counters: BudgetCounterTable;
  billing_deployment: BillingDeploymentTable;
  billing_accounts: BillingAccountTable;
  settlement_batches: SettlementBatchTable;
  settlement_attempts: SettlementAttemptTable;
  billing_events: BillingEventTable;
  spend_reviews: SpendReviewTable;
  worker_passes: WorkerPassTable;
  gateway_sessions: GatewaySessionTable;
  org_gates: OrgGateTable;
  balance_reconciliations: BalanceReconciliationTable;
  key_reservations: KeyReservationTable;
  top_up_policies: TopUpPolicyTable;
  top_ups: TopUpTable;
  webhook_events: WebhookEventTable;
}
