import type { CallerRow } from "@proliferate/services/keys/db";
import { readRequestBody, type RequestBody } from "../body/request-body.ts";
import { readBody } from "../http/read-body.ts";
import { authenticate } from "./authenticate.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { headersForProvider } from "./headers.ts";
import { routeModel, type RoutedModel } from "./route.ts";
import type { UpstreamRequest } from "./upstream.ts";

/** What Anthropic takes at most; Claude Code relies on it. */
const BODY_LIMIT_BYTES = 32 * 1024 * 1024;

/** A request that is understood: who sends it, what it says, who serves it. */
export interface Received {
  readonly caller: CallerRow;
  readonly body: RequestBody;
  readonly routed: RoutedModel;
}

/** Authenticates before it reads the body, so that a stranger's 32 MB are never held. Throws what its steps throw. */
export async function receive(deps: DataPlaneDeps, call: Call): Promise<Received> {
  const caller = await authenticate(deps, call.request.headers);
  const body = await readRequestBody(await readBody(call.request, BODY_LIMIT_BYTES), call.dialect, deps.scanTurns);
  return { caller, body, routed: routeModel(deps.models, body.facts.model, call.dialect) };
}

/** The request as the provider gets it: its key instead of the caller's, and the caller's query. */
export function upstreamRequest(call: Call, { deployment, apiKey }: RoutedModel, body: Buffer): UpstreamRequest {
  const base = new URL(deployment.apiBase);
  return {
    origin: base.origin,
    path: `${base.pathname.replace(/\/+$/, "")}${call.upstreamPath}`,
    headers: headersForProvider(call.request.headers, deployment.provider, apiKey),
    body,
  };
}
