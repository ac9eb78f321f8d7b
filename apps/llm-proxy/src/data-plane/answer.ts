import { admit } from "./admit.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { forward } from "./forward.ts";
import { receive } from "./receive.ts";

/** The road of a request that costs: authenticate, read, route, admit, forward. Throws before anything was answered. */
export async function answerRequest(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, facts, routed, upstream, dropUsageChunk } = await receive(deps, call);
  try {
    const attempt = await admit(deps, call, { caller, facts, deployment: routed.deployment, bytes: upstream.body.length });
    await forward(deps, { call, attempt, deployment: routed.deployment, upstream, asksForStream: facts.stream, dropUsageChunk });
  } finally {
    upstream.body.release();
  }
}
