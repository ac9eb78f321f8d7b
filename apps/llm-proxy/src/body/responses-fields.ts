import type { FactCollector } from "./fact-collector.ts";
import type { Place } from "./place.ts";
import {
  CONTAINER,
  ENVIRONMENT,
  judgeItem,
  judgeResponsesPart,
  PROMPT_CACHE_OPTIONS,
  refuseWhatIsKept,
  RESPONSES_TOOL,
  toolUsesOf,
} from "./responses-rules.ts";
import { Kind, type SeenObject } from "./seen-object.ts";
import { choicesOf, documented, judgeCommon, reasoningOf } from "./spending-fields.ts";
import { COMPACTION_EDIT, FALLBACKS, INPUT_AUDIO, MEDIA_URL, MODERATION, UNKNOWN } from "./spending-rules.ts";

/** `reasoning` of the body, and of an item that changes it for what follows: once it is on anywhere, it is on. */
const REASONING: Place = {
  isExact: true,
  values: ["effort"],
  judge: (reasoning, facts) => {
    if (facts.reasoning !== "on") facts.reasoning = reasoningOf(reasoning.text("effort"));
  },
};

/** A tool; one of the type `namespace` holds others. */
const TOOL: Place = {
  ...RESPONSES_TOOL,
  inside: {
    container: CONTAINER,
    environment: ENVIRONMENT,
    // A schema's names are the caller's words.
    parameters: {},
    get tools(): Place {
      return TOOLS;
    },
  },
};
const TOOLS: Place = { elements: TOOL };

/** What an item has in it: parts of a message, the output of a tool. */
const CONTENT: Place = {
  isExact: true,
  values: ["type", "file_id", "image_url", "file_url", "file_data", "input_audio"],
  judge: judgeResponsesPart,
  // What an earlier answer cites, and what a search has found, is text by now.
  inside: { image_url: MEDIA_URL, input_audio: INPUT_AUDIO, annotations: {}, results: {} },
  get elements(): Place {
    return CONTENT;
  },
  get others(): Place {
    return CONTENT;
  },
};

/** One item of the input: a message, a call of a tool or its output, what an earlier answer had. */
const ITEM: Place = {
  ...CONTENT,
  values: [...(CONTENT.values ?? []), "id", "role"],
  judge: (item, facts) => {
    judgeItem(item, facts);
    judgeResponsesPart(item, facts);
  },
  inside: {
    ...CONTENT.inside,
    // Tools that an item adds are tools; what a tool was called with is the model's own text.
    tools: TOOLS,
    reasoning: REASONING,
    action: {},
    arguments: {},
    encrypted_content: {},
    operation: {},
  },
  elements: CONTENT,
  others: CONTENT,
};

/** Plain values that are read, and have nothing inside. */
const READ = [
  "model",
  "stream",
  "user",
  "max_output_tokens",
  "max_tool_calls",
  "n",
  "best_of",
  "service_tier",
  "speed",
  "inference_geo",
  "background",
  "store",
  "previous_response_id",
  "conversation",
  "prompt",
] as const;

/** The body of OpenAI Responses. */
export const RESPONSES_FIELDS: Place = {
  isRoot: true,
  values: [...READ, "tools", "fallbacks", "models", "plugins", "web_search_options"],
  judgedWith: ["model"],
  judge: judgeResponses,
  inside: {
    input: { ...ITEM, elements: ITEM },
    tools: TOOLS,
    reasoning: REASONING,
    context_management: { elements: COMPACTION_EDIT },
    prompt_cache_options: PROMPT_CACHE_OPTIONS,
    fallbacks: FALLBACKS,
    models: FALLBACKS,
    moderation: MODERATION,
    ...documented(...READ),
    ...documented("access_programs", "image", "include", "instructions", "metadata", "parallel_tool_calls", "plugins", "prompt_cache_key"),
    ...documented("prompt_cache_retention", "safety_identifier", "stream_options", "temperature", "text", "tool_choice", "top_logprobs"),
    ...documented("top_p", "truncation", "client_metadata", "web_search_options"),
  },
  others: UNKNOWN,
};

function judgeResponses(root: SeenObject, facts: FactCollector): void {
  refuseWhatIsKept(root);
  if (root.has("web_search_options")) facts.serverTool({ path: "web_search_options", type: "web_search_options", maxUses: undefined });
  if (root.has("plugins")) facts.unjudged({ path: "plugins", why: "unknown_server_tool" });
  if (root.has("models") && root.value("models").kind !== Kind.list) facts.unjudged({ path: "models", why: "unknown_value" });
  facts.limitUses(toolUsesOf(root));
  judgeCommon(root, facts, {
    endUser: root.text("user"),
    reasoning: facts.reasoning,
    choices: choicesOf(root),
    maxOutputTokens: root.limit("max_output_tokens"),
    predictedOutputTokens: 0,
  });
}
