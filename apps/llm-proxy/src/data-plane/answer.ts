import { admit } from "./admit.ts";
import type { Call } from "./call.ts";
import type { DataPlaneDeps } from "./deps.ts";
import { forward } from "./forward.ts";
import { receive } from "./receive.ts";
import { searchOf } from "./search.ts";

/** The road of a request that costs: authenticate, read, route, admit, forward. Throws before anything was answered. */
export async function answerRequest(deps: DataPlaneDeps, call: Call): Promise<void> {
  const { caller, models, facts, requestedAs, routed, upstream, dropUsageChunk, translation } = await receive(deps, call, "answer");
  try {
    const attempt = await admit(deps, call, { caller, models, facts, requestedAs, routed, bytes: upstream.body.length });
    const warnings = deps.limitWarnings.look(caller, attempt.limits);
    const { deployment, dialect } = routed;
    const asked = { choices: facts.choices, search: searchOf(dialect, deployment.upstreamModel, facts) };
    const asksForStream = facts.stream;
    await forward(deps, {
      call,
      attempt,
      warnings,
      models,
      deployment,
      dialect,
      translation,
      upstream,
      asksForStream,
      dropUsageChunk,
      asked,
    });
  } finally {
    upstream.body.release();
  }
}
