import { bodyForProvider } from "../body/request-body.ts";
import { requireModelAllowed } from "@proliferate/services/attempts/admit";
import { AppError } from "@proliferate/shared/errors";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { identityHeaders } from "./error-response.ts";
import { headersForCaller } from "./headers.ts";
import { errorTextForCaller, isKeyRejection, keyRejected, providerError } from "./provider-error.ts";
import { receive, upstreamRequest } from "./receive.ts";
import type { UpstreamHead, UpstreamListener } from "./upstream.ts";

/** A count is one number; an error a sentence. */
const ANSWER_LIMIT_BYTES = 256 * 1024;

/** `count_tokens` is free: authenticated, allowed and forwarded, neither admitted nor metered. Throws before it answers. */
export async function countTokens(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, body, routed } = await receive(deps, call);
  requireModelAllowed(caller, body.facts.model);
  const { bytes: bodyBytes } = bodyForProvider(body, call.dialect, routed.deployment.upstreamModel);
  const gone = new AbortController();
  call.response.once("close", () => gone.abort(new Error("the caller closed the connection")));
  const chunks: Buffer[] = [];
  let bytes = 0;
  let wasSent = false;
  let head: UpstreamHead | undefined;
  const listener: UpstreamListener = {
    onSent: () => (wasSent = true),
    onHead: (answer) => {
      head = answer;
      return (chunk) => {
        bytes += chunk.length;
        if (bytes > ANSWER_LIMIT_BYTES) gone.abort(new AppError("provider_answer_too_large", `The provider's count is larger than ${ANSWER_LIMIT_BYTES / 1024} KB.`));
        else chunks.push(chunk);
      };
    },
  };
  await deps.upstreams.call(upstreamRequest(call, routed, bodyBytes), listener, gone.signal).catch((error: unknown) => {
    throw providerError(error, wasSent);
  });
  if (!head) throw providerError(new Error("no answer"), wasSent);
  if (isKeyRejection(head)) throw keyRejected(routed.deployment);
  const isError = head.status >= 400;
  const answer = isError ? Buffer.from(errorTextForCaller(Buffer.concat(chunks).toString("utf8"), { apiKey: routed.apiKey, requestId: call.requestId })) : Buffer.concat(chunks);
  call.response.writeHead(head.status, { ...headersForCaller(head.headers), ...identityHeaders(call.requestId), "content-length": answer.length });
  call.response.end(answer);
}
