import { CallIds } from "../call-ids.ts";
import type { Target, WrittenRequest } from "../codec.ts";
import type { Conversation, OutputFormat, Settings, Tool, ToolChoice } from "../conversation.ts";
import { type JsonObject, present } from "../json.ts";
import type { Notes, Sayings } from "../notes.ts";
import { SAYINGS as OF_CHATS, shortUser, writeReasoning } from "../openai-chat/write-request.ts";
import { SafeNames } from "../safe-names.ts";
import { writeTurn } from "./write-items.ts";

/** What OpenAI Responses make of what another dialect asks for; where nothing is said, the same as chats. */
export const SAYINGS: Sayings = {
  ...OF_CHATS,
  document: { fate: "kept", as: "an input_file part; text as text" },
  frequencyPenalty: { fate: "dropped", why: "there is none" },
  image: { fate: "kept", as: "an input_image part" },
  imageDetail: { fate: "kept", as: "detail" },
  jsonOutput: { fate: "kept", as: "text.format" },
  maxOutputTokens: { fate: "kept", as: "max_output_tokens; at most as many as the model answers" },
  presencePenalty: { fate: "dropped", why: "there is none" },
  reasoning: { fate: "translated", as: "reasoning.effort, where the model reasons; a budget becomes an effort" },
  refusal: { fate: "kept", as: "a refusal part" },
  schemaOutput: { fate: "kept", as: "text.format" },
  seed: { fate: "dropped", why: "there is none" },
  stop: { fate: "dropped", why: "there is none" },
  streamUsage: { fate: "kept", as: "every stream has it" },
  system: { fate: "kept", as: "instructions; one in the middle of a conversation as a system message" },
  text: { fate: "kept", as: "an input_text or output_text part" },
  thinking: { fate: "kept", as: "a reasoning item, of OpenAI's own; others are dropped" },
  toolCall: { fate: "kept", as: "a function_call item" },
  toolResult: { fate: "kept", as: "a function_call_output item" },
  toolResultMedia: { fate: "kept", as: "parts of the output" },
  user: { fate: "kept", as: "user; a long one as its SHA-256" },
  verbosity: { fate: "kept", as: "text.verbosity" },
};

/** Between the words of several instructions. */
const PARAGRAPH = "\n\n";

/** A request for OpenAI Responses, which keep nothing. Throws `not_translatable`. */
export function writeRequest({ settings, system, turns }: Conversation, target: Target, notes: Notes): WrittenRequest {
  notes.hold(SAYINGS);
  const names = new SafeNames(/^[a-zA-Z0-9_-]{1,64}$/, 64);
  const writer = { notes, names, ids: new CallIds(new SafeNames(/^[a-zA-Z0-9_-]{1,64}$/, 64)), freeformCalls: new Set<string>() };
  const effort = writeReasoning(settings.reasoning, target.model, notes);
  const text = present({ format: writeFormat(settings.output, names), verbosity: settings.verbosity });
  const instructions = system.map((part) => part.text).filter((one) => one !== "");
  const body = present({
    model: target.model,
    instructions: instructions.length === 0 ? undefined : instructions.join(PARAGRAPH),
    input: turns.flatMap((turn) => writeTurn(writer, turn)),
    max_output_tokens: maxTokensOf(settings, target, notes),
    tools: settings.tools.length === 0 ? undefined : settings.tools.map((tool) => writeTool(tool, names)),
    ...(settings.tools.length > 0 && {
      tool_choice: settings.toolChoice && writeToolChoice(settings.toolChoice, settings.tools, names),
      parallel_tool_calls: settings.parallelToolCalls,
    }),
    reasoning: effort === undefined ? undefined : { effort, ...(settings.reasoning?.kind === "on" && { summary: "auto" }) },
    text: Object.keys(text).length === 0 ? undefined : text,
    temperature: settings.temperature,
    top_p: settings.topP,
    user: settings.user === undefined ? undefined : shortUser(settings.user),
    prompt_cache_key: settings.cacheKey,
    service_tier: settings.serviceTier === undefined ? undefined : settings.serviceTier === "standard" ? "default" : "auto",
    // Thoughts come with what they are sent back by, and nothing of the answer stays there.
    include: effort === undefined ? undefined : ["reasoning.encrypted_content"],
    store: false,
    stream: settings.isStream || undefined,
  });
  return { body, renamedTools: names.renamed };
}

/** OpenAI's least. */
const LEAST_TOKENS = 16;

function maxTokensOf({ maxOutputTokens }: Settings, target: Target, notes: Notes): number | undefined {
  if (maxOutputTokens === undefined) return undefined;
  const most = Math.max(LEAST_TOKENS, Math.min(maxOutputTokens, target.maxOutputTokens ?? Infinity));
  if (most !== maxOutputTokens) notes.changeFeature("maxOutputTokens");
  return most;
}

function writeTool({ kind, name, description, schema, isStrict, grammar }: Tool, names: SafeNames): JsonObject {
  const format = grammar && { type: "grammar", ...grammar };
  if (kind === "freeform") return present({ type: "custom", name: names.of(name), description, format });
  // Without a word, Responses take a schema to be strict.
  return present({
    type: "function",
    name: names.of(name),
    description,
    parameters: schema ?? { type: "object", properties: {} },
    strict: isStrict ?? false,
  });
}

function writeToolChoice(choice: ToolChoice, tools: readonly Tool[], names: SafeNames): unknown {
  if (choice.kind !== "tool") return choice.kind;
  const isFreeform = tools.some((tool) => tool.kind === "freeform" && tool.name === choice.name);
  return { type: isFreeform ? "custom" : "function", name: names.of(choice.name) };
}

function writeFormat(output: OutputFormat | undefined, names: SafeNames): JsonObject | undefined {
  if (!output) return undefined;
  if (output.kind === "json") return { type: "json_object" };
  const { name = "answer", description, schema, isStrict } = output;
  return present({ type: "json_schema", name: names.of(name), description, schema, strict: isStrict });
}
