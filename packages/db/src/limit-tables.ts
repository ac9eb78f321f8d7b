/** Tables of migration 0052: limits, what they count, and what attempts hold of them. */
import type { ColumnType, Generated } from "kysely";
import type { Amount, AmountWithDefault, InstantWithDefault, Json } from "./column-types.ts";

/** What an attempt holds in the counter of one limit; the amount is text, so that no float touches it. */
export interface ReservationJson {
  readonly kind: string;
  readonly id: string;
  readonly meter: string;
  readonly window: string;
  readonly model: string;
  readonly start: string;
  readonly amount: string;
}

/** Of migration 0061: which users have the limits of a tier. */
export interface UserTierTable {
  user_id: string;
  tier: string;
  updated_at: InstantWithDefault;
}

/** What a principal, or each user of a tier, may use by a meter in a window, beside LiteLLM's budgets. */
export interface LimitTable {
  principal_kind: "payer" | "team" | "user" | "key" | "tier";
  principal_id: string;
  meter: string;
  limit_window: string;
  /** '' for all models. */
  model: Generated<string>;
  amount: Amount;
  enforce: Generated<"refuse" | "count">;
  created_at: InstantWithDefault;
  updated_at: InstantWithDefault;
}

/** One row a limit and start of its window: what was used since, and what requests that run have reserved. */
export interface LimitCounterTable {
  principal_kind: "payer" | "team" | "user" | "key";
  principal_id: string;
  meter: Generated<string>;
  limit_window: Generated<string>;
  model: Generated<string>;
  window_start: InstantWithDefault;
  window_end: InstantWithDefault;
  used: AmountWithDefault;
  reserved: AmountWithDefault;
}

/** Of migration 0063: every hash that a key has or had, once it was regenerated; `key_id` is the first of them. */
export interface KeyHashTable {
  key_hash: string;
  key_id: string;
  is_current: boolean;
}

/** Of migration 0064: what was changed by the management API. */
export interface ManagementActionTable {
  action_id: ColumnType<string, never, never>;
  action: string;
  subject_kind: string;
  subject: string;
  operator: string;
  changed_by: string | null;
  remote_address: string | null;
  request_id: string;
  before: Json | null;
  after: Json | null;
  acted_at: InstantWithDefault;
}
