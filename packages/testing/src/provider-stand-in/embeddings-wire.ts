import { type Dialect, type WireAnswer, type WireError } from "./dialect.ts";
import { openaiWire } from "./openai-wire.ts";
import { countTokens } from "./served-usage.ts";

/** OpenAI's own default is 1,536; tests need no more than these. */
const DIMENSIONS = 8;

/** OpenAI embeddings: a vector for each input, as numbers or as base64 of 32-bit floats. Never a stream. */
export const embeddingsWire: Dialect = {
  ...openaiWire,
  validate: (request): WireError | undefined =>
    request["input"] === undefined || request["input"] === ""
      ? { status: 400, type: "invalid_request_error", message: "'$.input' is invalid." }
      : undefined,
  readConversation: () => ({ systemText: "", lastUserText: "", tools: [], toolResult: undefined, maxOutputTokens: undefined }),
  countUsage: (request) => ({
    inputTokens: inputsOf(request).reduce<number>((sum, input) => sum + (Array.isArray(input) ? input.length : countTokens(input)), 0),
    cacheReadTokens: 0,
    cacheWrite5mTokens: 0,
    cacheWrite1hTokens: 0,
    outputTokens: 0,
    reasoningTokens: 0,
  }),
  *frames() {},
  body(answer) {
    const { usage, showUsage, model, request } = answer;
    return {
      object: "list",
      data: inputsOf(request).map((input, index) => ({ object: "embedding", index, embedding: vectorOf(input, answer) })),
      model,
      ...(showUsage && { usage: { prompt_tokens: usage.inputTokens, total_tokens: usage.inputTokens } }),
    };
  },
};

/** One text or token list each. */
function inputsOf({ input }: Readonly<Record<string, unknown>>): readonly unknown[] {
  return Array.isArray(input) && typeof input[0] !== "number" ? input : [input];
}

/** The same input always has the same vector; its values are exact in 32 bits. */
function vectorOf(input: unknown, { request }: WireAnswer): unknown {
  const seed = countTokens(input);
  const values = Float32Array.from({ length: DIMENSIONS }, (_, index) => (seed + index) / 64);
  return request["encoding_format"] === "base64" ? Buffer.from(values.buffer).toString("base64") : [...values];
}
