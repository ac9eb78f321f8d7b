import { countAnswerTokens, type Answer, type AnswerBlock } from "./answer.ts";
import { contentText, type Dialect, listOf, newId, textPieces, type WireAnswer, type WireError } from "./dialect.ts";
import { countTokens, REASONING_TOKENS, type ServedUsage } from "./served-usage.ts";

type Request = Readonly<Record<string, unknown>>;

const ERROR_TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  504: "timeout_error",
  529: "overloaded_error",
};

const STOP_REASON = { end: "end_turn", tool_use: "tool_use", max_tokens: "max_tokens" } as const;

/** Anthropic Messages, as of API version 2023-06-01 and later. */
export const anthropicWire: Dialect = {
  validate(request, { headers, route }) {
    if (headers["anthropic-version"] === undefined) return invalid("anthropic-version: header is required");
    for (const field of ["model", "messages", ...(route === "messages" ? ["max_tokens"] : [])])
      if (request[field] === undefined) return invalid(`${field}: Field required`);
    if (!Array.isArray(request["messages"]) || request["messages"].length === 0)
      return invalid("messages: at least one message is required");
    if (!/^claude-[\w.-]+$/.test(String(request["model"])))
      return { status: 404, type: "not_found_error", message: `model: ${String(request["model"])}` };
    return undefined;
  },

  readConversation(request) {
    const messages = listOf(request["messages"]);
    const last = messages.findLast((message) => message["role"] === "user");
    const maxTokens = request["max_tokens"];
    return {
      systemText: contentText(request["system"]),
      lastUserText: contentText(last?.["content"]),
      tools: listOf(request["tools"]).map((tool) => ({ name: String(tool["name"]), inputSchema: tool["input_schema"] })),
      toolResult: toolResultText(last?.["content"]),
      maxOutputTokens: typeof maxTokens === "number" ? maxTokens : undefined,
    };
  },

  countUsage(request, answer) {
    return { ...countInput(request), ...countOutput(request, answer) };
  },

  newResponseId: () => newId("msg_01", 22),

  responseHeaders(requestId) {
    const reset = new Date(Date.now() + 60_000).toISOString().replace(/\.\d+Z$/, "Z");
    const limits = ["requests", "tokens", "input-tokens", "output-tokens"].flatMap((what) => [
      [`anthropic-ratelimit-${what}-limit`, "4000000"],
      [`anthropic-ratelimit-${what}-remaining`, "3999000"],
      [`anthropic-ratelimit-${what}-reset`, reset],
    ]);
    return { "request-id": requestId, "anthropic-organization-id": "00000000-0000-4000-8000-000000000000", ...Object.fromEntries(limits) };
  },

  *frames(answer) {
    const usage = wireUsage(answer);
    const message = { ...messageShell(answer), content: [], stop_reason: null, ...(usage && { usage: { ...usage, output_tokens: 1 } }) };
    yield frame("message_start", { message });
    for (const [index, block] of answer.answer.blocks.entries()) {
      yield frame("content_block_start", { index, content_block: blockShell(block, answer) });
      if (index === 0) yield frame("ping", {});
      for (const delta of blockDeltas(block)) yield frame("content_block_delta", { index, delta });
      yield frame("content_block_stop", { index });
    }
    const { cache_creation: _, service_tier: __, ...cumulative } = usage ?? {};
    const delta = { stop_reason: STOP_REASON[answer.answer.stop], stop_sequence: null };
    yield frame("message_delta", { delta, ...(usage && { usage: cumulative }) });
    yield frame("message_stop", {});
  },

  body(answer) {
    const content = answer.answer.blocks.map((block) => wholeBlock(block, answer));
    const usage = wireUsage(answer);
    return { ...messageShell(answer), content, stop_reason: STOP_REASON[answer.answer.stop], ...(usage && { usage }) };
  },

  errorBody: (error, requestId) => ({ type: "error", error: { type: error.type, message: error.message }, request_id: requestId }),
  errorFrame: (error, requestId) => frame("error", { error: { type: error.type, message: error.message }, request_id: requestId }),
  errorType: (status) => ERROR_TYPES[status] ?? "api_error",
};

function toolResultText(content: unknown): string | undefined {
  const results = listOf(content).filter((block) => block["type"] === "tool_result");
  return results.length === 0 ? undefined : results.map((block) => contentText(block["content"])).join("\n");
}

/** Tokens that `count_tokens` answers: everything on the input side. */
export function countInputTokens(request: Request): number {
  return segments(request).reduce((total, { tokens }) => total + tokens, 0);
}

interface Segment {
  readonly tokens: number;
  /** Set on a block that carries `cache_control`: the prefix up to it is cached for this long. */
  readonly cacheMark: "5m" | "1h" | undefined;
  /** Part of the tools, of the system prompt or of an earlier turn, which a cache would already hold. */
  readonly isOld: boolean;
}

/** The request in the order in which Anthropic caches it: tools, system, messages. */
function segments(request: Request): readonly Segment[] {
  const messages = listOf(request["messages"]);
  const lastAnswer = messages.findLastIndex((message) => message["role"] === "assistant");
  const resumed = lastAnswer >= 0;
  return [
    ...[...listOf(request["tools"]), ...blocksOf(request["system"])].map((block) => segment(block, resumed)),
    ...messages.flatMap((message, index) => blocksOf(message["content"]).map((block) => segment(block, index < lastAnswer))),
  ];
}

function blocksOf(content: unknown): readonly unknown[] {
  return typeof content === "string" ? [{ text: content }] : listOf(content);
}

function segment(block: unknown, isOld: boolean): Segment {
  const mark = (block as { cache_control?: { ttl?: string } }).cache_control;
  return { tokens: countTokens(block), cacheMark: mark && (mark.ttl === "1h" ? "1h" : "5m"), isOld };
}

/**
 * Caching without a memory, so that equal requests are answered equally: what lies before the last `cache_control` is
 * read from the cache if an earlier turn must have put it there, and written by this request otherwise.
 */
function countInput(request: Request): Omit<ServedUsage, "outputTokens" | "reasoningTokens"> {
  const counts = { inputTokens: 0, cacheReadTokens: 0, cacheWrite5mTokens: 0, cacheWrite1hTokens: 0 };
  let mark: Segment["cacheMark"];
  for (const part of segments(request).toReversed()) {
    mark = part.cacheMark ?? mark;
    if (mark === undefined) counts.inputTokens += part.tokens;
    else if (part.isOld) counts.cacheReadTokens += part.tokens;
    else if (mark === "1h") counts.cacheWrite1hTokens += part.tokens;
    else counts.cacheWrite5mTokens += part.tokens;
  }
  return counts;
}

function countOutput(request: Request, answer: Answer): Pick<ServedUsage, "outputTokens" | "reasoningTokens"> {
  const thinking = (request["thinking"] as { type?: string } | undefined)?.type;
  const reasoningTokens = thinking === "enabled" || thinking === "adaptive" ? REASONING_TOKENS : 0;
  return { outputTokens: countAnswerTokens(answer) + reasoningTokens, reasoningTokens };
}

function wireUsage({ usage, showUsage }: WireAnswer): Readonly<Record<string, unknown>> | undefined {
  if (!showUsage) return undefined;
  return {
    input_tokens: usage.inputTokens,
    cache_creation_input_tokens: usage.cacheWrite5mTokens + usage.cacheWrite1hTokens,
    cache_read_input_tokens: usage.cacheReadTokens,
    cache_creation: { ephemeral_5m_input_tokens: usage.cacheWrite5mTokens, ephemeral_1h_input_tokens: usage.cacheWrite1hTokens },
    output_tokens: usage.outputTokens,
    ...(usage.reasoningTokens > 0 && { output_tokens_details: { thinking_tokens: usage.reasoningTokens } }),
    service_tier: "standard",
  };
}

function messageShell(answer: WireAnswer): Readonly<Record<string, unknown>> {
  return { id: answer.responseId, type: "message", role: "assistant", model: answer.model, stop_sequence: null };
}

function wholeBlock(block: AnswerBlock, answer: WireAnswer): unknown {
  if (block.type === "text") return { type: "text", text: block.text };
  if (block.type === "thinking") return { type: "thinking", thinking: block.text, signature: SIGNATURE };
  return { type: "tool_use", id: toolUseId(answer), name: block.name, input: block.input };
}

function blockShell(block: AnswerBlock, answer: WireAnswer): unknown {
  if (block.type === "text") return { type: "text", text: "" };
  if (block.type === "thinking") return { type: "thinking", thinking: "", signature: "" };
  return { type: "tool_use", id: toolUseId(answer), name: block.name, input: {} };
}

function* blockDeltas(block: AnswerBlock): Iterable<unknown> {
  if (block.type === "text") {
    for (const text of textPieces(block.text)) yield { type: "text_delta", text };
  } else if (block.type === "thinking") {
    for (const thinking of textPieces(block.text)) yield { type: "thinking_delta", thinking };
    yield { type: "signature_delta", signature: SIGNATURE };
  } else {
    yield { type: "input_json_delta", partial_json: "" };
    for (const partial_json of textPieces(JSON.stringify(block.input))) yield { type: "input_json_delta", partial_json };
  }
}

const SIGNATURE = Buffer.from("stand-in signature").toString("base64");

/** Derived from the answer's id, so that the stream and the whole answer agree. */
function toolUseId(answer: WireAnswer): string {
  return answer.responseId.replace(/^msg_/, "toolu_");
}

function frame(event: string, data: Readonly<Record<string, unknown>>): string {
  return `event: ${event}\ndata: ${JSON.stringify({ type: event, ...data })}\n\n`;
}

function invalid(message: string): WireError {
  return { status: 400, type: "invalid_request_error", message };
}
