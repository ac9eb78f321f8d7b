import type { ColumnType, Generated } from "kysely";
import type { Amount, AmountWithDefault, BigInteger, Instant, InstantWithDefault, Json } from "./column-types.ts";
import type {
  AccountMode,
  BalanceReconciliationTable,
  KeyReservationTable,
  OperatorActionTable,
  OrgGateTable,
  TopUpPolicyTable,
  TopUpTable,
  WebhookEventTable,
} from "./gate-tables.ts";
import type {
  BudgetTable,
  DeprecatedVerificationTokenTable,
  ModelAliasTable,
  SpendLogTable,
  TeamTable,
  UserTable,
  VerificationTokenTable,
} from "./litellm-tables.ts";
import type { KeyHashTable, LimitCounterTable, LimitTable, ManagementActionTable, ReservationJson, UserTierTable } from "./limit-tables.ts";
import type {
  GatewaySessionTable,
  ServiceTokenAuditTable,
  ServiceTokenTable,
  SessionEventTable,
  SessionRequestTable,
} from "./session-tables.ts";
import type {
  DeliveryBaselineTable,
  DeliveryFindingTable,
  SettlementCircuitTable,
  SettlementCorrectionTable,
  SettlementFlushRequestTable,
  SettlementOrgBackoffTable,
  SinkCustomerTable,
  SinkShadowResultTable,
} from "./sink-tables.ts";

/**
 * One row a request that may have reached a provider and is not settled yet. Settling removes it and writes the spend row, in one
 * transaction.
 */
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
  /** What it holds in the counters of its other limits; null where that is all. */
  reservations: ColumnType<readonly ReservationJson[] | null, string | null | undefined, string | null>;
  estimated_input_tokens: number;
  /** Over all choices; null = admitted before this column was there. */
  max_output_tokens: number | null;
  hidden_tokens_per_second: number;
  /** As the caller asked for the model, where an alias led elsewhere. */
  requested_model: string | null;
  request_tags: readonly string[] | null;
  checkpoint: ColumnType<Record<string, unknown> | null, string | null, string | null>;
  started_at: InstantWithDefault;
  checkpointed_at: Instant | null;
}

/** One row: the id of this deployment, from which the ids of its batches follow. */
interface BillingDeploymentTable {
  singleton: Generated<boolean>;
  deployment_id: Generated<string>;
  /** What the gates' rates were last brought up to. */
  rates_seen: Amount | null;
}

/** One row an organization: balance, carry, and the event id up to which its batches are sealed. */
interface BillingAccountTable {
  org_id: string;
  carry_credits: AmountWithDefault;
  last_batch_sequence: Generated<number>;
  created_at: InstantWithDefault;
  /** Null while the sink was never asked. */
  balance_credits: Amount | null;
  /** The newest event, and the newest that is in a batch: what lies between is open. */
  last_event_id: ColumnType<string, string | undefined, string>;
  sealed_event_id: ColumnType<string, string | undefined, string>;
  open_event_count: Generated<number>;
  open_credits: AmountWithDefault;
  /** No open event was recorded before it. */
  open_since: InstantWithDefault;
  /** Copied from the org's gate by a trigger; never written here. */
  gate_state: ColumnType<string | null, never, never>;
  gate_plan: ColumnType<string | null, never, never>;
  gate_low_credits: ColumnType<string | null, never, never>;
  gate_low_told: ColumnType<boolean | null, never, never>;
  gate_overdraft_credits: ColumnType<string | null, never, never>;
  mode: ColumnType<AccountMode, never, AccountMode>;
  /** What it used while its mode was `kept`: in no batch, and never open. */
  kept_event_count: ColumnType<string, never, never>;
  kept_credits: ColumnType<string, never, never>;
}

/** Who is billed for a team's usage, where it is not the team itself. */
interface PayerTable {
  team_id: string;
  org_id: string;
  created_at: InstantWithDefault;
}

/** A count is the sum of its rows; see migration 0050. */
interface KeptCountTable {
  subject: "batches" | "gates";
  state: string;
  needs_reconcile: Generated<boolean>;
  count: BigInteger;
  credits: Generated<string>;
  unposted_credits: Generated<string>;
}

/** One row, kept by triggers. */
interface BillingTotalsTable {
  singleton: Generated<boolean>;
  /** Of all accounts. */
  carry_credits: ColumnType<string, never, never>;
}

/** Where a batch stands on its way to the sink; the table of states is in the README of billing. */
export type SettlementState = "sealed" | "sending" | "unknown" | "delivered" | "unapplied" | "parked" | "dead" | "shortfall";

/** One row a batch: a range of one organization's events and the credits that the sink is asked for. Sealed once, never re-cut. */
interface SettlementBatchTable {
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
  /** Its events: those of its org with after_event_id < event_id <= through_event_id. */
  after_event_id: string;
  through_event_id: string;
  /** When the first of them was recorded; -infinity where that is not known. */
  oldest_event_at: InstantWithDefault;
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

/** One row each time that a batch was sent: when, and what the sink answered. */
interface SettlementAttemptTable {
  batch_id: string;
  attempt: number;
  idempotency_key: string;
  started_at: InstantWithDefault;
  finished_at: Instant | null;
  outcome: string | null;
  status: number | null;
  error_code: string | null;
}

/** The ledger: one row a charge or an adjustment, partitioned by month. Only appended to. */
interface BillingEventTable {
  event_id: ColumnType<string, string | undefined, never>;
  idempotency_key: string;
  org_id: string;
  event_type: Generated<"llm" | "adjustment">;
  request_id: string;
  /** Of an adjustment: what it corrects. */
  original_event_id: string | null;
  session_id: string | null;
  key_hash: string | null;
  model: string;
  prompt_tokens: number;
  completion_tokens: number;
  spend_usd: Amount;
  rate_card_id: string | null;
  markup: Amount;
  credits_per_usd: Amount;
  credits: Amount;
  occurred_at: Instant;
  recorded_at: InstantWithDefault;
}

/** Global idempotency of the ledger, over all partitions. */
interface BillingEventKeyTable {
  idempotency_key: string;
  event_id: string;
  recorded_at: Instant;
  /** Null where the event left the ledger before 0012. */
  org_id: string | null;
  source_start: ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
  source_spend: ColumnType<string | null, string | null | undefined, string | null>;
  adjustment_count: Generated<number>;
}

/** One row a period in which spend has one price in credits, for one organization or, with `org_id` null, for all others. */
interface RateCardTable {
  rate_card_id: ColumnType<string, never, never>;
  org_id: string | null;
  markup: Amount;
  credits_per_usd: Amount;
  valid_from: Instant;
  valid_to: InstantWithDefault;
  source: Generated<"operator" | "environment">;
  created_at: InstantWithDefault;
}

/** One row an organization and a retired month: the sums of the events that left the ledger with it. */
interface RetiredEventSumTable {
  partition: string;
  org_id: string;
  events: BigInteger;
  spend_usd: Amount;
  credits: Amount;
  recorded_from: Instant;
  recorded_to: Instant;
  retired_at: InstantWithDefault;
}

/** One row a key that a person gave to an organization, for spend rows that name none. */
interface KeyOwnerTable {
  key_hash: string;
  org_id: string;
  created_at: InstantWithDefault;
}

/** The one row that says how far reading the spend table has come: older rows need no look any more. */
interface SpendSourceMarkTable {
  singleton: Generated<boolean>;
  low_water_mark: Instant;
  swept_at: Instant;
  source_oldest: Instant | null;
}

/** One row a condition that a person must look at; closed when it ends or by hand. */
interface BillingAlertTable {
  alert_key: string;
  kind: "source_rows_deleted" | "partition_missing" | "ledger_gap";
  message: string;
  facts: Json;
  raised_at: InstantWithDefault;
  cleared_at: Instant | null;
}

/** One row an audit of a range: rows compared, rows missing, rows healed. */
interface CompletenessAuditTable {
  audit_id: ColumnType<string, never, never>;
  range_from: Instant;
  range_to: Instant;
  started_at: Instant;
  finished_at: Instant;
  compared_rows: BigInteger;
  gaps: number;
  missing_rows: BigInteger;
  missing_usd: Amount;
  healed_rows: BigInteger;
}

/** Why a spend row cannot be billed as it is. */
export type SpendReviewReason =
  | "no_org"
  | "no_request_id"
  | "bad_spend"
  | "recycled_id"
  | "unlinked_refund"
  | "excess_refund"
  | "zero_price"
  | "unknown_usage"
  | "retired_month";

/** One row a spend row that waits for a person, by its reason; kept after it was settled. */
interface SpendReviewTable {
  review_key: string;
  request_id: string;
  reason: SpendReviewReason;
  /** The source's own spelling. */
  spend_usd: string;
  model: string;
  occurred_at: Instant;
  first_seen_at: InstantWithDefault;
  resolved_at: Instant | null;
  org_id: string | null;
  session_id: string | null;
  key_hash: string | null;
  prompt_tokens: Generated<number>;
  completion_tokens: Generated<number>;
  resolution: "billed" | "dismissed" | null;
}

/** One row a job: when it succeeded last, on whichever worker. */
interface WorkerPassTable {
  job: string;
  succeeded_at: InstantWithDefault;
}

/** Every table the product's statements name. The first three are LiteLLM's, in its own schema. */
export interface Database {
  LiteLLM_SpendLogs: SpendLogTable;
  LiteLLM_VerificationToken: VerificationTokenTable;
  LiteLLM_DeprecatedVerificationToken: DeprecatedVerificationTokenTable;
  LiteLLM_TeamTable: TeamTable;
  LiteLLM_BudgetTable: BudgetTable;
  LiteLLM_ModelTable: ModelAliasTable;
  LiteLLM_UserTable: UserTable;
  request_attempts: RequestAttemptTable;
  key_hashes: KeyHashTable;
  management_actions: ManagementActionTable;
  limits: LimitTable;
  user_tiers: UserTierTable;
  limit_counters: LimitCounterTable;
  billing_deployment: BillingDeploymentTable;
  billing_accounts: BillingAccountTable;
  payers: PayerTable;
  billing_totals: BillingTotalsTable;
  kept_counts: KeptCountTable;
  settlement_batches: SettlementBatchTable;
  settlement_attempts: SettlementAttemptTable;
  settlement_org_backoff: SettlementOrgBackoffTable;
  settlement_circuits: SettlementCircuitTable;
  settlement_flush_requests: SettlementFlushRequestTable;
  sink_customers: SinkCustomerTable;
  sink_shadow_results: SinkShadowResultTable;
  delivery_findings: DeliveryFindingTable;
  delivery_baselines: DeliveryBaselineTable;
  settlement_corrections: SettlementCorrectionTable;
  billing_events: BillingEventTable;
  billing_event_keys: BillingEventKeyTable;
  rate_cards: RateCardTable;
  retired_event_sums: RetiredEventSumTable;
  key_owners: KeyOwnerTable;
  spend_source_marks: SpendSourceMarkTable;
  billing_alerts: BillingAlertTable;
  completeness_audits: CompletenessAuditTable;
  spend_reviews: SpendReviewTable;
  worker_passes: WorkerPassTable;
  gateway_sessions: GatewaySessionTable;
  session_events: SessionEventTable;
  session_requests: SessionRequestTable;
  service_tokens: ServiceTokenTable;
  service_token_audit: ServiceTokenAuditTable;
  org_gates: OrgGateTable;
  balance_reconciliations: BalanceReconciliationTable;
  key_reservations: KeyReservationTable;
  top_up_policies: TopUpPolicyTable;
  top_ups: TopUpTable;
  operator_actions: OperatorActionTable;
  webhook_events: WebhookEventTable;
}
