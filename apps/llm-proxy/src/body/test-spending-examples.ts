import type { TestDialect } from "./test-scan.ts";
import type { RequestFacts } from "./request-facts.ts";

/** A field that can make a provider spend or that names a model, with the smallest body that uses it and the facts that follow. */
interface SpendingExample {
  readonly dialect: TestDialect;
  /** As README.md writes it. */
  readonly field: string;
  /** What stands in the body beside `model`. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly facts: Partial<RequestFacts>;
}

const anthropic = (field: string, body: SpendingExample["body"], facts: Partial<RequestFacts>): SpendingExample => ({
  dialect: "anthropic",
  field,
  body,
  facts,
});
const openai = (field: string, body: SpendingExample["body"], facts: Partial<RequestFacts>): SpendingExample => ({
  dialect: "openai",
  field,
  body,
  facts,
});
const embeddings = (field: string, body: SpendingExample["body"], facts: Partial<RequestFacts>): SpendingExample => ({
  dialect: "embeddings",
  field,
  body,
  facts,
});
const responses = (field: string, body: SpendingExample["body"], facts: Partial<RequestFacts>): SpendingExample => ({
  dialect: "responses",
  field,
  body,
  facts,
});

const user = (...content: readonly unknown[]) => ({ messages: [{ role: "user", content }] });
const named = (
  path: string,
  role: "advisor" | "fallback" | "moderation",
  limits: { readonly maxOutputTokens?: number; readonly speed?: string } = {},
) => ({ namedModels: [{ path, model: "claude-fable-5-1", role, maxOutputTokens: limits.maxOutputTokens, speed: limits.speed }] });
const input = (path: string, kind: RequestFacts["unmeasuredInputs"][number]["kind"]) => ({ unmeasuredInputs: [{ path, kind }] });
const serverTool = (type: string, maxUses?: number, path = "tools[0]") => ({ serverTools: [{ path, type, maxUses }] });
const unjudged = (path: string, why: RequestFacts["unjudged"][number]["why"]) => ({ unjudged: [{ path, why }] });

const MODEL = "claude-fable-5-1";
const SOURCE = "messages[0].content[0].source";

export const SPENDING_EXAMPLES: readonly SpendingExample[] = [
  anthropic("max_tokens", { max_tokens: 7 }, { maxOutputTokens: 7 }),
  anthropic("thinking.type", { thinking: { type: "enabled", budget_tokens: 1024 } }, { reasoning: "on" }),
  anthropic("service_tier", { service_tier: "auto" }, { serviceTier: "auto" }),
  anthropic("speed", { speed: "fast" }, { speed: "fast" }),
  anthropic("inference_geo", { inference_geo: "us" }, { geography: "us" }),
  anthropic(
    "fallbacks[].model",
    { fallbacks: [{ model: MODEL, max_tokens: 9, speed: "fast" }] },
    named("fallbacks[0].model", "fallback", { maxOutputTokens: 9, speed: "fast" }),
  ),
  anthropic(
    "fallbacks[].model",
    { max_tokens: 1, fallbacks: [{ model: MODEL, max_tokens: "100000" }] },
    named("fallbacks[0].model", "fallback", { maxOutputTokens: 1e9 }),
  ),
  anthropic(
    "fallbacks[].model",
    { fallbacks: [{ model: "claude-haiku-4-5", speed: ["fast"] }] },
    unjudged("fallbacks[0].speed", "unknown_value"),
  ),
  anthropic("fallbacks", { fallbacks: "default" }, unjudged("fallbacks", "provider_chooses_model")),
  anthropic(
    "tools[].model",
    { tools: [{ type: "advisor_20260301", name: "advisor", model: MODEL, max_uses: 3, max_tokens: 2048 }] },
    { ...named("tools[0].model", "advisor", { maxOutputTokens: 2048 }), ...serverTool("advisor_20260301", 3) },
  ),
  anthropic(
    "tools[].type",
    { tools: [{ type: "web_search_20260318", name: "web_search", max_uses: 8 }] },
    serverTool("web_search_20260318", 8),
  ),
  anthropic("tools[].type", { tools: [{ type: "web_fetch_20260318", name: "web_fetch" }] }, serverTool("web_fetch_20260318")),
  anthropic(
    "tools[].type",
    { tools: [{ type: "code_execution_20260521", name: "code_execution" }] },
    serverTool("code_execution_20260521"),
  ),
  anthropic(
    "tools[].type",
    { tools: [{ type: "tool_search_tool_bm25_20251119", name: "tool_search_tool_bm25" }] },
    serverTool("tool_search_tool_bm25_20251119"),
  ),
  anthropic("tools[].type", { tools: [{ type: "mcp_toolset", mcp_server_name: "s" }] }, serverTool("mcp_toolset")),
  anthropic(
    "tools[].type",
    { tools: [{ type: "bash_20250124", name: "bash" }, { type: "computer_toolset_20260801" }, { name: "own" }] },
    { serverTools: [], unjudged: [] },
  ),
  anthropic("tools[].type", { tools: [{ type: "image_maker_20270101", name: "x" }] }, unjudged("tools[0]", "unknown_server_tool")),
  anthropic(
    "messages[].content[].tool.definition",
    {
      messages: [
        {
          role: "system",
          content: [
            {
              type: "tool_addition",
              tool: { type: "tool_definition", definition: { type: "advisor_20260301", name: "advisor", model: MODEL } },
            },
          ],
        },
      ],
    },
    {
      ...named("messages[0].content[0].tool.definition.model", "advisor"),
      ...serverTool("advisor_20260301", undefined, "messages[0].content[0].tool.definition"),
    },
  ),
  anthropic("mcp_servers[]", { mcp_servers: [{ type: "url", url: "https://e/mcp", name: "s" }] }, input("mcp_servers[0]", "mcp")),
  anthropic("container", { container: "container_x" }, input("container", "stored")),
  anthropic("container", { container: { skills: [{ type: "anthropic", skill_id: "pptx" }] } }, input("container", "stored")),
  anthropic("thread", { thread: { type: "continue", previous_message_id: "msg_x" } }, input("thread", "stored")),
  anthropic(
    "context_management.edits[]",
    { context_management: { edits: [{ type: "compact_20260112" }] } },
    { extraPasses: [{ path: "context_management.edits[0]", type: "compact_20260112" }] },
  ),
  anthropic(
    "context_management.edits[]",
    { context_management: { edits: [{ type: "clear_tool_uses_20250919" }] } },
    { extraPasses: [], unjudged: [] },
  ),
  anthropic(
    "context_management.edits[]",
    { context_management: { edits: [{ type: "summon_20270101" }] } },
    unjudged("context_management.edits[0]", "unknown_value"),
  ),
  anthropic("compaction", { compaction: { type: "summarize" } }, { extraPasses: [{ path: "compaction", type: "compaction" }] }),
  anthropic("source.url", user({ type: "document", source: { type: "url", url: "https://e/x.pdf" } }), input(`${SOURCE}.url`, "url")),
  anthropic("source.file_id", user({ type: "image", source: { type: "file", file_id: "file_x" } }), input(`${SOURCE}.file_id`, "file")),
  anthropic(
    "source.data",
    user({ type: "document", source: { type: "base64", media_type: "application/pdf", data: "JVBERi0=" } }),
    input(`${SOURCE}.data`, "document"),
  ),
  anthropic(
    "source.content",
    user({
      type: "tool_result",
      content: [
        { type: "document", source: { type: "content", content: [{ type: "image", source: { type: "url", url: "https://e/x.png" } }] } },
      ],
    }),
    input("messages[0].content[0].content[0].source.content[0].source.url", "url"),
  ),
  anthropic("content[].file_id", user({ type: "container_upload", file_id: "file_x" }), input("messages[0].content[0].file_id", "file")),
  anthropic(
    "content[].file_id",
    user({ type: "code_execution_tool_result", content: { content: [{ type: "code_execution_output", file_id: "file_x" }] } }),
    { unmeasuredInputs: [] },
  ),
  anthropic(
    "any other field",
    { next_year: { model: MODEL } },
    { ...unjudged("next_year", "unknown_field_names_model"), unknownFields: ["next_year"] },
  ),

  openai("max_tokens, max_completion_tokens", { max_completion_tokens: 1, max_tokens: 100_000 }, { maxOutputTokens: 100_000 }),
  openai("n, best_of", { n: 128 }, { choices: 128, maxOutputTokens: undefined }),
  openai("n, best_of", { n: 2, best_of: 20 }, { choices: 20 }),
  openai(
    "any other limit",
    { max_tokens: 1, max_output_tokens: 100_000 },
    { maxOutputTokens: undefined, unknownFields: ["max_output_tokens"] },
  ),
  openai("any other count", { n: 1, num_return_sequences: 50 }, unjudged("num_return_sequences", "unknown_value")),
  openai("any other count", { extra_body: { n: 50 } }, unjudged("extra_body", "unknown_value")),
  openai("reasoning_effort", { reasoning_effort: "none" }, { reasoning: "off" }),
  openai("service_tier", { service_tier: "priority" }, { serviceTier: "priority" }),
  openai("prediction", { prediction: { type: "content", content: "x".repeat(100) } }, { predictedOutputTokens: 131 }),
  openai(
    "modalities",
    { modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } },
    { audio: { input: false, output: true } },
  ),
  openai("web_search_options", { web_search_options: {} }, serverTool("web_search_options", undefined, "web_search_options")),
  openai(
    "tools[].type",
    {
      tools: [
        { type: "function", function: { name: "f" } },
        { type: "custom", custom: { name: "c" } },
      ],
    },
    { serverTools: [], unjudged: [] },
  ),
  openai("tools[].type", { tools: [{ type: "web_search" }] }, serverTool("web_search")),
  openai(
    "tools[].type",
    { tools: [{ type: "image_generation", model: MODEL }] },
    { ...unjudged("tools[0]", "unknown_server_tool"), ...named("tools[0].model", "advisor") },
  ),
  openai("models[]", { models: [MODEL] }, named("models[0]", "fallback")),
  openai("fallbacks[]", { fallbacks: [MODEL] }, named("fallbacks[0]", "fallback")),
  openai("fallbacks[]", { fallbacks: [{ model: MODEL }] }, named("fallbacks[0].model", "fallback")),
  openai("plugins", { plugins: [{ id: "web" }] }, unjudged("plugins", "unknown_server_tool")),
  openai("moderation.model", { moderation: { model: MODEL } }, named("moderation.model", "moderation")),
  openai(
    "image_url.url",
    user({ type: "image_url", image_url: { url: "https://e/x.png" } }),
    input("messages[0].content[0].image_url.url", "url"),
  ),
  openai(
    "image_url.url",
    user({ type: "image_url", image_url: { url: "data:application/pdf;base64,JVBERi0=" } }),
    input("messages[0].content[0].image_url.url", "document"),
  ),
  openai(
    "document_url, file_url, pdf_url, video_url, audio_url",
    user({ type: "document_url", document_url: "https://e/x.pdf", document_name: "x" }),
    input("messages[0].content[0].document_url", "url"),
  ),
  openai(
    "document_url, file_url, pdf_url, video_url, audio_url",
    user({ type: "file_url", file_url: { url: "https://e/x.pdf" } }),
    input("messages[0].content[0].file_url.url", "url"),
  ),
  openai("content[].type", user({ type: "input_image", image: "https://e/x.png" }), input("messages[0].content[0].type", "url")),
  openai("content[].type", user({ type: "text", text: "x" }, { type: "url_citation", url_citation: { url: "https://e" } }), {
    unmeasuredInputs: [],
  }),
  openai("file.file_id", user({ type: "file", file: { file_id: "file-x" } }), input("messages[0].content[0].file.file_id", "file")),
  openai(
    "file.file_data",
    user({ type: "file", file: { filename: "x.pdf", file_data: "data:application/pdf;base64,JVBERi0=" } }),
    input("messages[0].content[0].file.file_data", "document"),
  ),
  openai("input_audio.data", user({ type: "input_audio", input_audio: { data: "UklGRg==", format: "wav" } }), {
    audio: { input: true, output: false },
    unmeasuredInputs: [],
  }),
  openai("input_audio", user({ type: "input_audio", input_audio: "https://e/x.mp3" }), {
    audio: { input: true, output: false },
    ...input("messages[0].content[0].input_audio", "url"),
  }),
  openai("input_audio", user({ type: "input_audio", input_audio: { data: "https://e/x.mp3" } }), {
    audio: { input: true, output: false },
    ...input("messages[0].content[0].input_audio.data", "url"),
  }),
  openai(
    "messages[].audio.id",
    { messages: [{ role: "assistant", audio: { id: "audio_x" } }] },
    { ...input("messages[0].audio.id", "stored"), audio: { input: true, output: false } },
  ),
  openai(
    "previous_response_id, conversation, prompt, cached_content",
    { previous_response_id: "resp_x" },
    input("previous_response_id", "stored"),
  ),
  openai(
    "any other field",
    { judge_model: MODEL },
    { ...unjudged("judge_model", "unknown_field_names_model"), unknownFields: ["judge_model"] },
  ),

  responses("max_output_tokens", { max_output_tokens: 7 }, { maxOutputTokens: 7 }),
  responses(
    "any other limit",
    { max_output_tokens: 7, max_tokens: 100_000 },
    { maxOutputTokens: undefined, unknownFields: ["max_tokens"] },
  ),
  responses("n, best_of", { n: 3 }, { choices: 3 }),
  responses("reasoning.effort", { reasoning: { effort: "none" } }, { reasoning: "off" }),
  responses(
    "reasoning.effort",
    { input: [{ type: "configuration_update", reasoning: { effort: "high" } }], reasoning: { effort: "none" } },
    { reasoning: "on" },
  ),
  responses("service_tier", { service_tier: "priority" }, { serviceTier: "priority" }),
  responses("tools[].type", { tools: [{ type: "web_search" }] }, serverTool("web_search")),
  responses(
    "tools[].type",
    { tools: [{ type: "web_search_2025_08_26", external_web_access: false }] },
    serverTool("web_search_2025_08_26"),
  ),
  responses(
    "tools[].type",
    { tools: [{ type: "code_interpreter", container: { type: "auto" } }] },
    { ...serverTool("code_interpreter"), unjudged: [] },
  ),
  responses("tools[].type", { tools: [{ type: "mcp", server_label: "s", server_url: "https://e/mcp" }] }, serverTool("mcp")),
  responses(
    "tools[].type",
    {
      tools: [{ type: "function", name: "f", parameters: { properties: { model: {} } } }, { type: "custom", name: "c" }, { type: "shell" }],
    },
    { serverTools: [], unjudged: [], namedModels: [] },
  ),
  responses("tools[].type", { tools: [{ type: "web_search_preview" }] }, unjudged("tools[0]", "unknown_server_tool")),
  responses("tools[].type", { tools: [{ type: "programmatic_tool_calling" }] }, unjudged("tools[0]", "unknown_server_tool")),
  responses(
    "tools[].model",
    { tools: [{ type: "image_generation", model: MODEL }] },
    { ...unjudged("tools[0]", "unknown_server_tool"), ...named("tools[0].model", "advisor") },
  ),
  responses(
    "tools[].tools[], input[].tools[]",
    { tools: [{ type: "namespace", name: "n", tools: [{ type: "function", name: "f" }, { type: "image_maker" }] }] },
    unjudged("tools[0].tools[1]", "unknown_server_tool"),
  ),
  responses(
    "tools[].tools[], input[].tools[]",
    { input: [{ type: "additional_tools", role: "developer", tools: [{ type: "web_search" }] }] },
    serverTool("web_search", undefined, "input[0].tools[0]"),
  ),
  responses(
    "tools[].environment.type",
    { tools: [{ type: "shell", environment: { type: "container_auto" } }] },
    unjudged("tools[0].environment", "unknown_server_tool"),
  ),
  responses("tools[].environment.type", { tools: [{ type: "shell", environment: { type: "local" } }] }, { unjudged: [], serverTools: [] }),
  responses(
    "tools[].container.memory_limit",
    { tools: [{ type: "code_interpreter", container: { type: "auto", memory_limit: "64g" } }] },
    { ...unjudged("tools[0].container.memory_limit", "unknown_value"), ...serverTool("code_interpreter") },
  ),
  responses("max_tool_calls", { max_tool_calls: 3, tools: [{ type: "web_search" }] }, serverTool("web_search", 3)),
  responses("web_search_options", { web_search_options: {} }, serverTool("web_search_options", undefined, "web_search_options")),
  responses(
    "context_management[]",
    { context_management: [{ type: "compaction", compact_threshold: 1_000 }] },
    { extraPasses: [{ path: "context_management[0]", type: "compaction" }] },
  ),
  responses(
    "input[].type",
    { input: [{ type: "compaction_trigger" }] },
    { extraPasses: [{ path: "input[0]", type: "compaction_trigger" }] },
  ),
  responses("moderation.model", { moderation: { model: MODEL } }, named("moderation.model", "moderation")),
  responses("models[], fallbacks[]", { models: [MODEL] }, named("models[0]", "fallback")),
  responses("models[], fallbacks[]", { fallbacks: [{ model: MODEL }] }, named("fallbacks[0].model", "fallback")),
  responses("plugins", { plugins: [{ id: "web" }] }, unjudged("plugins", "unknown_server_tool")),
  responses(
    "image_url, file_url",
    { input: [{ role: "user", content: [{ type: "input_image", image_url: "https://e/x.png" }] }] },
    input("input[0].content[0].image_url", "url"),
  ),
  responses(
    "image_url, file_url",
    { input: [{ type: "function_call_output", call_id: "c", output: [{ type: "input_file", file_url: "https://e/x.pdf" }] }] },
    input("input[0].output[0].file_url", "url"),
  ),
  responses(
    "image_url, file_url",
    { input: [{ type: "computer_call_output", output: { type: "computer_screenshot", image_url: "data:image/png;base64,iVBORw0KGgo=" } }] },
    { unmeasuredInputs: [] },
  ),
  responses(
    "file_data",
    { input: [{ role: "user", content: [{ type: "input_file", file_data: "data:application/pdf;base64,JVBERi0=" }] }] },
    input("input[0].content[0].file_data", "document"),
  ),
  responses(
    "input_audio",
    { input: [{ role: "user", content: [{ type: "input_audio", input_audio: { data: "UklGRg==", format: "wav" } }] }] },
    { audio: { input: true, output: false }, unmeasuredInputs: [] },
  ),
  responses(
    "content[].type",
    { input: [{ role: "user", content: [{ type: "input_video", video: "https://e/x.mp4" }] }] },
    input("input[0].content[0].type", "url"),
  ),
  responses(
    "any other field",
    { judge_model: MODEL },
    { ...unjudged("judge_model", "unknown_field_names_model"), unknownFields: ["judge_model"] },
  ),

  embeddings("input", { input: ["one", "two"] }, { hasManyPrompts: true, maxOutputTokens: 0, unmeasuredInputs: [] }),
  embeddings("input", { input: [{ type: "image_url", image_url: { url: "https://e/x.png" } }] }, input("input[0].image_url.url", "url")),
  embeddings("service_tier", { input: "x", service_tier: "priority" }, { serviceTier: "priority" }),
  embeddings("fallbacks[]", { input: "x", fallbacks: [MODEL] }, named("fallbacks[0]", "fallback")),
  embeddings(
    "any other field",
    { input: "x", judge_model: MODEL },
    { ...unjudged("judge_model", "unknown_field_names_model"), unknownFields: ["judge_model"] },
  ),
];
