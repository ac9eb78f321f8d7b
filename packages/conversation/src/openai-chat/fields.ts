import { dropped, place, read, refused } from "../fields.ts";

/** Every field of a request of OpenAI chat completions, and what becomes of it. */

const SOUND = "sound is not translated";
const OLD = "it is replaced by tools";
const OF_THIS_API = "no other API has it";
const CACHES = "caches are the provider's";

/** The body itself. */
export const ROOT = place("", ["ChatCompletionCreateParamsBase"], {
  model: read(),
  messages: read(),
  max_tokens: read("maxOutputTokens"),
  max_completion_tokens: read("maxOutputTokens"),
  stream: read("stream"),
  stream_options: read(),
  temperature: read("temperature"),
  top_p: read("topP"),
  top_k: read("topK"),
  stop: read("stop"),
  seed: read("seed"),
  frequency_penalty: read("frequencyPenalty"),
  presence_penalty: read("presencePenalty"),
  logit_bias: refused("it names tokens of another model", {}),
  logprobs: refused("no other API says them in this form", false),
  top_logprobs: refused("no other API says them in this form", 0),
  n: read(),
  tools: read("tools"),
  tool_choice: read("toolChoice"),
  parallel_tool_calls: read("parallelToolCalls"),
  reasoning_effort: read("reasoning"),
  response_format: read(),
  verbosity: read("verbosity"),
  user: read("user"),
  safety_identifier: read("user"),
  metadata: read("metadata"),
  service_tier: read("serviceTier"),
  prompt_cache_key: read("cacheKey"),
  prompt_cache_options: dropped(CACHES),
  prompt_cache_retention: dropped(CACHES),
  store: dropped("answers are kept nowhere"),
  prediction: dropped(OF_THIS_API),
  audio: refused(SOUND),
  modalities: refused(SOUND, ["text"]),
  moderation: refused("a second model would read along"),
  web_search_options: refused("the provider would search"),
  function_call: refused(OLD, "auto", "none"),
  functions: refused(OLD, []),
});

/** `stream_options`. */
export const STREAM_OPTIONS = place("stream_options", ["ChatCompletionStreamOptions"], {
  include_usage: read("streamUsage"),
  include_obfuscation: dropped(OF_THIS_API),
});

/** `messages[] (system, developer)`. */
export const SYSTEM = place("messages[] (system, developer)", ["ChatCompletionSystemMessageParam", "ChatCompletionDeveloperMessageParam"], {
  role: read(),
  content: read("system"),
  name: read("participantName"),
  cache_control: read("cacheMark"),
});

/** `messages[] (user)`. */
export const USER = place("messages[] (user)", ["ChatCompletionUserMessageParam"], {
  role: read(),
  content: read(),
  name: read("participantName"),
  cache_control: read("cacheMark"),
});

/** `messages[] (assistant)`. */
export const ASSISTANT = place("messages[] (assistant)", ["ChatCompletionAssistantMessageParam"], {
  role: read(),
  content: read(),
  refusal: read("refusal"),
  tool_calls: read(),
  name: read("participantName"),
  reasoning_content: read("thinking"),
  reasoning: read("thinking"),
  reasoning_signatures: read("thinking"),
  annotations: dropped("places that an earlier answer was taken from"),
  audio: refused(SOUND),
  function_call: refused(OLD),
  cache_control: read("cacheMark"),
});

/** `messages[] (tool)`. */
export const TOOL_MESSAGE = place("messages[] (tool)", ["ChatCompletionToolMessageParam"], {
  role: read(),
  content: read(),
  tool_call_id: read("toolResult"),
  name: read(),
  cache_control: read("cacheMark"),
});

/** `content[] (text)`. */
export const TEXT = place("content[] (text)", ["ChatCompletionContentPartText"], {
  type: read(),
  text: read("text"),
  cache_control: read("cacheMark"),
  prompt_cache_breakpoint: read("cacheMark"),
});

/** `content[] (refusal)`. */
export const REFUSAL = place("content[] (refusal)", ["ChatCompletionContentPartRefusal"], { type: read(), refusal: read("refusal") });

/** `content[] (image_url)`. */
export const IMAGE = place("content[] (image_url)", ["ChatCompletionContentPartImage"], {
  type: read(),
  image_url: read("image"),
  cache_control: read("cacheMark"),
  prompt_cache_breakpoint: read("cacheMark"),
});

/** `content[].image_url`. */
export const IMAGE_URL = place("content[].image_url", ["ChatCompletionContentPartImage.ImageURL"], {
  url: read(),
  detail: read("imageDetail"),
});

/** `content[].prompt_cache_breakpoint`. */
export const BREAKPOINT = place(
  "content[].prompt_cache_breakpoint",
  [
    "ChatCompletionContentPartText.PromptCacheBreakpoint",
    "ChatCompletionContentPartImage.PromptCacheBreakpoint",
    "File.PromptCacheBreakpoint",
  ],
  { mode: read(), ttl: dropped(CACHES) },
);

/** `content[] (file)`. */
export const FILE = place("content[] (file)", ["ChatCompletionContentPart.File"], {
  type: read(),
  file: read("document"),
  cache_control: read("cacheMark"),
  prompt_cache_breakpoint: read("cacheMark"),
});

/** `content[].file`. */
export const FILE_BYTES = place("content[].file", ["File.File"], {
  file_data: read(),
  filename: read("documentTitle"),
  file_id: refused("it is kept at the provider"),
});

/** `messages[].tool_calls[]`. */
export const TOOL_CALL = place(
  "messages[].tool_calls[]",
  ["ChatCompletionMessageFunctionToolCall", "ChatCompletionMessageCustomToolCall"],
  { id: read("toolCall"), type: read(), index: read(), function: read(), custom: read("freeformTool") },
);

/** `messages[].tool_calls[].function`. */
export const CALLED = place(
  "messages[].tool_calls[].function",
  ["ChatCompletionMessageFunctionToolCall.Function", "ChatCompletionMessageCustomToolCall.Custom"],
  { name: read(), arguments: read(), input: read() },
);

/** `tools[]`. */
export const TOOL = place("tools[]", ["ChatCompletionFunctionTool", "ChatCompletionCustomTool"], {
  type: read(),
  function: read(),
  custom: read("freeformTool"),
  cache_control: read("cacheMark"),
});

/** `tools[].function`. */
export const FUNCTION = place("tools[].function", ["FunctionDefinition", "ChatCompletionCustomTool.Custom"], {
  name: read(),
  description: read(),
  parameters: read(),
  strict: read("strictTool"),
  format: read(),
  cache_control: read("cacheMark"),
});

/** `tools[].custom.format`. */
export const TOOL_FORMAT = place(
  "tools[].custom.format",
  ["ChatCompletionCustomTool.Text", "Custom.Text", "ChatCompletionCustomTool.Grammar", "Custom.Grammar"],
  { type: read(), grammar: read() },
);

/** `tools[].custom.format.grammar`. */
export const GRAMMAR = place("tools[].custom.format.grammar", ["Grammar.Grammar"], { syntax: read(), definition: read() });

/** `tool_choice`. */
export const TOOL_CHOICE = place(
  "tool_choice",
  ["ChatCompletionNamedToolChoice", "ChatCompletionNamedToolChoiceCustom", "ChatCompletionAllowedToolChoice"],
  { type: read(), function: read(), custom: read(), allowed_tools: refused("a choice among some of the tools is known to OpenAI alone") },
);

/** `tool_choice.function`. */
export const CHOSEN = place(
  "tool_choice.function",
  ["ChatCompletionNamedToolChoice.Function", "ChatCompletionNamedToolChoiceCustom.Custom"],
  { name: read() },
);

/** `response_format`. */
export const RESPONSE_FORMAT = place("response_format", ["ResponseFormatText", "ResponseFormatJSONSchema", "ResponseFormatJSONObject"], {
  type: read(),
  json_schema: read("schemaOutput"),
});

/** `response_format.json_schema`. */
export const JSON_SCHEMA = place("response_format.json_schema", ["ResponseFormatJSONSchema.JSONSchema"], {
  name: read(),
  description: read(),
  schema: read(),
  strict: read(),
});

/** All of them, in the order of the documentation. */
export const PLACES = [
  ROOT,
  STREAM_OPTIONS,
  SYSTEM,
  USER,
  ASSISTANT,
  TOOL_MESSAGE,
  TEXT,
  REFUSAL,
  IMAGE,
  IMAGE_URL,
  BREAKPOINT,
  FILE,
  FILE_BYTES,
  TOOL_CALL,
  CALLED,
  TOOL,
  FUNCTION,
  TOOL_FORMAT,
  GRAMMAR,
  TOOL_CHOICE,
  CHOSEN,
  RESPONSE_FORMAT,
  JSON_SCHEMA,
] as const;

/** Parts of a request that are refused whole. */
export const REFUSED_TYPES: Readonly<Record<string, string>> = {
  ChatCompletionContentPartInputAudio: SOUND,
  ChatCompletionFunctionMessageParam: OLD,
};
