import type { CreateSessionResponse } from "@proliferate/shared/contracts";
import type { Screen } from "./screen.ts";
import type { Stack } from "./stack.ts";

/** Ready-to-paste settings for the clients that people have; the key is the session's, good until it expires or its budget is spent. */
export function printSettings(screen: Screen, stack: Stack, session: CreateSessionResponse): void {
  const base = stack.dataPlaneUrl.replace(/\/v1$/, "");
  const key = session.api_key;
  screen.heading(`Ready to paste (key of ${session.session_id}: $5 budget, expires ${session.expires_at})`);
  screen.verbatim(`
  # Claude Code (base URL without /v1)
  export ANTHROPIC_BASE_URL=${base}
  export ANTHROPIC_API_KEY=${key}
  export ANTHROPIC_MODEL=${session.model}
  claude

  # OpenCode (base URL with /v1): opencode.json in your project, and the key by environment
  export ANTHROPIC_API_KEY=${key}
  ${indented({ $schema: "https://opencode.ai/config.json", model: `anthropic/${session.model}`, small_model: "anthropic/claude-haiku-4-5", provider: { anthropic: { options: { baseURL: `${base}/v1` } } } })}

  # Anthropic SDK (TypeScript)
  new Anthropic({
    baseURL: "${base}",
    apiKey: "${key}",
  })

  # OpenAI SDK (TypeScript; base URL with /v1)
  new OpenAI({
    baseURL: "${base}/v1",
    apiKey: "${key}",
  })

  # The gateway's API
  curl -H "authorization: Bearer ${stack.gatewayToken}" \\
    ${stack.gatewayUrl}/v1/orgs/${session.org_id}/usage`);
}

/** JSON over several lines, each as far in as what stands around it. */
const indented = (value: object): string => JSON.stringify(value, undefined, 2).replaceAll("\n", "\n  ");
