import { bodyForProvider } from "../body/request-body.ts";
import { admit } from "./admit.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { forward } from "./forward.ts";
import { receive, upstreamRequest } from "./receive.ts";

/** The road of a request that costs: authenticate, read, route, admit, forward. Throws before anything was answered. */
export async function answerRequest(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, body, routed } = await receive(deps, call);
  const { bytes, dropUsageChunk } = bodyForProvider(body, call.dialect, routed.deployment.upstreamModel);
  const attempt = await admit(deps, call, caller, body.facts, routed.deployment);
  await forward(deps, { call, attempt, deployment: routed.deployment, upstream: upstreamRequest(call, routed, bytes), asksForStream: body.facts.stream, dropUsageChunk });
}
