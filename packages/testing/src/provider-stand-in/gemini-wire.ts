import { countAnswerTokens } from "./answer.ts";
import { type Dialect, listOf, newId, textPieces, type WireAnswer, type WireError } from "./dialect.ts";
import { countTokens, REASONING_TOKENS } from "./served-usage.ts";

const FINISH_REASON = { end: "STOP", tool_use: "STOP", max_tokens: "MAX_TOKENS" } as const;
const STATUS_NAMES: Readonly<Record<number, string>> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  500: "INTERNAL",
  503: "UNAVAILABLE",
  529: "UNAVAILABLE",
};

/** What the path of a request to Gemini says; undefined for every other path. */
export function geminiPath(target: string): { readonly model: string; readonly isStream: boolean; readonly isCount: boolean } | undefined {
  const [, model, method] =
    /^\/v1(?:beta)?\/models\/([^/:?]+):(generateContent|streamGenerateContent|countTokens)(?:\?|$)/.exec(target) ?? [];
  if (model === undefined) return undefined;
  return { model: decodeURIComponent(model), isStream: method === "streamGenerateContent", isCount: method === "countTokens" };
}

type Json = Readonly<Record<string, unknown>>;

/** Google's Gemini. Each chunk of a stream has the counts so far; nothing ends it but the end of the body. */
export const geminiWire: Dialect = {
  validate(request, { path, stream }): WireError | undefined {
    if (stream && !/[?&]alt=sse(?:&|$)/.test(path)) return invalid("The stand-in streams events only: ?alt=sse.");
    return Array.isArray(request["contents"]) && request["contents"].length > 0
      ? undefined
      : invalid("* GenerateContentRequest.contents: contents is not specified");
  },

  readConversation(request) {
    const contents = listOf(request["contents"]);
    const config = objectOf(request["generationConfig"]);
    const results = partsOf(contents.at(-1)).flatMap(({ functionResponse }) => (functionResponse ? [objectOf(functionResponse)] : []));
    const maxTokens = config["maxOutputTokens"];
    return {
      systemText: textOf(objectOf(request["systemInstruction"])),
      lastUserText: textOf(contents.findLast(({ role }) => role !== "model")),
      tools: listOf(request["tools"])
        .flatMap((tool) => listOf(tool["functionDeclarations"]))
        .map((tool) => ({ name: String(tool["name"]), inputSchema: tool["parametersJsonSchema"] ?? tool["parameters"] })),
      toolResult: results.length === 0 ? undefined : results.map(({ response }) => JSON.stringify(response ?? {})).join("\n"),
      maxOutputTokens: typeof maxTokens === "number" ? maxTokens : undefined,
    };
  },

  countUsage(request, answer) {
    const { thinkingBudget } = objectOf(objectOf(request["generationConfig"])["thinkingConfig"]);
    const reasoningTokens = thinkingBudget === undefined || thinkingBudget === 0 ? 0 : REASONING_TOKENS;
    return {
      inputTokens: countGeminiTokens(request),
      cacheReadTokens: 0,
      cacheWrite5mTokens: 0,
      cacheWrite1hTokens: 0,
      outputTokens: countAnswerTokens(answer) + reasoningTokens,
      reasoningTokens,
    };
  },

  newResponseId: () => newId("", 22),
  responseHeaders: () => ({ "server": "scaffolding on HTTPServer2", "server-timing": "gfet4t7; dur=5", "x-frame-options": "SAMEORIGIN" }),

  *frames(answer) {
    const pieces = partsOfAnswer(answer).flatMap((part): readonly Json[] =>
      typeof part["text"] === "string" ? [...textPieces(part["text"])].map((text) => ({ ...part, text })) : [part],
    );
    const frame = (parts: readonly Json[], finishReason?: string): string => {
      const isLast = finishReason !== undefined;
      const candidate = { content: { parts, role: "model" }, ...(isLast && { finishReason }), index: 0 };
      return `data: ${JSON.stringify({ candidates: [candidate], ...usageOf(answer, isLast), ...shellOf(answer) })}\r\n\r\n`;
    };
    for (const piece of pieces.slice(0, -1)) yield frame([piece]);
    yield frame(pieces.slice(-1), FINISH_REASON[answer.answer.stop]);
  },

  body(answer) {
    const content = { parts: partsOfAnswer(answer), role: "model" };
    return {
      candidates: [{ content, finishReason: FINISH_REASON[answer.answer.stop], index: 0 }],
      ...usageOf(answer, true),
      ...shellOf(answer),
    };
  },

  errorBody,
  errorFrame: (error) => `data: ${JSON.stringify(errorBody(error))}\r\n\r\n`,
  errorType: (status) => STATUS_NAMES[status] ?? "UNKNOWN",
};

/** What a prompt counts. */
export function countGeminiTokens(request: Json): number {
  return countTokens(request["contents"]) + countTokens(request["tools"]) + countTokens(request["systemInstruction"]);
}

function usageOf({ usage, showUsage }: WireAnswer, isLast: boolean): Json {
  if (!showUsage) return {};
  const prompt = usage.inputTokens + usage.cacheReadTokens;
  const candidates = isLast ? usage.outputTokens - usage.reasoningTokens : 0;
  return {
    usageMetadata: {
      promptTokenCount: prompt,
      // A count of 0 is left out.
      ...(candidates > 0 && { candidatesTokenCount: candidates }),
      totalTokenCount: prompt + candidates + usage.reasoningTokens,
      ...(usage.cacheReadTokens > 0 && { cachedContentTokenCount: usage.cacheReadTokens }),
      promptTokensDetails: [{ modality: "TEXT", tokenCount: prompt }],
      ...(usage.reasoningTokens > 0 && { thoughtsTokenCount: usage.reasoningTokens }),
    },
  };
}

function shellOf({ model, responseId }: WireAnswer): Json {
  return { modelVersion: model, responseId };
}

function partsOfAnswer({ answer }: WireAnswer): readonly Json[] {
  return answer.blocks.map((block): Json => {
    if (block.type === "tool_use") return { functionCall: { name: block.name, args: block.input } };
    return block.type === "thinking" ? { text: block.text, thought: true } : { text: block.text };
  });
}

function partsOf(content: Json | undefined): readonly Json[] {
  return listOf(content?.["parts"]);
}

function textOf(content: Json | undefined): string {
  return partsOf(content)
    .map(({ text }) => (typeof text === "string" ? text : ""))
    .filter(Boolean)
    .join("\n");
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

function errorBody({ status, type, message }: WireError): unknown {
  const details = status === 429 ? [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s" }] : undefined;
  return { error: { code: status, message, status: type, ...(details && { details }) } };
}

function invalid(message: string): WireError {
  return { status: 400, type: "INVALID_ARGUMENT", message };
}
