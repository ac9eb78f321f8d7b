import { dropped, place, read, refused } from "../fields.ts";

/** Every field of a request of OpenAI Responses, and what becomes of it. */

const KEPT_AT_PROVIDER = "it is kept at the provider";
const OF_THIS_API = "no other API has it";
const CACHES = "caches are the provider's";
const PROGRAM = "a program of the provider would call it";

/** The body itself. */
export const ROOT = place("", ["ResponseCreateParamsBase"], {
  model: read(),
  input: read(),
  instructions: read("system"),
  max_output_tokens: read("maxOutputTokens"),
  stream: read("stream"),
  stream_options: dropped(OF_THIS_API),
  temperature: read("temperature"),
  top_p: read("topP"),
  tools: read("tools"),
  tool_choice: read("toolChoice"),
  parallel_tool_calls: read("parallelToolCalls"),
  max_tool_calls: dropped("it bounds tools of the provider, and none is offered"),
  reasoning: read(),
  text: read(),
  user: read("user"),
  safety_identifier: read("user"),
  metadata: read("metadata"),
  service_tier: read("serviceTier"),
  prompt_cache_key: read("cacheKey"),
  prompt_cache_options: dropped(CACHES),
  prompt_cache_retention: dropped(CACHES),
  include: dropped("what another provider says comes unasked"),
  truncation: dropped("a prompt that does not fit is refused"),
  store: refused("answers are kept nowhere", false),
  background: refused("an answer cannot be fetched later", false),
  previous_response_id: refused(KEPT_AT_PROVIDER),
  conversation: refused(KEPT_AT_PROVIDER),
  prompt: refused(KEPT_AT_PROVIDER),
  context_management: refused("the model would run once more", []),
  moderation: refused("a second model would read along"),
  top_logprobs: refused("no other API says them in this form", 0),
  access_programs: refused(OF_THIS_API),
  image: refused(OF_THIS_API),
});

/** `reasoning`. */
export const REASONING = place("reasoning", ["Reasoning"], {
  effort: read("reasoning"),
  summary: dropped("what is shown of thoughts is up to the provider"),
  generate_summary: dropped("what is shown of thoughts is up to the provider"),
  context: dropped(OF_THIS_API),
  mode: refused("it changes the price, and no other API has it", "standard"),
});

/** `text`. */
export const TEXT_CONFIG = place("text", ["ResponseTextConfig"], { format: read(), verbosity: read("verbosity") });

/** `text.format`. */
export const FORMAT = place("text.format", ["ResponseFormatText", "ResponseFormatTextJSONSchemaConfig", "ResponseFormatJSONObject"], {
  type: read(),
  name: read(),
  description: read(),
  schema: read("schemaOutput"),
  strict: read(),
});

/** `input[] (message)`. */
export const MESSAGE = place("input[] (message)", ["EasyInputMessage", "Message", "ResponseInputItem.Message", "ResponseOutputMessage"], {
  type: read(),
  role: read(),
  content: read(),
  id: dropped("the provider's own name of it"),
  status: dropped("what is sent is complete"),
  phase: dropped(OF_THIS_API),
});

/** `input[].content[] (input_text, output_text)`. */
export const TEXT = place("input[].content[] (text)", ["ResponseInputText", "ResponseInputTextContent", "ResponseOutputText"], {
  type: read(),
  text: read("text"),
  annotations: dropped("places that an earlier answer was taken from"),
  logprobs: dropped(OF_THIS_API),
  prompt_cache_breakpoint: read("cacheMark"),
});

/** `input[].content[] (refusal)`. */
export const REFUSAL = place("input[].content[] (refusal)", ["ResponseOutputRefusal"], { type: read(), refusal: read("refusal") });

/** `input[].content[] (input_image)`. */
export const IMAGE = place("input[].content[] (input_image)", ["ResponseInputImage", "ResponseInputImageContent"], {
  type: read(),
  image_url: read("image"),
  detail: read(),
  file_id: refused(KEPT_AT_PROVIDER),
  prompt_cache_breakpoint: read("cacheMark"),
});

/** `input[].content[] (input_file)`. */
export const FILE = place("input[].content[] (input_file)", ["ResponseInputFile", "ResponseInputFileContent"], {
  type: read(),
  file_data: read("document"),
  file_url: read("document"),
  filename: read("documentTitle"),
  detail: dropped(OF_THIS_API),
  file_id: refused(KEPT_AT_PROVIDER),
  prompt_cache_breakpoint: read("cacheMark"),
});

/** `input[] (function_call, custom_tool_call)`. */
export const CALL = place("input[] (function_call, custom_tool_call)", ["ResponseFunctionToolCall", "ResponseCustomToolCall"], {
  type: read(),
  call_id: read("toolCall"),
  name: read(),
  namespace: read(),
  arguments: read(),
  input: read(),
  id: dropped("the provider's own name of it"),
  status: dropped("what is sent is complete"),
  async: dropped(OF_THIS_API),
  caller: refused(PROGRAM, { type: "direct" }),
});

/** `input[] (function_call_output, custom_tool_call_output)`. */
export const OUTPUT = place(
  "input[] (function_call_output, custom_tool_call_output)",
  ["FunctionCallOutput", "ResponseInputItem.FunctionCallOutput", "ResponseCustomToolCallOutput"],
  {
    type: read(),
    call_id: read("toolResult"),
    output: read(),
    name: read(),
    namespace: read(),
    id: dropped("the provider's own name of it"),
    status: dropped("what is sent is complete"),
    caller: refused(PROGRAM, { type: "direct" }),
  },
);

/** `input[] (reasoning)`. */
export const THOUGHT = place("input[] (reasoning)", ["ResponseReasoningItem"], {
  type: read(),
  id: read(),
  summary: read("thinking"),
  content: read("thinking"),
  encrypted_content: read("thinking"),
  status: dropped("what is sent is complete"),
});

/** `input[].summary[]`. */
export const SUMMARY = place("input[].summary[]", ["ResponseReasoningItem.Summary", "ResponseReasoningItem.Content"], {
  type: read(),
  text: read(),
});

/** `tools[] (function, custom)`. */
export const TOOL = place("tools[] (function, custom)", ["FunctionTool", "CustomTool", "NamespaceTool.Function"], {
  type: read(),
  name: read(),
  description: read(),
  parameters: read(),
  strict: read("strictTool"),
  format: read("freeformTool"),
  defer_loading: dropped("every tool is told of at once"),
  async: dropped(OF_THIS_API),
  output_schema: dropped(OF_THIS_API),
  allowed_callers: refused(PROGRAM, ["direct"]),
});

/** `tools[] (namespace)`. */
export const NAMESPACE = place("tools[] (namespace)", ["NamespaceTool"], {
  type: read(),
  name: read(),
  description: dropped("its tools stand for themselves"),
  tools: read("tools"),
});

const NO_SEARCH = "the provider's search is not there, and the tool not offered";

/** `tools[] (web_search)`. */
export const WEB_SEARCH = place("tools[] (web_search)", ["WebSearchTool", "WebSearchPreviewTool"], {
  type: dropped(NO_SEARCH),
  external_web_access: dropped(NO_SEARCH),
  filters: dropped(NO_SEARCH),
  search_context_size: dropped(NO_SEARCH),
  search_content_types: dropped(NO_SEARCH),
  user_location: dropped(NO_SEARCH),
});

/** `tools[].format`. */
export const TOOL_FORMAT = place("tools[].format", ["Text", "Grammar", "CustomToolInputFormat.Text", "CustomToolInputFormat.Grammar"], {
  type: read(),
  definition: read(),
  syntax: read(),
});

/** `tool_choice`. */
export const TOOL_CHOICE = place("tool_choice", ["ToolChoiceFunction", "ToolChoiceCustom"], { type: read(), name: read() });

/** `prompt_cache_breakpoint`. */
export const BREAKPOINT = place(
  "prompt_cache_breakpoint",
  [
    "ResponseInputText.PromptCacheBreakpoint",
    "ResponseInputImage.PromptCacheBreakpoint",
    "ResponseInputFile.PromptCacheBreakpoint",
    "ResponseInputTextContent.PromptCacheBreakpoint",
    "ResponseInputImageContent.PromptCacheBreakpoint",
    "ResponseInputFileContent.PromptCacheBreakpoint",
  ],
  { mode: read(), ttl: dropped(CACHES) },
);

/** All of them, in the order of the documentation. */
export const PLACES = [
  ROOT,
  REASONING,
  TEXT_CONFIG,
  FORMAT,
  MESSAGE,
  TEXT,
  REFUSAL,
  IMAGE,
  FILE,
  BREAKPOINT,
  CALL,
  OUTPUT,
  THOUGHT,
  SUMMARY,
  TOOL,
  NAMESPACE,
  WEB_SEARCH,
  TOOL_FORMAT,
  TOOL_CHOICE,
] as const;

const RUN_BY_PROVIDER = "the provider runs it";
const OWN_MODELS = "only the models of its API know it";
const names = (types: string, why: string): Readonly<Record<string, string>> =>
  Object.fromEntries(types.split(" ").map((type) => [type, why]));

/** Parts of a request that are refused whole. */
export const REFUSED_TYPES: Readonly<Record<string, string>> = {
  ...names(
    [
      "ResponseInputItem.ImageGenerationCall ResponseInputItem.McpApprovalRequest ResponseInputItem.McpApprovalResponse ResponseInputItem.McpCall",
      "ResponseInputItem.McpListTools ResponseInputItem.Program ResponseInputItem.ProgramOutput ResponseCodeInterpreterToolCall ResponseFileSearchToolCall",
      "ResponseFunctionWebSearch ResponseToolSearchOutputItemParam ResponseInputItem.ToolSearchCall ResponseCreateParams.SpecificProgrammaticToolCallingParam",
      "ToolChoiceAllowed ToolChoiceMcp ToolChoiceTypes Tool.CodeInterpreter FileSearchTool Tool.ImageGeneration Tool.Mcp Tool.ProgrammaticToolCalling ToolSearchTool",
    ].join(" "),
    RUN_BY_PROVIDER,
  ),
  ...names(
    [
      "ResponseInputItem.ApplyPatchCall ResponseInputItem.ApplyPatchCallOutput ResponseInputItem.ComputerCallOutput ResponseInputItem.LocalShellCall",
      "ResponseInputItem.LocalShellCallOutput ResponseComputerToolCall ResponseInputItem.ShellCall ResponseInputItem.ShellCallOutput ToolChoiceApplyPatch",
      "ToolChoiceShell ApplyPatchTool ComputerTool ComputerUsePreviewTool FunctionShellTool Tool.LocalShell",
    ].join(" "),
    OWN_MODELS,
  ),
  ...names("ResponseInputItem.ItemReference", KEPT_AT_PROVIDER),
  ...names(
    "ResponseInputItem.AdditionalTools ResponseInputItem.CompactionTrigger ResponseCompactionItemParam ResponseConfigurationUpdateItemParam",
    OF_THIS_API,
  ),
};
