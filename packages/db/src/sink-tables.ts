/** Tables of migration 0006: waiting orgs, circuits, what sinks said beyond one batch. */
import type { Amount, Instant } from "./column-types.ts";

/** One row an organization whose last delivery failed: until when it is left alone. */
export interface SettlementOrgBackoffTable {
  org_id: string;
  failure_count: number;
  retry_at: Instant;
  error_code: string | null;
}

/** One row a sink that failed for every organization: when it is asked again. */
export interface SettlementCircuitTable {
  sink: string;
  open_count: number;
  opened_at: Instant;
  retry_at: Instant;
  error_code: string | null;
}

/** One row an organization that asked to be settled ahead of the regular pass; taken by one worker. */
export interface SettlementFlushRequestTable {
  org_id: string;
  requested_at: Instant;
}

/** One row an organization that a sink knows under another id. */
export interface SinkCustomerTable {
  sink: string;
  org_id: string;
  customer_id: string;
}

/** One row a batch that was also sent to a shadow sink, with both answers. Moves no money. */
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

/** In which way our record of a delivery and the sink's differ. */
export type DeliveryFindingKind = "double_charge" | "lost_deduction" | "wrong_amount" | "unresolved";

/** One row a difference between a delivery of ours and the sink's record; closed when it is gone. */
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

/** One row a deduction or refund that sets right at the sink what it took wrongly; its id makes it happen once. */
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
