import { anthropicMessages } from "../dialects/anthropic-messages.ts";
import type { Provider } from "./provider.ts";

/** Anthropic's own API. */
export const anthropic: Provider = {
  name: "anthropic",
  apiBase: "https://api.anthropic.com",
  apiBaseVariable: "ANTHROPIC_API_BASE",
  apiKeyVariable: "ANTHROPIC_API_KEY",
  dialects: [anthropicMessages],
  credentialHeaders: (apiKey) => ({ "x-api-key": apiKey }),
  // The version that a caller is taken to speak when it does not say.
  defaultHeaders: { "anthropic-version": "2023-06-01" },
  accountHeaders: [],
  answerHeaders: { names: [], beginnings: ["anthropic-priority-", "anthropic-fast-"], limitBeginnings: ["anthropic-ratelimit-"] },
};
