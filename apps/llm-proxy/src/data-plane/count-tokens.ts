import { requireModelAllowed } from "@proliferate/access/principals";
import { requireLimitsLeft } from "@proliferate/access/requests";
import { AppError } from "@proliferate/shared/errors";
import { type Translation, translationHeaders } from "../translation/translated-answer.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { identityHeaders } from "./error-response.ts";
import { headersForCaller } from "./headers.ts";
import { errorTextForCaller, isKeyRejection, keyRejected, providerError } from "./provider-error.ts";
import { receive, type Received } from "./receive.ts";
import type { UpstreamHead, UpstreamListener } from "./upstream.ts";

/** A count is one number; an error a sentence. */
const ANSWER_LIMIT_BYTES = 256 * 1024;

/**
 * `count_tokens` is free: authenticated, allowed and forwarded, neither admitted nor metered. But it uses up the provider's rate
 * limit that all share: a key whose budget is spent has none, and no key has more than its share at once. Throws before it answers.
 */
export async function countTokens(deps: DataPlaneDeps, call: Call): Promise<void> {
  const received = await receive(deps, call, "count_tokens");
  const { caller, upstream } = received;
  try {
    requireModelAllowed(caller, { ...received.routed.deployment, requestedAs: received.requestedAs });
    await requireLimitsLeft(deps.db, caller);
    if (received.translation) return sendEstimate(call, received, received.translation);
    await deps.counts.run(caller.keyHash, async () => forwardCount(deps, call, received));
  } finally {
    upstream.body.release();
  }
}

/**
 * No other API counts, and nobody here has a model's own tokens: what is answered is the estimate that admission goes by, four bytes a token and
 * media by their measure, and a header says that it is one.
 */
function sendEstimate({ response, requestId }: Call, { facts }: Received, translation: Translation): void {
  const bytes = Buffer.from(JSON.stringify({ input_tokens: facts.estimatedInputTokens }));
  response.writeHead(200, {
    ...identityHeaders(requestId),
    ...translationHeaders(translation, false),
    "x-gateway-estimated": "input_tokens",
    "content-length": bytes.length,
  });
  response.end(bytes);
}

async function forwardCount(deps: DataPlaneDeps, call: Call, { routed, upstream }: Received): Promise<void> {
  const gone = new AbortController();
  call.response.once("close", () => {
    // Every answer closes; only one that is not over is given up.
    if (!call.response.writableFinished) gone.abort(new Error("the caller closed the connection"));
  });
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
        if (bytes > ANSWER_LIMIT_BYTES)
          gone.abort(new AppError("provider_answer_too_large", `The provider's count is larger than ${ANSWER_LIMIT_BYTES / 1024} KB.`));
        else chunks.push(chunk);
      };
    },
  };
  await deps.upstreams.call(upstream, listener, gone.signal).catch((error: unknown) => {
    throw providerError(error, wasSent);
  });
  if (!head) throw providerError(new Error("no answer"), wasSent);
  if (isKeyRejection(head)) throw keyRejected(routed.deployment);
  const isError = head.status >= 400;
  const answer = isError
    ? Buffer.from(errorTextForCaller(Buffer.concat(chunks).toString("utf8"), { apiKey: routed.apiKey, requestId: call.requestId }))
    : Buffer.concat(chunks);
  call.response.writeHead(head.status, {
    ...headersForCaller(head.headers),
    ...identityHeaders(call.requestId),
    "content-length": answer.length,
  });
  call.response.end(answer);
}
