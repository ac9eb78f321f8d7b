import { requireModelAllowed } from "@proliferate/services/attempts/admit";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { identityHeaders } from "./error-response.ts";
import { headersForCaller } from "./headers.ts";
import { isKeyRejection, keyRejected, providerError } from "./provider-error.ts";
import { receive, upstreamRequest } from "./receive.ts";
import { bodyForProvider } from "./request-body.ts";
import type { UpstreamHead } from "./upstream.ts";

/** `count_tokens` is free: authenticated, allowed and forwarded, neither admitted nor metered. Throws before it answers. */
export async function countTokens(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, body, routed } = await receive(deps, call);
  requireModelAllowed(caller, body.facts.model);
  const { bytes } = bodyForProvider(body, call.dialect, routed.deployment.upstreamModel);
  const gone = new AbortController();
  call.response.once("close", () => gone.abort(new Error("the caller closed the connection")));
  const chunks: Buffer[] = [];
  let head: UpstreamHead | undefined;
  const accept = (answer: UpstreamHead): ((chunk: Buffer) => void) => {
    head = answer;
    return (chunk) => void chunks.push(chunk);
  };
  await deps.upstreams.call(upstreamRequest(call, routed, bytes), accept, gone.signal).catch((error: unknown) => {
    throw providerError(error);
  });
  if (!head) throw providerError(new Error("no answer"));
  if (isKeyRejection(head)) throw keyRejected(routed.deployment);
  const answer = Buffer.concat(chunks);
  call.response.writeHead(head.status, { ...headersForCaller(head.headers), ...identityHeaders(call.requestId), "content-length": answer.length });
  call.response.end(answer);
}
