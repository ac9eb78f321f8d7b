import { AppError } from "@proliferate/shared/errors";
import type { RequestFacts } from "./request-facts.ts";
import type { FactCollector } from "./fact-collector.ts";
import { TOOL_PROMPT_TOKENS } from "./input-tokens.ts";
import type { Place } from "./place.ts";
import { Kind, type SeenObject } from "./seen-object.ts";
import {
  COMPACTION_EDIT,
  FALLBACKS,
  FILE,
  INPUT_AUDIO,
  judgeBlock,
  judgePart,
  judgeStored,
  largerLimit,
  largerOutputLimit,
  MCP_SERVER,
  MEDIA_URL,
  MEDIA_URL_FIELDS,
  MODALITIES,
  MODERATION,
  sourcePlace,
  STORED_AUDIO,
  STREAM_OPTIONS,
  TOOL,
  UNKNOWN,
} from "./spending-rules.ts";

/**
 * Every field of a body that can make a provider spend or that names a model, for each dialect, and every other field that
 * the dialect documents. What is in neither list is reported as unknown, and looked through for models. README.md beside
 * this file is the same table for people; a test compares the two and tries each row.
 */

/** A field that cannot spend; its content is text at most. */
const NOTHING: Place = {};
const METADATA: Place = { values: ["user_id"], judgedWith: [] };

/** Anthropic's `thinking`. */
const THINKING: Place = {
  isExact: true,
  values: ["type"],
  judge: (thinking, facts) => {
    facts.reasoning = reasoningOf(thinking.text("type"));
  },
};

const ANTHROPIC_CONTENT: Place = {
  isExact: true,
  values: ["type", "file_id"],
  judgedWith: ["file_id"],
  judge: judgeBlock,
  inside: {
    source: sourcePlace(() => ANTHROPIC_CONTENT),
    // What a tool was called with is the model's own text, whatever its fields are called.
    input: NOTHING,
    input_schema: NOTHING,
    citations: NOTHING,
    // A tool that a message adds is a tool.
    definition: TOOL,
  },
  get elements(): Place {
    return ANTHROPIC_CONTENT;
  },
  get others(): Place {
    return ANTHROPIC_CONTENT;
  },
};

/** The body of Anthropic Messages. */
export const ANTHROPIC_FIELDS: Place = {
  isRoot: true,
  values: [
    "model",
    "stream",
    "max_tokens",
    "service_tier",
    "speed",
    "inference_geo",
    "tools",
    "fallbacks",
    "container",
    "thread",
    "compaction",
  ],
  judgedWith: ["model"],
  judge: judgeAnthropic,
  inside: {
    metadata: { ...METADATA, judgedWith: ["user_id"], judge: keepUser },
    messages: ANTHROPIC_CONTENT,
    system: ANTHROPIC_CONTENT,
    tools: { elements: TOOL },
    fallbacks: FALLBACKS,
    mcp_servers: { elements: MCP_SERVER },
    thinking: THINKING,
    context_management: { isExact: true, inside: { edits: { elements: COMPACTION_EDIT } } },
    ...documented("model", "stream", "max_tokens", "service_tier", "speed", "inference_geo"),
    ...documented(
      "billing_policy",
      "cache_control",
      "compaction",
      "container",
      "diagnostics",
      "fallback_credit_token",
      "output_config",
      "output_format",
    ),
    ...documented("stop_sequences", "temperature", "thread", "tool_choice", "top_k", "top_p", "user_profile_id", "workspace_id", "betas"),
  },
  others: UNKNOWN,
};

/** Messages of a chat, their parts, and the media in them. */
export const OPENAI_CONTENT: Place = {
  isExact: true,
  values: ["type", "file_id", "input_audio", ...MEDIA_URL_FIELDS],
  judge: judgePart,
  inside: {
    ...Object.fromEntries(MEDIA_URL_FIELDS.map((name) => [name, MEDIA_URL])),
    file: FILE,
    input_audio: INPUT_AUDIO,
    audio: STORED_AUDIO,
    tool_calls: NOTHING,
    function_call: NOTHING,
  },
  get elements(): Place {
    return OPENAI_CONTENT;
  },
  get others(): Place {
    return OPENAI_CONTENT;
  },
};

/** Of the Responses dialect and of compatible servers; refused by OpenAI in a chat, but never guessed at here. */
const STORED_BY_OPENAI = ["previous_response_id", "conversation", "prompt", "cached_content"] as const;

/** Plain values of a chat completion that are read, and have nothing inside. */
const OPENAI_READ = [
  "model",
  "stream",
  "user",
  "max_tokens",
  "max_completion_tokens",
  "n",
  "best_of",
  "service_tier",
  "speed",
  "inference_geo",
] as const;

/** The body of an OpenAI chat completion. */
export const OPENAI_FIELDS: Place = {
  isRoot: true,
  values: [
    ...OPENAI_READ,
    "tools",
    ...["reasoning_effort", "stream_options", "web_search_options", "prediction", "fallbacks", "models", "plugins", ...STORED_BY_OPENAI],
  ],
  judgedWith: ["model"],
  judge: judgeOpenAI,
  inside: {
    messages: OPENAI_CONTENT,
    tools: { elements: TOOL },
    stream_options: STREAM_OPTIONS,
    fallbacks: FALLBACKS,
    models: FALLBACKS,
    moderation: MODERATION,
    modalities: MODALITIES,
    ...documented(...OPENAI_READ),
    ...documented(
      "audio",
      "frequency_penalty",
      "function_call",
      "functions",
      "logit_bias",
      "logprobs",
      "metadata",
      "parallel_tool_calls",
      "prediction",
    ),
    ...documented(
      "presence_penalty",
      "prompt_cache_key",
      "prompt_cache_options",
      "prompt_cache_retention",
      "reasoning_effort",
      "response_format",
    ),
    ...documented("safety_identifier", "seed", "stop", "store", "temperature", "tool_choice", "top_logprobs", "top_p", "verbosity"),
    ...documented("web_search_options", "plugins", ...STORED_BY_OPENAI),
  },
  others: UNKNOWN,
};

/** Fields that a dialect documents and that cannot spend. */
export function documented(...names: readonly string[]): Readonly<Record<string, Place>> {
  return Object.fromEntries(names.map((name) => [name, NOTHING]));
}

/** Whether a word asks for reasoning; what cannot be read is not taken for "off". */
export function reasoningOf(asked: string | undefined): "on" | "off" {
  return asked === "disabled" || asked === "none" ? "off" : "on";
}

function keepUser(metadata: SeenObject, facts: FactCollector): void {
  facts.endUser = metadata.text("user_id");
}

function judgeAnthropic(root: SeenObject, facts: FactCollector): void {
  judgeStored(root, ["container"], facts);
  if (root.has("compaction")) facts.extraPass({ path: "compaction", type: "compaction" });
  // A thread that is created holds what the body says; one that goes on holds what was said before.
  if (root.has("thread")) facts.unmeasured({ path: "thread", kind: "stored" });
  judgeCommon(root, facts, {
    endUser: facts.endUser,
    reasoning: facts.reasoning,
    choices: 1,
    maxOutputTokens: root.limit("max_tokens"),
    predictedOutputTokens: 0,
  });
}

function judgeOpenAI(root: SeenObject, facts: FactCollector): void {
  judgeStored(root, STORED_BY_OPENAI, facts);
  if (root.has("web_search_options")) facts.serverTool({ path: "web_search_options", type: "web_search_options", maxUses: undefined });
  if (root.has("plugins")) facts.unjudged({ path: "plugins", why: "unknown_server_tool" });
  if (root.value("models").kind === Kind.string) facts.unjudged({ path: "models", why: "unknown_value" });
  const prediction = root.value("prediction");
  facts.positions.streamOptions = streamOptionsOf(root);
  judgeCommon(root, facts, {
    endUser: root.text("user"),
    reasoning: root.has("reasoning_effort") ? reasoningOf(root.text("reasoning_effort")) : undefined,
    choices: choicesOf(root),
    maxOutputTokens: largerOutputLimit(root, "max_tokens", "max_completion_tokens"),
    predictedOutputTokens: root.has("prediction") ? prediction.end - prediction.start : 0,
  });
}

/** `n` or `best_of`, the larger. Throws `invalid_request` on one that is no number: a lenient provider reads "5" as 5. */
export function choicesOf(root: SeenObject): number {
  for (const name of ["n", "best_of"]) {
    if (root.has(name) && root.value(name).kind !== Kind.number)
      throw new AppError("invalid_request", `${name} must be a number.`, { param: name });
  }
  return Math.max(1, largerLimit(root, "n", "best_of") ?? 1);
}

interface OfDialect {
  readonly endUser: string | undefined;
  readonly reasoning: RequestFacts["reasoning"];
  readonly choices: number;
  readonly maxOutputTokens: number | undefined;
  readonly predictedOutputTokens: number;
  readonly hasManyPrompts?: true;
}

/** What every body says. Throws `invalid_request`. */
export function judgeCommon(root: SeenObject, facts: FactCollector, ofDialect: OfDialect): void {
  const model = root.text("model");
  if (model === undefined) throw new AppError("invalid_request", "model must be the name of a model.", { param: "model" });
  const stream = root.value("stream").kind;
  if (stream !== Kind.absent && stream !== Kind.null && stream !== Kind.true && stream !== Kind.false) {
    throw new AppError("invalid_request", "stream must be true or false.", { param: "stream" });
  }
  if (root.has("fallbacks") && root.value("fallbacks").kind !== Kind.list)
    facts.unjudged({ path: "fallbacks", why: "provider_chooses_model" });
  if (root.has("tools")) facts.added(TOOL_PROMPT_TOKENS);
  facts.positions.model = root.value("model");
  facts.root({
    ...ofDialect,
    model,
    stream: stream === Kind.true,
    serviceTier: textOrRefuse(root, "service_tier"),
    speed: textOrRefuse(root, "speed"),
    geography: textOrRefuse(root, "inference_geo"),
  });
}

/** What decides a price must be readable. */
function textOrRefuse(root: SeenObject, name: string): string | undefined {
  if (!root.has(name)) return undefined;
  const text = root.text(name);
  if (text === undefined) throw new AppError("invalid_request", `${name} must be a text.`, { param: name });
  return text;
}

function streamOptionsOf(root: SeenObject) {
  const options = root.value("stream_options");
  if (options.kind !== Kind.absent && options.kind !== Kind.null && options.kind !== Kind.object) {
    throw new AppError("invalid_request", "stream_options must be an object.", { param: "stream_options" });
  }
  return options.kind === Kind.absent ? undefined : options;
}
