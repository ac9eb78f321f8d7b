import { randomUUID } from "node:crypto";
import type { DatabaseClient } from "@proliferate/db";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import type { DecimalText } from "@proliferate/shared/money";
import { findCaller } from "../src/keys/index.ts";
import type { AdmissionRequest, AttemptOutcome } from "../src/requests/index.ts";
import { requireUsable } from "../src/requests/index.ts";

/** What a request of a test asks for; what is left out is small. */
export interface TestRequest {
  /** A UUID; default: a random one. */
  readonly attemptId?: string;
  readonly instanceId?: number;
  readonly model?: string;
  readonly minimumUsd?: DecimalText;
  readonly worstCaseUsd?: DecimalText;
  readonly inputTokens?: number;
  readonly outputTokens?: number;
}

/** A request of a key, as the proxy hands it to admission. Throws what authentication throws. */
export async function requestOf(db: DatabaseClient, keyHash: string, asked: TestRequest = {}): Promise<AdmissionRequest> {
  const { instanceId = 1, model = "claude-haiku-4-5", minimumUsd = "0.001", worstCaseUsd = "0.01" } = asked;
  const { inputTokens = 10, outputTokens = 20 } = asked;
  return {
    caller: requireUsable(await findCaller(db, keyHash)),
    runningMs: () => 0,
    requireNamedAllowed: () => undefined,
    metered: { minimumUsd, worstCaseUsd, estimatedInputTokens: inputTokens, maxOutputTokens: outputTokens },
    attempt: {
      attempt_id: asked.attemptId ?? randomUUID(),
      instance_id: instanceId,
      dialect: "anthropic",
      call_type: "anthropic_messages",
      model_group: model,
      model: `anthropic/${model}`,
      provider: "anthropic",
      api_base: "",
      price_id: `anthropic/${model}`,
      end_user: null,
      client_session_id: null,
      requester_ip_address: null,
      estimated_input_tokens: inputTokens,
      max_output_tokens: outputTokens,
      hidden_tokens_per_second: 0,
      requested_model: null,
      request_tags: null,
    },
  };
}

/** How a request of a test ended: a success of 7 and 5 tokens, unless it says otherwise. */
export function outcomeOf(totalUsd: DecimalText, more: Partial<AttemptOutcome> = {}): AttemptOutcome {
  return {
    report: reportOf({ ...NO_USAGE, inputTokens: 7, outputTokens: 5 }),
    cost: { inputUsd: totalUsd, outputUsd: "0", toolUsd: "0", totalUsd },
    status: "success",
    estimated: false,
    recovered: false,
    providerResponseId: null,
    firstByteAt: null,
    endedAt: new Date(),
    ...more,
  };
}
