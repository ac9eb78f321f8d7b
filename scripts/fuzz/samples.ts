import type { Dialect } from "../../apps/llm-proxy/src/dialects/dialect.ts";

/** Good bodies of each dialect, which mutations begin with. */

const TOOL = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const OF_DIALECTS: Readonly<Record<string, readonly object[]>> = {
  "anthropic-messages": [
    { model: "claude-haiku-4-5", max_tokens: 64, messages: [{ role: "user", content: "Say something." }] },
    { model: "claude-haiku-4-5", max_tokens: 64, stream: true, messages: [{ role: "user", content: "Say something." }] },
    {
      model: "claude-haiku-4-5",
      max_tokens: 128,
      stream: true,
      temperature: 0.5,
      stop_sequences: ["END"],
      metadata: { user_id: "somebody" },
      system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral", ttl: "1h" } }],
      tools: [{ name: "weather", description: "The weather.", input_schema: TOOL, cache_control: { type: "ephemeral" } }],
      tool_choice: { type: "auto" },
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "How is it?" },
            { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } },
          ],
        },
        { role: "assistant", content: [{ type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Ulm" } }] },
        { role: "user", content: [{ type: "tool_result", tool_use_id: "toolu_1", content: "Rain." }] },
      ],
    },
    {
      model: "claude-haiku-4-5",
      max_tokens: 4_096,
      thinking: { type: "enabled", budget_tokens: 1_024 },
      service_tier: "standard_only",
      messages: [{ role: "user", content: "Think." }],
    },
  ],
  "openai-chat": [
    { model: "gpt-4o-mini", messages: [{ role: "user", content: "Say something." }] },
    {
      model: "gpt-4o-mini",
      stream: true,
      stream_options: { include_usage: true },
      messages: [{ role: "user", content: "Say something." }],
    },
    { model: "gpt-4o-mini", stream: true, n: 2, max_tokens: 64, messages: [{ role: "user", content: "Say something." }] },
    {
      model: "gpt-4o-mini",
      max_completion_tokens: 128,
      seed: 7,
      user: "somebody",
      logit_bias: { "50256": -100 },
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: TOOL } },
      tools: [{ type: "function", function: { name: "weather", description: "The weather.", parameters: TOOL } }],
      parallel_tool_calls: true,
      messages: [
        { role: "developer", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "How is it?" },
            { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } },
          ],
        },
        { role: "assistant", tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Ulm"}' } }] },
        { role: "tool", tool_call_id: "call_1", content: "Rain." },
      ],
    },
  ],
  "openai-responses": [
    { model: "gpt-4o-mini", input: "Say something." },
    { model: "gpt-4o-mini", input: "Say something.", stream: true, store: false },
    {
      model: "gpt-4o-mini",
      stream: true,
      store: false,
      max_output_tokens: 128,
      instructions: "Be brief.",
      reasoning: { effort: "low", summary: "auto" },
      include: ["reasoning.encrypted_content"],
      tools: [{ type: "function", name: "weather", parameters: TOOL, strict: true }],
      input: [
        {
          role: "user",
          content: [
            { type: "input_text", text: "How is it?" },
            { type: "input_image", image_url: `data:image/png;base64,${PIXEL}` },
          ],
        },
        { type: "function_call", call_id: "call_1", name: "weather", arguments: '{"city":"Ulm"}' },
        { type: "function_call_output", call_id: "call_1", output: "Rain." },
      ],
    },
  ],
  "gemini": [
    { contents: [{ role: "user", parts: [{ text: "Say something." }] }] },
    { contents: [{ parts: [{ text: "Say something." }] }], generationConfig: { maxOutputTokens: 64, temperature: 0.5, candidateCount: 1 } },
    {
      systemInstruction: { parts: [{ text: "Be brief." }] },
      generationConfig: {
        maxOutputTokens: 128,
        thinkingConfig: { thinkingBudget: 1_024, includeThoughts: true },
        responseMimeType: "application/json",
        responseJsonSchema: TOOL,
      },
      safetySettings: [{ category: "HARM_CATEGORY_HARASSMENT", threshold: "BLOCK_NONE" }],
      tools: [{ functionDeclarations: [{ name: "weather", description: "The weather.", parametersJsonSchema: TOOL }] }],
      toolConfig: { functionCallingConfig: { mode: "AUTO" } },
      contents: [
        { role: "user", parts: [{ text: "How is it?" }, { inlineData: { mimeType: "image/png", data: PIXEL } }] },
        { role: "model", parts: [{ functionCall: { name: "weather", args: { city: "Ulm" } }, thoughtSignature: "c2ln" }] },
        { role: "user", parts: [{ functionResponse: { name: "weather", response: { output: "Rain." } } }] },
      ],
    },
  ],
  "openai-embeddings": [
    { model: "text-embedding-3-small", input: "Say something." },
    { model: "text-embedding-3-small", input: ["one", "two"], encoding_format: "base64", dimensions: 8 },
    { model: "text-embedding-3-small", input: [[1, 2, 3], [4]] },
  ],
};

/** Of a dialect that nobody wrote samples for: what all of them have in common, by every name that is known for it. */
const OF_ANY: readonly object[] = [
  {
    model: "gpt-4o-mini",
    input: "Say something.",
    prompt: "Say something.",
    messages: [{ role: "user", content: "Say something." }],
    contents: [{ role: "user", parts: [{ text: "Say something." }] }],
  },
];

/** One of a dialect's good requests. */
export interface Sample {
  readonly dialect: Dialect;
  /** As callers write it, with `/v1`. */
  readonly path: string;
  readonly body: object;
  /** Of a path that says which model is meant. */
  readonly isCounted: boolean;
}

/** Of bodies that name none. */
const MODEL_IN_PATH = "gemini-2.5-flash-lite";

/** With the query that the route cannot be asked without. */
function pathOf({ version }: Dialect, path: string, { upstreamQuery = "" }: Dialect["routes"][string], model: string): string {
  return `${version === undefined ? "/v1" : ""}${path.replace("{model}", model)}${upstreamQuery}`;
}

/** Every good request of these dialects, on each of their routes; what a path leaves open is the body's model. */
export function samplesOf(dialects: readonly Dialect[]): readonly Sample[] {
  return dialects.flatMap((dialect) =>
    Object.entries(dialect.routes).flatMap(([path, route]) =>
      (OF_DIALECTS[dialect.name] ?? OF_ANY).map((body) => ({
        dialect,
        path: pathOf(dialect, path, route, (body as { readonly model?: string }).model ?? MODEL_IN_PATH),
        body,
        isCounted: route.kind === "answer",
      })),
    ),
  );
}
