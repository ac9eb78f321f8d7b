import type { ColumnType, Generated } from "kysely";
import type { Amount, AmountWithDefault, Instant, InstantWithDefault, Json } from "./column-types.ts";

/** Who starts a session's sandbox: the caller himself (`none`), or the gateway. */
export type SessionLauncher = "none" | "local" | "modal";

/** One row a session, from its start on; kept after its end until the retention. */
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
  /** When the last key of an ended session was seen to be gone. */
  keys_gone_at: Instant | null;
  launcher: Generated<SessionLauncher>;
  /** Null exactly where `launcher` is none. */
  sandbox_state: "launching" | "ready" | "pausing" | "paused" | "gone" | null;
  sandbox_step: string | null;
  /** The gateway that works on the session just now, by the process lock that it holds; null while nobody does. */
  instance_id: number | null;
  /** Somebody knows the agent's password, also when the gateway that launches it dies. */
  password_is_kept: Generated<boolean>;
  sandbox_id: string | null;
  agent_url: string | null;
  snapshot_id: string | null;
  repo_url: string | null;
  sandbox_expires_at: Instant | null;
  /** When its agent was last asked for a sign of life. */
  agent_checked_at: Instant | null;
  agent_silent_since: Instant | null;
  agent_restarts: Generated<number>;
  spent_before_key_usd: AmountWithDefault;
  failure_code: string | null;
  failure_message: string | null;
  changed_at: InstantWithDefault;
}

/** One row a step of a session, in order of `event_id`. Nothing to do with a billing event. */
export interface SessionEventTable {
  event_id: ColumnType<string, never, never>;
  session_id: string;
  type: string;
  facts: Json;
  occurred_at: InstantWithDefault;
}

/** One row an Idempotency-Key: the request that it stands for, and its answer, for 24 hours. */
export interface SessionRequestTable {
  org_id: string;
  key_hash: string;
  body_hash: string;
  session_id: string;
  instance_id: number;
  status: number | null;
  sealed_answer: Buffer | null;
  sealed_draft: Buffer | null;
  created_at: InstantWithDefault;
}

/** One row a service token, by the SHA-256 of the token. */
export interface ServiceTokenTable {
  token_id: string;
  name: string;
  token_hash: string;
  previous_hash: string | null;
  previous_valid_until: Instant | null;
  /** Null: every organization. */
  org_id: string | null;
  scopes: string[];
  created_at: InstantWithDefault;
  expires_at: Instant | null;
  revoked_at: Instant | null;
  last_used_at: Instant | null;
}

/** One row a thing that was done to a service token. */
export interface ServiceTokenAuditTable {
  audit_id: ColumnType<string, never, never>;
  token_id: string;
  action: "created" | "rotated" | "revoked";
  request_id: string;
  occurred_at: InstantWithDefault;
}
