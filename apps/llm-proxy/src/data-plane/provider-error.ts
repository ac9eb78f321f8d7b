import { AppError } from "@proliferate/shared/errors";
import type { Deployment } from "./route.ts";
import { isUpstreamTimeout, type UpstreamHead, wasNeverConnected } from "./upstream.ts";

/** The failure of a provider's connection, as the caller is told it. */
export function providerError(failure: unknown): AppError {
  if (isUpstreamTimeout(failure)) return new AppError("provider_timeout", "The provider did not answer in time.", { cause: failure });
  if (wasNeverConnected(failure)) return new AppError("provider_unreachable", "The provider cannot be reached.", { cause: failure });
  return new AppError("provider_stream_broken", "The connection to the provider broke before the end of its answer.", { cause: failure });
}

/** The provider refuses the key that it was shown: ours, so the caller must not be told that its own is wrong. */
export function isKeyRejection(head: UpstreamHead): boolean {
  return head.status === 401 || head.status === 403;
}

export function keyRejected(deployment: Deployment): AppError {
  return new AppError("provider_key_rejected", `The provider refused the gateway's own key (${deployment.apiKeyVariable ?? "litellm_params.api_key"}).`);
}
