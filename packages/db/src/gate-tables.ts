/** Tables of migrations 0007, 0013 and 0053: the gate, balances, top-ups, outgoing events, what was done by hand. */
import type { ColumnType, Generated } from "kysely";
import type { Amount, AmountWithDefault, Instant, InstantWithDefault, Json } from "./column-types.ts";

/** What an organization may start; the table of states is in billing-gate/README.md. */
export type OrgState = "unconfigured" | "trial" | "active" | "grace" | "exhausted" | "suspended";

/** What becomes of what an account uses: `settled` is sent to the sink, `kept` stays on the ledger (migration 0053). */
export type AccountMode = "settled" | "kept";

/** One row an organization: its state at the gate, its settings, its overdraft. Example: org_a, active, plan paid. */
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
  remote_forgiven_credits: AmountWithDefault;
  remote_next_reset_at: Instant | null;
  remote_plan_id: string | null;
  remote_trial_ends_at: Instant | null;
  reconciled_at: Instant | null;
  reconcile_wanted_at: Instant | null;
  reconcile_retry_at: Instant | null;
  reconcile_problem: string | null;
  /** The account's mode, written with it; the account's is what counts. */
  account_mode: ColumnType<AccountMode, never, never>;
}

/**
 * One row each time that an organization's balance was compared with the sink's: both sums, and what became of the difference. Never
 * changed.
 */
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
  forgiven_credits: AmountWithDefault;
  drift_credits: Amount;
  severity: "none" | "info" | "warn" | "critical";
  cause: "first_sight" | "agrees" | "grant" | "debt_forgiven" | "period_reset" | "sink_took_more" | "sink_took_less";
  reconciled_at: Instant;
}

/** One row a key of a session: the USD that its organization has set aside for it, until the key is released. */
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
  telling_usd: Amount | null;
  telling_until: Instant | null;
  telling_token: Generated<number>;
  held_usd: AmountWithDefault;
}

/** One row an organization that buys packs by itself: which pack, at which balance, how many a month, and the breaker. */
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

/** One row a pack: bought, asked for, or in doubt. Its id follows from organization, month and number, so no pack is bought twice. */
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

/** One row a message to the customer's own systems, with its attempts; unique by `event_key`. */
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

/** One row a decision by hand: who, through what, why, about which thing. */
export interface OperatorActionTable {
  action_id: ColumnType<string, never, never>;
  action: string;
  subject: string;
  org_id: string | null;
  operator: string;
  via: string;
  reason: string | null;
  facts: Json;
  acted_at: InstantWithDefault;
}
