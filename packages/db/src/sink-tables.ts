/** Tables of migration 0006: waiting orgs, circuits, what sinks said beyond one batch. */
import type { Amount, Instant } from "./column-types.ts";

export interface SettlementOrgBackoffTable {
  org_id: string;
  failure_count: number;
  retry_at: Instant;
  error_code: string | null;
}

export interface SettlementCircuitTable {
  sink: string;
  open_count: number;
  opened_at: Instant;
  retry_at: Instant;
  error_code: string | null;
}

export interface SettlementFlushRequestTable {
  org_id: string;
  requested_at: Instant;
}

export interface SinkCustomerTable {
  sink: string;
  org_id: string;
  customer_id: string;
}

export interface SinkShadowResultTable {
  batch_id: string;
  sink: string;
  idempotency_key: string;
  primary_outcome: string;
  primary_credits: Amount | null;
  shadow_outcome: string;
  shadow_credits: Amount | null;
  shadow_code: string | null;
  recorded_at: Instant;
}

export type DeliveryFindingKind = "double_charge" | "lost_deduction" | "wrong_amount" | "unresolved";

export interface DeliveryFindingTable {
  batch_id: string;
  kind: DeliveryFindingKind;
  org_id: string;
  expected_credits: Amount;
  found_credits: Amount | null;
  message: string;
  first_seen_at: Instant;
  last_seen_at: Instant;
  resolved_at: Instant | null;
  decided_at: Instant | null;
}

/** Of migrations 0025 and 0026. */
export interface DeliveryBaselineTable {
  org_id: string;
  usage_offset: Amount;
  through_sequence: number;
  through_credits: Amount;
  balance_ids: string;
  compared_at: Instant;
}

export interface SettlementCorrectionTable {
  batch_id: string;
  sequence: number;
  org_id: string;
  idempotency_key: string;
  credits: Amount;
  state: "sending" | "applied" | "refused";
  created_at: Instant;
  finished_at: Instant | null;
  error_code: string | null;
}
