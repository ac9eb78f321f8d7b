import type { AdmittedAttempt, AttemptOutcome } from "@proliferate/access/requests";
import { totals } from "@proliferate/metering/usage";
import type { Logger } from "@proliferate/runtime";
import { type AppError, isAppError } from "@proliferate/shared/errors";
import type { Deployment } from "../config/model-table.ts";
import { CallerGone } from "./verdict.ts";

interface FailedAnswer {
  readonly attemptId: string;
  readonly deployment: Deployment;
  /** Of the provider's answer, where one began. */
  readonly status: number | undefined;
  readonly error: AppError;
  /** What it came of. */
  readonly failure: unknown;
}

/** What the provider's side failed of; a caller that left is none. */
export function logFailure(logger: Logger, { attemptId, deployment, status, error, failure }: FailedAnswer): void {
  if (failure instanceof CallerGone) return;
  const cause = isAppError(failure) ? undefined : failure;
  const facts = { attempt: attemptId, provider: deployment.provider.name, status, code: error.code, error: String(cause ?? error) };
  if (error.code === "provider_key_rejected") logger.error({ ...facts, variable: deployment.apiKeyVariable }, "provider.key_rejected");
  else logger.warn(facts, "provider.failed");
}

/** One line for each request; ids, counts and names only. */
export function logSettled(
  logger: Logger,
  attempt: AdmittedAttempt,
  { report, cost, status, estimated, endedAt, error }: AttemptOutcome,
): void {
  const facts = {
    request: attempt.attempt_id,
    team: attempt.team_id,
    model: attempt.model_group,
    status,
    estimated,
    usage: totals(report),
    spendUsd: cost.totalUsd,
    durationMs: endedAt.getTime() - attempt.started_at.getTime(),
  };
  logger.info(error ? { ...facts, code: error.code } : facts, "request.settled");
}
