import { isModelAllowed } from "@proliferate/services/attempts/admit";
import type { CallerRow } from "@proliferate/services/keys/db";
import { AppError } from "@proliferate/shared/errors";
import { readBody } from "../http/read-body.ts";
import { admit } from "./admit.ts";
import { authenticate } from "./authenticate.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { identityHeaders } from "./error-response.ts";
import { forward } from "./forward.ts";
import { headersForCaller, headersForProvider } from "./headers.ts";
import { bodyForProvider, parseRequestBody, type RequestBody } from "./request-body.ts";
import { routeModel, type RoutedModel } from "./route.ts";
import type { UpstreamHead, UpstreamRequest } from "./upstream.ts";

/** What Anthropic takes at most; Claude Code relies on it. */
const BODY_LIMIT_BYTES = 32 * 1024 * 1024;

/** The road of a request that costs: authenticate, read, route, admit, forward. Throws before anything was answered. */
export async function answerRequest(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, body, routed } = await receive(deps, call);
  const { bytes, dropUsageChunk } = bodyForProvider(body, call.dialect, routed.deployment.upstreamModel);
  const attempt = await admit(deps, call, caller.keyHash, body, routed.deployment);
  await forward(deps, { call, attempt, deployment: routed.deployment, upstream: upstreamRequest(call, routed, bytes), dropUsageChunk });
}

/** `count_tokens` is free: authenticated, allowed and forwarded, neither admitted nor metered. */
export async function countTokens(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, body, routed } = await receive(deps, call);
  if (!isModelAllowed(caller, body.model)) throw new AppError("model_not_allowed", `The API key may not use model "${body.model}".`, { param: "model" });
  const { bytes } = bodyForProvider(body, call.dialect, routed.deployment.upstreamModel);
  const caller_ = new AbortController();
  call.response.once("close", () => caller_.abort(new Error("the caller closed the connection")));
  const chunks: Buffer[] = [];
  let head: UpstreamHead | undefined;
  const accept = (answer: UpstreamHead) => {
    head = answer;
    return (chunk: Buffer) => void chunks.push(chunk);
  };
  try {
    await deps.upstreams.call(upstreamRequest(call, routed, bytes), accept, caller_.signal);
  } catch (error) {
    throw new AppError("provider_unreachable", "The provider could not count the tokens.", { cause: error });
  }
  if (!head || head.status === 401 || head.status === 403) {
    throw new AppError("provider_key_rejected", `The provider refused the gateway's own key (${routed.deployment.apiKeyVariable ?? "litellm_params.api_key"}).`);
  }
  const answer = Buffer.concat(chunks);
  call.response.writeHead(head.status, { ...headersForCaller(head.headers), ...identityHeaders(call.requestId), "content-length": answer.length });
  call.response.end(answer);
}

interface Received {
  readonly caller: CallerRow;
  readonly body: RequestBody;
  readonly routed: RoutedModel;
}

async function receive(deps: DataPlaneDeps, call: Call): Promise<Received> {
  const caller = await authenticate(deps, call.request.headers);
  const body = parseRequestBody(await readBody(call.request, BODY_LIMIT_BYTES), call.dialect);
  return { caller, body, routed: routeModel(deps.models, body.model, call.dialect) };
}

function upstreamRequest(call: Call, { deployment, apiKey }: RoutedModel, body: Buffer): UpstreamRequest {
  const base = new URL(deployment.apiBase);
  return {
    origin: base.origin,
    path: `${base.pathname.replace(/\/+$/, "")}${call.upstreamPath}`,
    headers: headersForProvider(call.request.headers, deployment.provider, apiKey),
    body,
  };
}
