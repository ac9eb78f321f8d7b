import { dropped, place, read, refused } from "../fields.ts";

/** Every field of a request of Anthropic Messages, and what becomes of it. */

const KEPT_AT_PROVIDER = "it is kept at the provider";
const OWN_PRICE = "it changes the price, and no other API has it";
const ACCOUNT = "names an account at the provider";
const OF_THIS_API = "no other API has it";

/** The body itself. */
export const ROOT = place("", ["MessageCreateParamsBase"], {
  model: read(),
  messages: read(),
  max_tokens: read("maxOutputTokens"),
  system: read("system"),
  stream: read("stream"),
  temperature: read("temperature"),
  top_p: read("topP"),
  top_k: read("topK"),
  stop_sequences: read("stop"),
  tools: read("tools"),
  tool_choice: read("toolChoice"),
  thinking: read("reasoning"),
  output_config: read(),
  output_format: read("schemaOutput"),
  metadata: read(),
  service_tier: read("serviceTier"),
  cache_control: read("cacheMark"),
  speed: refused(OWN_PRICE, "standard"),
  inference_geo: refused(OWN_PRICE, "global"),
  container: refused(KEPT_AT_PROVIDER),
  mcp_servers: refused("the provider would call these servers", []),
  thread: refused(KEPT_AT_PROVIDER),
  fallbacks: refused(OWN_PRICE, []),
  fallback_credit_token: refused(OWN_PRICE),
  billing_policy: refused(OWN_PRICE),
  compaction: refused("the model would run once more"),
  context_management: dropped("the caller's own edits of the conversation hold"),
  diagnostics: dropped(OF_THIS_API),
  user_profile_id: dropped(ACCOUNT),
  workspace_id: dropped(ACCOUNT),
  betas: dropped("the SDK sends it as a header, which only its own API reads"),
});

/** `messages[]`. */
export const MESSAGE = place("messages[]", ["MessageParam", "UserMessageParam", "AssistantMessageParam", "SystemMessageParam"], {
  role: read(),
  content: read(),
  clear_at: dropped(OF_THIS_API),
  output_config: dropped("one setting holds for the whole request"),
});

/** `metadata`. */
export const METADATA = place("metadata", ["Metadata"], { user_id: read("user") });

/** `output_config`. */
export const OUTPUT = place("output_config", ["OutputConfig"], {
  effort: read("reasoning"),
  format: read("schemaOutput"),
  task_budget: dropped(OF_THIS_API),
});

/** `output_config.format`. */
export const FORMAT = place("output_config.format", ["JSONOutputFormat"], { type: read(), schema: read() });

/** `thinking`. */
export const THINKING = place(
  "thinking",
  ["ThinkingConfigParam", "ThinkingConfigEnabled", "ThinkingConfigDisabled", "ThinkingConfigBetweenTools", "ThinkingConfigAdaptive"],
  {
    type: read(),
    budget_tokens: read(),
    display: dropped("what is shown of thoughts is up to the provider"),
    block_binding: dropped(OF_THIS_API),
  },
);

/** `cache_control`. */
export const CACHE = place("cache_control", ["CacheControlEphemeral"], { type: read(), ttl: read() });

/** `tools[]`. */
export const TOOL = place("tools[]", ["Tool"], {
  type: read(),
  name: read(),
  description: read(),
  input_schema: read(),
  strict: read("strictTool"),
  cache_control: read("cacheMark"),
  allowed_callers: refused("a tool of the provider would call it", ["direct"]),
  defer_loading: dropped("every tool is told of at once"),
  eager_input_streaming: dropped(OF_THIS_API),
  input_examples: dropped(OF_THIS_API),
});

/** `tool_choice`. */
export const TOOL_CHOICE = place("tool_choice", ["ToolChoice", "ToolChoiceAuto", "ToolChoiceAny", "ToolChoiceTool", "ToolChoiceNone"], {
  type: read(),
  name: read(),
  disable_parallel_tool_use: read("parallelToolCalls"),
});

/** `content[] (text)`. */
export const TEXT = place("content[] (text)", ["TextBlockParam"], {
  type: read(),
  text: read("text"),
  cache_control: read("cacheMark"),
  citations: dropped("the places in an earlier answer that documents were cited in"),
});

/** `content[] (image)`. */
export const IMAGE = place("content[] (image)", ["ImageBlockParam"], {
  type: read(),
  source: read("image"),
  cache_control: read("cacheMark"),
  transformations: dropped(OF_THIS_API),
});

/** `content[] (document)`. */
export const DOCUMENT = place("content[] (document)", ["DocumentBlockParam", "RequestDocumentBlock"], {
  type: read(),
  source: read("document"),
  title: read("documentTitle"),
  context: read("documentContext"),
  citations: read(),
  cache_control: read("cacheMark"),
});

/** `content[].citations`. */
export const CITATIONS = place("content[].citations", ["CitationsConfigParam"], { enabled: read("citations") });

/** `content[].source`. */
export const SOURCE = place(
  "content[].source",
  [
    "Base64ImageSource",
    "URLImageSource",
    "FileImageSource",
    "Base64PDFSource",
    "PlainTextSource",
    "ContentBlockSource",
    "URLPDFSource",
    "FileDocumentSource",
  ],
  { type: read(), media_type: read(), data: read(), url: read(), content: read(), file_id: refused(KEPT_AT_PROVIDER) },
);

/** `content[] (search_result)`. */
export const SEARCH_RESULT = place("content[] (search_result)", ["SearchResultBlockParam"], {
  type: read(),
  content: read("document"),
  source: read("documentContext"),
  title: read("documentTitle"),
  citations: read(),
  cache_control: read("cacheMark"),
});

/** `content[] (thinking)`. */
export const THOUGHT = place("content[] (thinking)", ["ThinkingBlockParam"], {
  type: read(),
  thinking: read("thinking"),
  signature: read(),
});

/** `content[] (redacted_thinking)`. */
export const HIDDEN_THOUGHT = place("content[] (redacted_thinking)", ["RedactedThinkingBlockParam"], {
  type: read(),
  data: read("thinking"),
});

/** `content[] (tool_use)`. */
export const TOOL_USE = place("content[] (tool_use)", ["ToolUseBlockParam"], {
  type: read(),
  id: read(),
  name: read(),
  input: read("toolCall"),
  cache_control: read("cacheMark"),
  caller: refused("a tool of the provider called it", { type: "direct" }),
  toolset_name: refused("a tool of the provider called it"),
});

/** `content[] (tool_result)`. */
export const TOOL_RESULT = place("content[] (tool_result)", ["ToolResultBlockParam"], {
  type: read(),
  tool_use_id: read("toolResult"),
  content: read(),
  is_error: read(),
  cache_control: read("cacheMark"),
  toolset_name: refused("a tool of the provider called it"),
});

/** `content[].content[] (tool_reference)`. */
export const TOOL_REFERENCE = place("content[].content[] (tool_reference)", ["ToolReferenceBlockParam"], {
  type: read(),
  tool_name: read(),
  cache_control: read("cacheMark"),
});

/** All of them, in the order of the documentation. */
export const PLACES = [
  ROOT,
  MESSAGE,
  TEXT,
  IMAGE,
  DOCUMENT,
  SOURCE,
  CITATIONS,
  SEARCH_RESULT,
  THOUGHT,
  HIDDEN_THOUGHT,
  TOOL_USE,
  TOOL_RESULT,
  TOOL_REFERENCE,
  CACHE,
  TOOL,
  TOOL_CHOICE,
  THINKING,
  OUTPUT,
  FORMAT,
  METADATA,
] as const;

const RUN_BY_PROVIDER = "the provider runs it";
const OWN_MODELS = "only the models of its API know it";

/** Parts of a request that are refused whole. */
export const REFUSED_TYPES: Readonly<Record<string, string>> = {
  ServerToolUseBlockParam: RUN_BY_PROVIDER,
  WebSearchToolResultBlockParam: RUN_BY_PROVIDER,
  WebFetchToolResultBlockParam: RUN_BY_PROVIDER,
  CodeExecutionToolResultBlockParam: RUN_BY_PROVIDER,
  BashCodeExecutionToolResultBlockParam: RUN_BY_PROVIDER,
  TextEditorCodeExecutionToolResultBlockParam: RUN_BY_PROVIDER,
  ToolSearchToolResultBlockParam: RUN_BY_PROVIDER,
  ContainerUploadBlockParam: KEPT_AT_PROVIDER,
  BrowserStateBlockParam: OF_THIS_API,
  AdvisorToolResultBlockParam: RUN_BY_PROVIDER,
  CompactionBlockParam: OF_THIS_API,
  FallbackBlockParam: OF_THIS_API,
  MCPToolListingBlockParam: RUN_BY_PROVIDER,
  MCPToolUseBlockParam: RUN_BY_PROVIDER,
  RequestMCPToolResultBlockParam: RUN_BY_PROVIDER,
  RequestToolAdditionBlock: OF_THIS_API,
  RequestToolRemovalBlock: OF_THIS_API,
  AdvisorTool20260301: RUN_BY_PROVIDER,
  MCPToolset: RUN_BY_PROVIDER,
  ToolBash20241022: OWN_MODELS,
  ToolComputerUse20241022: OWN_MODELS,
  ToolComputerUse20250124: OWN_MODELS,
  ToolComputerUse20251124: OWN_MODELS,
  ToolTextEditor20241022: OWN_MODELS,
  ToolBash20250124: OWN_MODELS,
  CodeExecutionTool20250522: RUN_BY_PROVIDER,
  CodeExecutionTool20250825: RUN_BY_PROVIDER,
  CodeExecutionTool20260120: RUN_BY_PROVIDER,
  CodeExecutionTool20260521: RUN_BY_PROVIDER,
  BrowserToolset20260801: OWN_MODELS,
  MemoryTool20250818: OWN_MODELS,
  ComputerToolset20260801: OWN_MODELS,
  ToolTextEditor20250124: OWN_MODELS,
  ToolTextEditor20250429: OWN_MODELS,
  ToolTextEditor20250728: OWN_MODELS,
  WebSearchTool20250305: RUN_BY_PROVIDER,
  WebFetchTool20250910: RUN_BY_PROVIDER,
  WebSearchTool20260209: RUN_BY_PROVIDER,
  WebFetchTool20260209: RUN_BY_PROVIDER,
  WebFetchTool20260309: RUN_BY_PROVIDER,
  WebSearchTool20260318: RUN_BY_PROVIDER,
  WebFetchTool20260318: RUN_BY_PROVIDER,
  ToolSearchToolBm25_20251119: RUN_BY_PROVIDER,
  ToolSearchToolRegex20251119: RUN_BY_PROVIDER,
};
