import { contentText, type Dialect, listOf, newId, textPieces, type WireAnswer, type WireError } from "./dialect.ts";
import { openaiWire } from "./openai-wire.ts";
import { countAnswerTokens } from "./answer.ts";
import { countTokens, REASONING_TOKENS } from "./served-usage.ts";

/** OpenAI Responses. Answers are not kept: nothing asks for an earlier one. */
export const responsesWire: Dialect = {
  ...openaiWire,
  validate(request): WireError | undefined {
    if (typeof request["model"] !== "string") return invalid("Missing required parameter: 'model'.");
    return request["input"] === undefined ? invalid("Missing required parameter: 'input'.") : undefined;
  },

  readConversation(request) {
    const items = inputItems(request);
    const last = items.at(-1);
    const maxTokens = request["max_output_tokens"];
    return {
      systemText: [request["instructions"], ...items.filter(({ role }) => role === "system" || role === "developer").map(textOf)]
        .filter((text) => typeof text === "string")
        .join("\n"),
      lastUserText: textOf(items.findLast(({ role }) => role === "user") ?? {}),
      tools: listOf(request["tools"])
        .filter(({ type }) => type === "function")
        .map((tool) => ({ name: String(tool["name"]), inputSchema: tool["parameters"] })),
      toolResult: last?.["type"] === "function_call_output" ? contentText(last["output"]) : undefined,
      maxOutputTokens: typeof maxTokens === "number" ? maxTokens : undefined,
    };
  },

  countUsage(request, answer) {
    const effort = (request["reasoning"] as { readonly effort?: string } | null | undefined)?.effort;
    const reasoningTokens = effort === undefined || effort === "none" ? 0 : REASONING_TOKENS;
    return {
      inputTokens: countTokens(request["input"]) + countTokens(request["tools"]) + countTokens(request["instructions"] ?? undefined),
      cacheReadTokens: 0,
      cacheWrite5mTokens: 0,
      cacheWrite1hTokens: 0,
      outputTokens: countAnswerTokens(answer) + reasoningTokens,
      reasoningTokens,
    };
  },

  newResponseId: () => newId("resp_", 48),

  *frames(answer) {
    let sequence = 0;
    const event = (type: string, data: object): string =>
      `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...data })}\n\n`;
    const begun = { ...shell(answer), status: "in_progress", output: [], usage: null };
    yield event("response.created", { response: begun });
    yield event("response.in_progress", { response: begun });
    for (const [index, item] of outputOf(answer).entries()) yield* itemFrames(event, index, item);
    const ended = bodyOf(answer);
    yield event(ended["status"] === "completed" ? "response.completed" : "response.incomplete", { response: ended });
  },

  body: bodyOf,
  errorFrame: ({ type, message }) =>
    `event: error\ndata: ${JSON.stringify({ type: "error", sequence_number: 3, code: type, message, param: null })}\n\n`,
};

type Item = Readonly<Record<string, unknown>>;
type ToEvent = (type: string, data: object) => string;

function* itemFrames(event: ToEvent, output_index: number, item: Item): Iterable<string> {
  const item_id = item["id"];
  const at = { item_id, output_index };
  if (item["type"] === "function_call") {
    yield event("response.output_item.added", { output_index, item: { ...item, status: "in_progress", arguments: "" } });
    for (const delta of textPieces(String(item["arguments"]))) yield event("response.function_call_arguments.delta", { ...at, delta });
    yield event("response.function_call_arguments.done", { ...at, arguments: item["arguments"] });
  } else {
    const [part = {}] = listOf(item["content"]);
    const inPart = { ...at, content_index: 0 };
    yield event("response.output_item.added", { output_index, item: { ...item, status: "in_progress", content: [] } });
    yield event("response.content_part.added", { ...inPart, part: { ...part, text: "" } });
    for (const delta of textPieces(String(part["text"]))) yield event("response.output_text.delta", { ...inPart, delta, logprobs: [] });
    yield event("response.output_text.done", { ...inPart, text: part["text"], logprobs: [] });
    yield event("response.content_part.done", { ...inPart, part });
  }
  yield event("response.output_item.done", { output_index, item });
}

function outputOf({ answer, responseId }: WireAnswer): readonly Item[] {
  const id = responseId.slice(-20);
  return answer.blocks.flatMap((block, index): readonly Item[] => {
    if (block.type === "thinking") return [];
    if (block.type === "tool_use") {
      const call = { name: block.name, arguments: JSON.stringify(block.input), call_id: `call_${id}${index}` };
      return [{ id: `fc_${id}${index}`, type: "function_call", status: "completed", ...call }];
    }
    const part = { type: "output_text", text: block.text, annotations: [], logprobs: [] };
    return [{ id: `msg_${id}${index}`, type: "message", status: "completed", role: "assistant", content: [part] }];
  });
}

function bodyOf(answer: WireAnswer): Item {
  const { usage, showUsage } = answer;
  const isCut = answer.answer.stop === "max_tokens";
  const counts = {
    input_tokens: usage.inputTokens + usage.cacheReadTokens,
    input_tokens_details: { cached_tokens: usage.cacheReadTokens, cache_write_tokens: 0 },
    output_tokens: usage.outputTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.inputTokens + usage.cacheReadTokens + usage.outputTokens,
  };
  return {
    ...shell(answer),
    status: isCut ? "incomplete" : "completed",
    incomplete_details: isCut ? { reason: "max_output_tokens" } : null,
    output: outputOf(answer),
    usage: showUsage ? counts : null,
  };
}

/** What every state of an answer repeats of its request. */
function shell({ responseId, model, request }: WireAnswer): Item {
  return {
    id: responseId,
    object: "response",
    created_at: Math.floor(Date.now() / 1000),
    error: null,
    incomplete_details: null,
    instructions: request["instructions"] ?? null,
    metadata: {},
    model,
    parallel_tool_calls: true,
    service_tier: "default",
    store: request["store"] ?? true,
    temperature: 1,
    text: { format: { type: "text" } },
    tool_choice: "auto",
    tools: request["tools"] ?? [],
    top_p: 1,
  };
}

function inputItems({ input }: Readonly<Record<string, unknown>>): readonly Item[] {
  return typeof input === "string" ? [{ role: "user", content: input }] : listOf(input);
}

function textOf({ content }: Item): string {
  return contentText(content);
}

function invalid(message: string): WireError {
  return { status: 400, type: "invalid_request_error", message };
}
