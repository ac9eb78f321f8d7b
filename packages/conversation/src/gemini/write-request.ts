import { CallIds } from "../call-ids.ts";
import type { Target, WrittenRequest } from "../codec.ts";
import type { Conversation, OutputFormat, Settings, TextPart, Tool } from "../conversation.ts";
import { describedWithGrammar, FREEFORM_SCHEMA } from "../freeform.ts";
import { type JsonObject, present } from "../json.ts";
import { type Notes, notTranslatable, type Sayings } from "../notes.ts";
import { SafeNames } from "../safe-names.ts";
import { mergedTurns } from "../turns.ts";
import { PartsWriter } from "./write-parts.ts";
import { writeReasoning } from "./write-reasoning.ts";
import { writeSchema } from "./write-schema.ts";

/** What Gemini makes of what another dialect asks for. */
export const SAYINGS: Sayings = {
  audio: { fate: "refused", why: "sound is not translated" },
  cacheKey: { fate: "dropped", why: "caches are found by what they hold" },
  cacheMark: { fate: "dropped", why: "prompts are cached without being asked" },
  choices: { fate: "refused", why: "one answer is made there" },
  citations: { fate: "dropped", why: "documents are not cited there" },
  document: { fate: "kept", as: "inlineData, or fileData for a link; text as text" },
  documentContext: { fate: "translated", as: "text before the document" },
  documentTitle: { fate: "dropped", why: "there is none; of text it stands before it" },
  freeformTool: { fate: "translated", as: "a tool with one field `input` of text; its grammar is told in words" },
  frequencyPenalty: { fate: "kept", as: "frequencyPenalty" },
  image: { fate: "kept", as: "inlineData, or fileData for a link" },
  imageDetail: { fate: "dropped", why: "images are looked at in one way" },
  jsonOutput: { fate: "kept", as: "responseMimeType" },
  logitBias: { fate: "refused", why: "there is none" },
  maxOutputTokens: { fate: "kept", as: "maxOutputTokens; at most as many as the model answers" },
  metadata: { fate: "dropped", why: "it is kept nowhere" },
  parallelToolCalls: { fate: "dropped", why: "the model decides" },
  participantName: { fate: "dropped", why: "there is none" },
  presencePenalty: { fate: "kept", as: "presencePenalty" },
  reasoning: { fate: "translated", as: "thinkingLevel, or thinkingBudget where the model knows that alone" },
  refusal: { fate: "translated", as: "text" },
  schemaOutput: { fate: "kept", as: "responseJsonSchema; rules that Google does not take are dropped and told" },
  seed: { fate: "kept", as: "seed; dropped where it has more than 32 bits" },
  serviceTier: { fate: "dropped", why: "every request is served at the standard price" },
  stop: { fate: "kept", as: "stopSequences; five at most" },
  stream: { fate: "kept", as: "the path" },
  streamUsage: { fate: "kept", as: "every stream has it" },
  strictTool: { fate: "dropped", why: "there is none" },
  system: { fate: "kept", as: "systemInstruction; one in the middle of a conversation stands there, too" },
  temperature: { fate: "kept", as: "temperature" },
  text: { fate: "kept", as: "a text part" },
  thinking: { fate: "kept", as: "thought parts and thoughtSignature, of Gemini's own; others are dropped" },
  toolCall: { fate: "kept", as: "functionCall; arguments that are no object stand in one field `input`" },
  toolChoice: { fate: "kept", as: "toolConfig.functionCallingConfig" },
  toolError: { fate: "kept", as: "functionResponse.response.error" },
  toolResult: { fate: "kept", as: "functionResponse" },
  toolResultMedia: { fate: "translated", as: "parts behind the tool's result" },
  tools: { fate: "kept", as: "functionDeclarations; rules of a schema that Google does not take are dropped and told" },
  topK: { fate: "kept", as: "topK" },
  topP: { fate: "kept", as: "topP" },
  user: { fate: "dropped", why: "there is none" },
  verbosity: { fate: "dropped", why: "there is none" },
};

const MOST_STOPS = 5;
/** A name of a function begins with a letter. */
const FUNCTION_NAME = /^[a-zA-Z_][a-zA-Z0-9_.-]{0,63}$/;
const CALL_ID = /^[a-zA-Z0-9_.:-]{1,128}$/;

/** A request for Gemini; which model answers, and whether in a stream, its path says. Throws `not_translatable`. */
export function writeRequest(conversation: Conversation, target: Target, notes: Notes): WrittenRequest {
  notes.hold(SAYINGS);
  const { settings } = conversation;
  const names = new SafeNames(FUNCTION_NAME, 64);
  const writer = new PartsWriter({ notes, names, ids: new CallIds(new SafeNames(CALL_ID, 128)), model: target.model });
  const system = [...conversation.system, ...laterInstructions(conversation)].filter(({ text }) => text !== "");
  const config = present({
    temperature: settings.temperature,
    topP: settings.topP,
    topK: settings.topK,
    maxOutputTokens: maxTokensOf(settings, target, notes),
    stopSequences: stopsOf(settings, notes),
    seed: seedOf(settings, notes),
    presencePenalty: settings.presencePenalty,
    frequencyPenalty: settings.frequencyPenalty,
    thinkingConfig: writeReasoning(settings.reasoning, target.model, notes),
    ...writeFormat(settings.output, notes),
  });
  const body = present({
    systemInstruction: system.length === 0 ? undefined : { parts: system.map(({ text }) => ({ text })) },
    contents: mergedTurns(conversation.turns.filter(({ role }) => role !== "system")).flatMap((turn) => writer.content(turn)),
    tools:
      settings.tools.length === 0 ? undefined : [{ functionDeclarations: settings.tools.map((tool) => writeTool(tool, names, notes)) }],
    toolConfig: writeToolChoice(settings, names),
    generationConfig: Object.keys(config).length === 0 ? undefined : config,
  });
  return { body, renamedTools: names.renamed };
}

/** Where a conversation has instructions in its middle: they bind as those at its beginning do. */
function laterInstructions({ turns }: Conversation): readonly TextPart[] {
  return turns.flatMap(({ role, parts }) => (role === "system" ? parts.filter((part) => part.kind === "text") : []));
}

function maxTokensOf({ maxOutputTokens }: Settings, target: Target, notes: Notes): number | undefined {
  if (maxOutputTokens === undefined || target.maxOutputTokens === undefined || maxOutputTokens <= target.maxOutputTokens)
    return maxOutputTokens;
  notes.changeFeature("maxOutputTokens");
  return target.maxOutputTokens;
}

function stopsOf({ stop }: Settings, notes: Notes): readonly string[] | undefined {
  if ((stop?.length ?? 0) <= MOST_STOPS) return stop;
  throw notTranslatable(notes.placeOf("stop"), `there are ${MOST_STOPS} stop sequences at most there`);
}

function seedOf({ seed }: Settings, notes: Notes): number | undefined {
  if (seed === undefined || (seed === Math.trunc(seed) && Math.abs(seed) < 2 ** 31)) return seed;
  notes.dropFeature("seed");
  return undefined;
}

function writeTool(tool: Tool, names: SafeNames, notes: Notes): JsonObject {
  const schema = tool.kind === "freeform" ? FREEFORM_SCHEMA : tool.schema;
  const path = notes.placeOf("tools");
  return present({
    name: names.of(tool.name),
    description: describedWithGrammar(tool),
    parametersJsonSchema: schema && writeSchema(schema, (rule) => notes.drop(`${path}: ${rule}`)),
  });
}

function writeToolChoice({ tools, toolChoice }: Settings, names: SafeNames): JsonObject | undefined {
  if (tools.length === 0 || !toolChoice) return undefined;
  if (toolChoice.kind === "tool") return calling("ANY", [names.of(toolChoice.name)]);
  return calling(toolChoice.kind === "required" ? "ANY" : toolChoice.kind.toUpperCase(), undefined);
}

function calling(mode: string, allowedFunctionNames: readonly string[] | undefined): JsonObject {
  return { functionCallingConfig: present({ mode, allowedFunctionNames }) };
}

function writeFormat(output: OutputFormat | undefined, notes: Notes): JsonObject {
  if (!output) return {};
  if (output.kind === "json") return { responseMimeType: "application/json" };
  const path = notes.placeOf("schemaOutput");
  return { responseMimeType: "application/json", responseJsonSchema: writeSchema(output.schema, (rule) => notes.drop(`${path}: ${rule}`)) };
}
