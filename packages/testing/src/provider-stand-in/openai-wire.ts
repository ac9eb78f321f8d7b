import { countAnswerTokens } from "./answer.ts";
import { contentText, type Dialect, listOf, newId, textPieces, type WireAnswer, type WireError } from "./dialect.ts";
import { countTokens, REASONING_TOKENS } from "./served-usage.ts";

const FINISH_REASON = { end: "stop", tool_use: "tool_calls", max_tokens: "length" } as const;

/** OpenAI caches prompts from this size on, in steps. */
const CACHE_MINIMUM_TOKENS = 1_024;
const CACHE_STEP_TOKENS = 128;

/** OpenAI chat completions. */
export const openaiWire: Dialect = {
  validate(request) {
    if (typeof request["model"] !== "string") return invalid("you must provide a model parameter");
    if (!Array.isArray(request["messages"])) return invalid("Missing required parameter: 'messages'.");
    if (request["stream_options"] !== undefined && request["stream_options"] !== null && request["stream"] !== true) {
      return invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.");
    }
    if (!/^[\w.:-]+$/.test(request["model"])) {
      return {
        status: 404,
        type: "invalid_request_error",
        message: `The model \`${request["model"]}\` does not exist or you do not have access to it.`,
      };
    }
    return undefined;
  },

  readConversation(request) {
    const messages = listOf(request["messages"]);
    const last = messages.at(-1);
    const maxTokens = request["max_completion_tokens"] ?? request["max_tokens"];
    const systemMessages = messages.filter((message) => message["role"] === "system" || message["role"] === "developer");
    return {
      systemText: systemMessages.map((message) => contentText(message["content"])).join("\n"),
      lastUserText: contentText(messages.findLast((message) => message["role"] === "user")?.["content"]),
      tools: listOf(request["tools"]).map((tool) => {
        const definition = (tool["function"] ?? {}) as { name?: string; parameters?: unknown };
        return { name: String(definition.name), inputSchema: definition.parameters };
      }),
      toolResult: last?.["role"] === "tool" ? contentText(last["content"]) : undefined,
      maxOutputTokens: typeof maxTokens === "number" ? maxTokens : undefined,
    };
  },

  countUsage(request, answer) {
    const messages = listOf(request["messages"]);
    const lastAnswer = messages.findLastIndex((message) => message["role"] === "assistant");
    const promptTokens = countTokens(request["tools"]) + countTokens(messages);
    const cacheable = lastAnswer < 0 ? 0 : countTokens(messages.slice(0, lastAnswer));
    const cacheReadTokens = promptTokens < CACHE_MINIMUM_TOKENS ? 0 : Math.floor(cacheable / CACHE_STEP_TOKENS) * CACHE_STEP_TOKENS;
    const reasoningTokens = [undefined, null, "none"].includes(request["reasoning_effort"] as string) ? 0 : REASONING_TOKENS;
    return {
      inputTokens: promptTokens - cacheReadTokens,
      cacheReadTokens,
      cacheWrite5mTokens: 0,
      cacheWrite1hTokens: 0,
      outputTokens: countAnswerTokens(answer) + reasoningTokens,
      reasoningTokens,
    };
  },

  newResponseId: () => newId("chatcmpl-", 29),

  responseHeaders: (requestId) => ({
    "x-request-id": requestId,
    "openai-organization": "stand-in",
    "openai-processing-ms": "5",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "4000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "3999000",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "0s",
  }),

  *frames(answer) {
    const withUsage = (answer.request["stream_options"] as { include_usage?: boolean } | undefined)?.include_usage === true;
    const shell = { ...completionShell(answer, "chat.completion.chunk"), system_fingerprint: "fp_standin" };
    // Asked for usage, the API puts `usage: null` on every chunk but the last; not asked, it sends no usage field at all.
    const tail = withUsage ? { usage: null } : {};
    const chunk = (delta: unknown, finish: string | null = null): string =>
      frame({ ...shell, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...tail });
    yield chunk({ role: "assistant", content: "", refusal: null });
    for (const delta of answerDeltas(answer)) yield chunk(delta);
    yield chunk({}, FINISH_REASON[answer.answer.stop]);
    if (withUsage && answer.showUsage) yield frame({ ...shell, choices: [], usage: wireUsage(answer) });
    yield "data: [DONE]\n\n";
  },

  body(answer) {
    const calls = answer.answer.blocks
      .filter((block) => block.type === "tool_use")
      .map((block, index) => ({
        id: toolCallId(answer, index),
        type: "function",
        function: { name: block.name, arguments: JSON.stringify(block.input) },
      }));
    const message = {
      role: "assistant",
      content: visibleText(answer),
      refusal: null,
      annotations: [],
      ...(calls.length > 0 && { tool_calls: calls }),
    };
    const choice = { index: 0, message, logprobs: null, finish_reason: FINISH_REASON[answer.answer.stop] };
    return {
      ...completionShell(answer, "chat.completion"),
      choices: [choice],
      ...(answer.showUsage && { usage: wireUsage(answer) }),
      system_fingerprint: "fp_standin",
    };
  },

  errorBody: (error) => ({ error: { message: error.message, type: error.type, param: null, code: errorCode(error.status) } }),
  errorFrame: (error) => frame({ error: { message: error.message, type: error.type, param: null, code: errorCode(error.status) } }),
  errorType(status) {
    if (status === 429) return "rate_limit_exceeded";
    return status >= 500 ? "server_error" : "invalid_request_error";
  },
};

function errorCode(status: number): string | null {
  const codes: Readonly<Record<number, string>> = { 401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded" };
  return codes[status] ?? null;
}

function wireUsage({ usage }: WireAnswer): unknown {
  const written = usage.cacheWrite5mTokens + usage.cacheWrite1hTokens;
  const promptTokens = usage.inputTokens + usage.cacheReadTokens + written;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: promptTokens + usage.outputTokens,
    prompt_tokens_details: { cached_tokens: usage.cacheReadTokens, audio_tokens: 0, ...(written > 0 && { cache_write_tokens: written }) },
    completion_tokens_details: {
      reasoning_tokens: usage.reasoningTokens,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

function completionShell(answer: WireAnswer, object: string): Readonly<Record<string, unknown>> {
  return { id: answer.responseId, object, created: Math.floor(Date.now() / 1000), model: answer.model, service_tier: "default" };
}

function visibleText(answer: WireAnswer): string | null {
  const text = answer.answer.blocks
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("");
  return text === "" ? null : text;
}

function* answerDeltas(answer: WireAnswer): Iterable<unknown> {
  for (const content of textPieces(visibleText(answer) ?? "")) yield { content };
  for (const [index, block] of answer.answer.blocks.filter((part) => part.type === "tool_use").entries()) {
    yield { tool_calls: [{ index, id: toolCallId(answer, index), type: "function", function: { name: block.name, arguments: "" } }] };
    for (const piece of textPieces(JSON.stringify(block.input))) yield { tool_calls: [{ index, function: { arguments: piece } }] };
  }
}

function toolCallId(answer: WireAnswer, index: number): string {
  return `call_${answer.responseId.slice(-20)}${index}`;
}

function frame(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

function invalid(message: string): WireError {
  return { status: 400, type: "invalid_request_error", message };
}
