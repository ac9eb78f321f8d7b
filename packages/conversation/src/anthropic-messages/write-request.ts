import { CallIds } from "../call-ids.ts";
import type { Target, WrittenRequest } from "../codec.ts";
import type { Conversation, OutputFormat, Settings, TextPart, Tool, ToolChoice } from "../conversation.ts";
import { describedWithGrammar, FREEFORM_SCHEMA } from "../freeform.ts";
import { type JsonObject, present } from "../json.ts";
import type { Notes, Sayings } from "../notes.ts";
import { SafeNames } from "../safe-names.ts";
import { mergedTurns } from "../turns.ts";
import { type BlockWriter, writeCache, writeParts, writeTexts } from "./write-content.ts";
import { writeReasoning } from "./write-reasoning.ts";
import { writeSampling } from "./write-sampling.ts";

/** What Anthropic Messages makes of what another dialect asks for. */
export const SAYINGS: Sayings = {
  audio: { fate: "refused", why: "sound is not taken there" },
  cacheKey: { fate: "translated", as: "cache_control of the whole request, where nothing else is marked: nothing is cached there unasked" },
  cacheMark: { fate: "kept", as: "cache_control" },
  choices: { fate: "refused", why: "one answer is made there" },
  citations: { fate: "kept", as: "citations.enabled" },
  document: { fate: "kept", as: "a document block; PDF and text alone" },
  documentContext: { fate: "kept", as: "context" },
  documentTitle: { fate: "kept", as: "title" },
  freeformTool: { fate: "translated", as: "a tool with one field `input` of text; its grammar is told in words" },
  frequencyPenalty: { fate: "dropped", why: "there is none" },
  image: { fate: "kept", as: "an image block" },
  imageDetail: { fate: "dropped", why: "images are looked at in one way" },
  jsonOutput: { fate: "dropped", why: "there is a form for a schema alone; what the prompt asks for holds" },
  logitBias: { fate: "refused", why: "there is none" },
  maxOutputTokens: { fate: "kept", as: "max_tokens; by default, and at most, as many as the model answers" },
  metadata: { fate: "dropped", why: "it is kept nowhere" },
  parallelToolCalls: { fate: "kept", as: "tool_choice.disable_parallel_tool_use" },
  participantName: { fate: "dropped", why: "there is none" },
  presencePenalty: { fate: "dropped", why: "there is none" },
  reasoning: { fate: "translated", as: "thinking with output_config.effort, or a budget where the model knows that alone" },
  refusal: { fate: "translated", as: "text" },
  schemaOutput: { fate: "kept", as: "output_config.format" },
  seed: { fate: "dropped", why: "there is none" },
  serviceTier: { fate: "translated", as: "service_tier" },
  stop: { fate: "kept", as: "stop_sequences" },
  stream: { fate: "kept", as: "stream" },
  streamUsage: { fate: "kept", as: "every stream has it" },
  strictTool: { fate: "kept", as: "strict" },
  system: { fate: "kept", as: "system; one in the middle of a conversation stands there, too" },
  temperature: { fate: "kept", as: "temperature, up to 1; beside thoughts, and of later models, 1 alone" },
  text: { fate: "kept", as: "a text block" },
  thinking: { fate: "kept", as: "a thinking block, of Anthropic's own; others are dropped" },
  toolCall: { fate: "kept", as: "a tool_use block; arguments that are no object stand in one field `input`" },
  toolChoice: { fate: "kept", as: "tool_choice" },
  toolError: { fate: "kept", as: "is_error" },
  toolResult: { fate: "kept", as: "a tool_result block" },
  toolResultMedia: { fate: "kept", as: "blocks in the tool_result block" },
  tools: { fate: "kept", as: "tools" },
  topK: { fate: "kept", as: "top_k; not beside thoughts, nor of later models" },
  topP: { fate: "kept", as: "top_p; not beside a temperature, nor of later models" },
  user: { fate: "kept", as: "metadata.user_id" },
  verbosity: { fate: "dropped", why: "there is none" },
};

/** Anthropic refuses a request without a limit; one that nobody set is as large as this where the model's own is not known. */
const DEFAULT_MAX_TOKENS = 8_192;

/** A request for Anthropic Messages. Throws `not_translatable`. */
export function writeRequest(conversation: Conversation, target: Target, notes: Notes): WrittenRequest {
  notes.hold(SAYINGS);
  const { settings } = conversation;
  const names = new SafeNames(/^[a-zA-Z0-9_-]{1,128}$/, 128);
  const writer: BlockWriter = { notes, names, ids: new CallIds(new SafeNames(/^[a-zA-Z0-9_-]{1,128}$/, 128)) };
  const maxTokens = maxTokensOf(settings, target, notes);
  const reasoning = writeReasoning(conversation, { model: target.model, maxTokens }, notes);
  const config = present({ effort: reasoning.effort, format: writeFormat(settings.output) });
  const system = writeTexts([...conversation.system, ...laterInstructions(conversation)]);
  const body = present({
    model: target.model,
    max_tokens: maxTokens,
    system: system.length === 0 ? undefined : system,
    messages: mergedTurns(conversation.turns.filter(({ role }) => role !== "system")).flatMap(({ role, parts }) => {
      const content = writeParts(writer, parts);
      return content.length === 0 ? [] : [{ role, content }];
    }),
    tools: settings.tools.length === 0 ? undefined : settings.tools.map((tool) => writeTool(tool, names)),
    tool_choice: writeToolChoice(settings, names),
    thinking: reasoning.thinking,
    output_config: Object.keys(config).length === 0 ? undefined : config,
    ...writeSampling(settings, { model: target.model, isThinking: isThinking(reasoning.thinking) }, notes),
    stop_sequences: settings.stop,
    cache_control: settings.cacheKey !== undefined && !notes.isUsed("cacheMark") ? { type: "ephemeral" } : undefined,
    metadata: settings.user === undefined ? undefined : { user_id: settings.user },
    service_tier: settings.serviceTier === undefined ? undefined : settings.serviceTier === "standard" ? "standard_only" : "auto",
    stream: settings.isStream || undefined,
  });
  return { body, renamedTools: names.renamed };
}

function isThinking(thinking: JsonObject | undefined): boolean {
  return thinking !== undefined && thinking["type"] !== "disabled";
}

/** Where a conversation has instructions in its middle: they bind as those at its beginning do. */
function laterInstructions({ turns }: Conversation): readonly TextPart[] {
  return turns.flatMap(({ role, parts }) => (role === "system" ? parts.filter((part) => part.kind === "text") : []));
}

function maxTokensOf({ maxOutputTokens }: Settings, target: Target, notes: Notes): number {
  const most = target.maxOutputTokens ?? Infinity;
  if (maxOutputTokens === undefined) return Math.min(most, target.maxOutputTokens ?? DEFAULT_MAX_TOKENS);
  if (maxOutputTokens > most) notes.changeFeature("maxOutputTokens");
  return Math.min(most, maxOutputTokens);
}

function writeFormat(output: OutputFormat | undefined): JsonObject | undefined {
  return output?.kind === "schema" ? { type: "json_schema", schema: output.schema } : undefined;
}

function writeTool(tool: Tool, names: SafeNames): JsonObject {
  const { kind, name, schema, isStrict, cache } = tool;
  return present({
    name: names.of(name),
    description: describedWithGrammar(tool),
    input_schema: kind === "freeform" ? FREEFORM_SCHEMA : { ...(schema?.["type"] === undefined && { type: "object" }), ...schema },
    strict: isStrict,
    cache_control: writeCache(cache),
  });
}

function writeToolChoice({ tools, toolChoice, parallelToolCalls }: Settings, names: SafeNames): JsonObject | undefined {
  // Without tools a choice is refused.
  if (tools.length === 0 || (!toolChoice && parallelToolCalls === undefined)) return undefined;
  const choice = writeChoice(toolChoice ?? { kind: "auto" }, names);
  return toolChoice?.kind === "none"
    ? choice
    : present({ ...choice, disable_parallel_tool_use: parallelToolCalls === undefined ? undefined : !parallelToolCalls });
}

function writeChoice(choice: ToolChoice, names: SafeNames): JsonObject {
  if (choice.kind === "tool") return { type: "tool", name: names.of(choice.name) };
  return { type: choice.kind === "required" ? "any" : choice.kind };
}
