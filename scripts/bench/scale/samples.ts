/** What the statements of a request and of a delivery are measured with. */
import type { DatabaseClient } from "@proliferate/db";
import { amountsOf, amountsTaken } from "@proliferate/access/limits";
import { insertAttemptIfFits } from "@proliferate/access/test/internals";
import { type AttemptRecord, claimDueBatches, type ClaimedBatch } from "@proliferate/services/test/internals";
import { findCaller } from "@proliferate/access/keys";
import type { SpendLogRow } from "@proliferate/access/spend-logs";

/** Of an attempt, or of nothing. */
export const NO_ID = "00000000-0000-4000-8000-000000000001";
/** How long the sink remembers a key. */
export const KEY_MEMORY_MS = 79_200_000;

const ASKED = amountsOf({ minimumUsd: "0.01", worstCaseUsd: "0.01", estimatedInputTokens: 1_000, maxOutputTokens: 500 });
/** What that request took. */
export const TAKEN = amountsTaken({ costUsd: "0.001", totalTokens: 1_500, isVoid: false });

/** Admits a request of a live key whose counters are there. */
export async function admit(db: DatabaseClient): Promise<boolean> {
  const caller = await findCaller(db, "key-5");
  if (caller === undefined) throw new Error("key-5 was filled in");
  const attempt = {
    attempt_id: NO_ID,
    instance_id: 1,
    key_hash: "key-5",
    team_id: caller.teamId,
    user_id: caller.userId,
    key_alias: null,
    dialect: "openai",
    call_type: "acompletion",
    model_group: "m",
    model: "m",
    provider: "openai",
    api_base: "",
    price_id: "p",
    end_user: null,
    client_session_id: null,
    requester_ip_address: null,
    estimated_input_tokens: 1_000,
    max_output_tokens: 500,
    hidden_tokens_per_second: 0,
    requested_model: null,
    request_tags: null,
  } as const;
  if (!(await insertAttemptIfFits(db, attempt, caller, { asked: ASKED, runningMs: 0, isLimited: false })))
    throw new Error("a key without a budget is admitted");
  return true;
}

const NOW = new Date();
export const SPEND_ROW: SpendLogRow = {
  request_id: NO_ID,
  call_type: "acompletion",
  api_key: "key-5",
  spend: "0.001",
  total_tokens: 1_500,
  prompt_tokens: 1_000,
  completion_tokens: 500,
  startTime: NOW,
  endTime: NOW,
  request_duration_ms: 2_000,
  completionStartTime: NOW,
  model: "m",
  model_id: null,
  model_group: "m",
  custom_llm_provider: "openai",
  api_base: "",
  user: "session-5",
  metadata: "{}",
  cache_hit: "False",
  cache_key: "",
  request_tags: "[]",
  team_id: "org-5",
  organization_id: null,
  end_user: null,
  requester_ip_address: null,
  session_id: "session-5",
  status: "success",
  litellm_call_id: null,
};

/** Claims one batch of those that are due. */
export async function claimOne(db: DatabaseClient): Promise<ClaimedBatch> {
  const [batch] = await claimDueBatches(db, { limit: 1, limitPerOrg: 1, leaseMs: 60_000, exceptOrgIds: [], keyMemoryMs: KEY_MEMORY_MS });
  if (batch === undefined) throw new Error("batches are due");
  return batch;
}

export const DELIVERED: Omit<AttemptRecord, "attempt"> = {
  outcome: "delivered",
  status: 200,
  errorCode: null,
  errorMessage: null,
  state: "delivered",
  mayBeApplied: true,
  deductedCredits: "1.5",
  balanceAfter: "9998.5",
  retryInMs: 0,
  holdsOrg: false,
  needsReconcile: false,
};
