import { Anthropic } from "@anthropic-ai/sdk";
import type { CreateSessionResponse } from "@proliferate/shared/contracts";

/** What the caller saw of the request: its answer and how long it took. */
export interface AgentAnswer {
  readonly text: string;
  readonly latencyMs: number;
  readonly firstTokenMs: number | undefined;
}

const SYSTEM_PROMPT = "You are a coding agent in a sandbox. Answer in one short sentence. ".repeat(60);

/** One streamed request with the official Anthropic SDK, with the variables that the session would give a sandbox. */
export async function askWithSdk(session: CreateSessionResponse): Promise<AgentAnswer> {
  const client = new Anthropic({ apiKey: session.api_key, baseURL: session.base_url.replace(/\/v1$/, ""), maxRetries: 0 });
  const startedAt = performance.now();
  let firstTokenMs: number | undefined;
  const stream = client.messages.stream({
    model: session.model,
    max_tokens: 512,
    system: [{ type: "text", text: SYSTEM_PROMPT, cache_control: { type: "ephemeral" } }],
    messages: [{ role: "user", content: "Say hello, and name one thing that you would check first in a new repository." }],
  });
  stream.on("text", () => {
    firstTokenMs ??= performance.now() - startedAt;
  });
  const message = await stream.finalMessage();
  const text = message.content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");
  return {
    text,
    latencyMs: Math.round(performance.now() - startedAt),
    firstTokenMs: firstTokenMs === undefined ? undefined : Math.round(firstTokenMs),
  };
}
