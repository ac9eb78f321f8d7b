import { createHash } from "node:crypto";
import { CallIds } from "../call-ids.ts";
import type { Target, WrittenRequest } from "../codec.ts";
import type { Conversation, Effort, OutputFormat, Reasoning, Settings, Tool, ToolChoice } from "../conversation.ts";
import { type JsonObject, present } from "../json.ts";
import { type Notes, notTranslatable, type Sayings } from "../notes.ts";
import { SafeNames } from "../safe-names.ts";
import { contentOf, writeTurn } from "./write-messages.ts";

/** What OpenAI chat completions make of what another dialect asks for. */
export const SAYINGS: Sayings = {
  audio: { fate: "refused", why: "sound is not translated" },
  cacheKey: { fate: "kept", as: "prompt_cache_key" },
  cacheMark: { fate: "dropped", why: "prompts are cached without being asked" },
  choices: { fate: "refused", why: "one answer is translated" },
  citations: { fate: "dropped", why: "documents are not cited there" },
  document: { fate: "kept", as: "a file part; text as text; a link is refused" },
  documentContext: { fate: "translated", as: "text before the file" },
  documentTitle: { fate: "kept", as: "filename" },
  freeformTool: { fate: "kept", as: "a custom tool" },
  frequencyPenalty: { fate: "kept", as: "frequency_penalty" },
  image: { fate: "kept", as: "an image_url part" },
  imageDetail: { fate: "kept", as: "image_url.detail" },
  jsonOutput: { fate: "kept", as: "response_format" },
  logitBias: { fate: "refused", why: "it names tokens of another model" },
  maxOutputTokens: {
    fate: "kept",
    as: "max_completion_tokens, of models that are not OpenAI's max_tokens; at most as many as the model answers",
  },
  metadata: { fate: "dropped", why: "it is kept nowhere" },
  parallelToolCalls: { fate: "kept", as: "parallel_tool_calls" },
  participantName: { fate: "dropped", why: "no other API has it" },
  presencePenalty: { fate: "kept", as: "presence_penalty" },
  reasoning: { fate: "translated", as: "reasoning_effort, where the model reasons; a budget becomes an effort" },
  refusal: { fate: "kept", as: "refusal" },
  schemaOutput: { fate: "kept", as: "response_format" },
  seed: { fate: "kept", as: "seed" },
  serviceTier: { fate: "translated", as: "service_tier" },
  stop: { fate: "kept", as: "stop; four at most" },
  stream: { fate: "kept", as: "stream" },
  streamUsage: { fate: "kept", as: "stream_options.include_usage" },
  strictTool: { fate: "kept", as: "strict" },
  system: { fate: "kept", as: "a system message" },
  temperature: { fate: "kept", as: "temperature" },
  text: { fate: "kept", as: "a text part" },
  thinking: {
    fate: "dropped",
    why: "thoughts go back to their maker alone; those of a compatible server go back to it as reasoning_content",
  },
  toolCall: { fate: "kept", as: "tool_calls" },
  toolChoice: { fate: "kept", as: "tool_choice" },
  toolError: { fate: "translated", as: "words before the tool's answer" },
  toolResult: { fate: "kept", as: "a tool message" },
  toolResultMedia: { fate: "translated", as: "parts of a user message behind the tool's" },
  tools: { fate: "kept", as: "tools" },
  topK: { fate: "dropped", why: "there is none" },
  topP: { fate: "kept", as: "top_p" },
  user: { fate: "kept", as: "user; a long one as its SHA-256" },
  verbosity: { fate: "kept", as: "verbosity" },
};

/** OpenAI's own models; of others nobody knows which newer fields their servers take. */
const OPENAI_MODEL = /^(?:gpt-|chatgpt-|o\d)/;
const REASONS = /^(?:gpt-(?:[5-9]|\d\d)(?!.*-chat)|o\d)/;
/** OpenAI's longest. */
const LONGEST_USER = 64;
const MOST_STOPS = 4;

/** A request for OpenAI chat completions. Throws `not_translatable`. */
export function writeRequest(conversation: Conversation, target: Target, notes: Notes): WrittenRequest {
  // Thoughts are held one by one: some of them go back.
  notes.hold({ ...SAYINGS, thinking: { fate: "kept", as: "" } });
  const { settings, system, turns } = conversation;
  const names = new SafeNames(/^[a-zA-Z0-9_-]{1,64}$/, 64);
  const writer = { notes, names, ids: new CallIds(new SafeNames(/^[a-zA-Z0-9_-]{1,40}$/, 40)) };
  const first = system.filter(({ text }) => text !== "").map(({ text }) => ({ type: "text", text }));
  if ((settings.stop?.length ?? 0) > MOST_STOPS)
    throw notTranslatable(notes.placeOf("stop"), `there are ${MOST_STOPS} stop sequences at most there`);
  const isOpenAIs = OPENAI_MODEL.test(target.model);
  const body = present({
    model: target.model,
    messages: [
      ...(first.length === 0 ? [] : [{ role: "system", content: contentOf(first) }]),
      ...turns.flatMap((turn) => writeTurn(writer, turn)),
    ],
    [isOpenAIs ? "max_completion_tokens" : "max_tokens"]: maxTokensOf(settings, target, notes),
    tools: settings.tools.length === 0 ? undefined : settings.tools.map((tool) => writeTool(tool, names)),
    ...(settings.tools.length > 0 && {
      tool_choice: settings.toolChoice && writeToolChoice(settings.toolChoice, settings.tools, names),
      parallel_tool_calls: settings.parallelToolCalls,
    }),
    reasoning_effort: writeReasoning(settings.reasoning, target.model, notes),
    response_format: writeFormat(settings.output, names),
    ...samplingOf(settings),
    verbosity: settings.verbosity,
    user: settings.user === undefined ? undefined : shortUser(settings.user),
    prompt_cache_key: settings.cacheKey,
    service_tier: settings.serviceTier === undefined ? undefined : settings.serviceTier === "standard" ? "default" : "auto",
    stream: settings.isStream || undefined,
    stream_options: settings.isStream && settings.wantsStreamUsage ? { include_usage: true } : undefined,
  });
  return { body, renamedTools: names.renamed };
}

function samplingOf({ temperature, topP, stop, seed, frequencyPenalty, presencePenalty }: Settings): JsonObject {
  return { temperature, top_p: topP, stop, seed, frequency_penalty: frequencyPenalty, presence_penalty: presencePenalty };
}

/** A user as OpenAI takes one: cut by nobody, two of them stay two. */
export function shortUser(user: string): string {
  return user.length <= LONGEST_USER ? user : createHash("sha256").update(user).digest("hex");
}

function maxTokensOf({ maxOutputTokens }: Settings, target: Target, notes: Notes): number | undefined {
  if (maxOutputTokens === undefined || target.maxOutputTokens === undefined || maxOutputTokens <= target.maxOutputTokens)
    return maxOutputTokens;
  notes.changeFeature("maxOutputTokens");
  return target.maxOutputTokens;
}

/** OpenAI's effort for it; undefined where the model does not reason, which is told. */
export function writeReasoning(reasoning: Reasoning | undefined, model: string, notes: Notes): string | undefined {
  if (!reasoning) return undefined;
  const isKnown = REASONS.test(model);
  if (reasoning.kind === "off")
    return isKnown ? (/^gpt-5(?!\.)/.test(model) ? "minimal" : /^o\d/.test(model) ? undefined : "none") : undefined;
  if (!isKnown) {
    notes.dropFeature("reasoning");
    return undefined;
  }
  const effort = reasoning.effort ?? effortOf(reasoning.budgetTokens);
  return effort === "max" ? "xhigh" : effort;
}

function effortOf(budgetTokens: number | undefined): Effort | undefined {
  if (budgetTokens === undefined) return undefined;
  return budgetTokens <= 4_096 ? "low" : budgetTokens <= 16_384 ? "medium" : "high";
}

function writeTool({ kind, name, description, schema, isStrict, grammar }: Tool, names: SafeNames): JsonObject {
  const format = grammar && { type: "grammar", grammar };
  if (kind === "freeform") return { type: "custom", custom: present({ name: names.of(name), description, format }) };
  return { type: "function", function: present({ name: names.of(name), description, parameters: schema, strict: isStrict }) };
}

function writeToolChoice(choice: ToolChoice, tools: readonly Tool[], names: SafeNames): unknown {
  if (choice.kind !== "tool") return choice.kind;
  const name = names.of(choice.name);
  const isFreeform = tools.some((tool) => tool.kind === "freeform" && tool.name === choice.name);
  return isFreeform ? { type: "custom", custom: { name } } : { type: "function", function: { name } };
}

function writeFormat(output: OutputFormat | undefined, names: SafeNames): JsonObject | undefined {
  if (!output) return undefined;
  if (output.kind === "json") return { type: "json_object" };
  const { name = "answer", description, schema, isStrict } = output;
  return { type: "json_schema", json_schema: present({ name: names.of(name), description, schema, strict: isStrict }) };
}
