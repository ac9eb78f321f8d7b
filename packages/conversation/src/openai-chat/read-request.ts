import {
  type Conversation,
  EFFORTS,
  type OutputFormat,
  type Reasoning,
  type Settings,
  type TextPart,
  type Tool,
  type ToolChoice,
} from "../conversation.ts";
import { Fields } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";
import { malformed, type Notes, notTranslatable, quoted } from "../notes.ts";
import { CHOSEN, FUNCTION, GRAMMAR, JSON_SCHEMA, RESPONSE_FORMAT, ROOT, STREAM_OPTIONS, TOOL, TOOL_CHOICE, TOOL_FORMAT } from "./fields.ts";
import { readMessage } from "./read-messages.ts";

type Root = Fields<keyof typeof ROOT.fields>;

/** A request of OpenAI chat completions. Throws `invalid_request` and `not_translatable`. */
export function readRequest(body: JsonObject, notes: Notes): Conversation {
  const root = new Fields(ROOT, body, "", notes);
  const messages = root.list("messages");
  if (!messages) throw malformed("messages", "is missing");
  const turns = messages.map((message, index) => readMessage(message, `messages[${index}]`, notes));
  const first = turns.findIndex(({ role }) => role !== "system");
  const leading = turns.slice(0, first < 0 ? turns.length : first);
  return {
    model: root.requiredText("model"),
    system: leading.flatMap(({ parts }) => parts.filter((part): part is TextPart => part.kind === "text")),
    turns: turns.slice(leading.length),
    settings: readSettings(root, notes),
  };
}

function readSettings(root: Root, notes: Notes): Settings {
  const options = root.value("stream_options");
  const stop = root.value("stop");
  const choices = root.number("n") ?? 1;
  if (choices !== 1) notes.use("choices", "n");
  return {
    isStream: root.flag("stream") ?? false,
    wantsStreamUsage:
      options === undefined ? false : (new Fields(STREAM_OPTIONS, options, "stream_options", notes).flag("include_usage") ?? false),
    maxOutputTokens: root.number("max_completion_tokens") ?? root.number("max_tokens"),
    temperature: root.number("temperature"),
    topP: root.number("top_p"),
    topK: root.number("top_k"),
    stop: typeof stop === "string" ? [stop] : root.texts("stop"),
    seed: root.number("seed"),
    frequencyPenalty: root.number("frequency_penalty"),
    presencePenalty: root.number("presence_penalty"),
    tools: (root.list("tools") ?? []).map((tool, index) => readTool(tool, `tools[${index}]`, notes)),
    toolChoice: readToolChoice(root, notes),
    parallelToolCalls: root.flag("parallel_tool_calls"),
    reasoning: readReasoning(root.text("reasoning_effort"), "reasoning_effort"),
    output: readFormat(root.value("response_format"), notes),
    verbosity: root.text("verbosity"),
    user: root.text("safety_identifier") ?? root.text("user"),
    cacheKey: root.text("prompt_cache_key"),
    serviceTier: readServiceTier(root),
  };
}

/** Other tiers have other prices, which no other API has. */
export function readServiceTier(root: Fields<"service_tier">): Settings["serviceTier"] {
  const tier = root.text("service_tier");
  if (tier === undefined || tier === "auto") return tier;
  if (tier === "default") return "standard";
  throw notTranslatable("service_tier", `the tier "${tier.slice(0, 32)}" is known to its own API alone`);
}

/** OpenAI's words for how long to think. */
export function readReasoning(effort: string | undefined, path: string): Reasoning | undefined {
  if (effort === undefined) return undefined;
  if (effort === "none") return { kind: "off" };
  const known = EFFORTS.find((one) => one === effort);
  if (!known) throw malformed(path, `must be none, ${EFFORTS.join(", ")}`);
  return { kind: "on", effort: known };
}

function readTool(tool: unknown, path: string, notes: Notes): Tool {
  const fields = new Fields(TOOL, tool, path, notes);
  const type = fields.text("type");
  if (type !== "function" && type !== "custom") throw notTranslatable(path, `a tool of the type ${quoted(type)} is run by its provider`);
  const definition = new Fields(FUNCTION, fields.value(type), fields.at(type), notes);
  const mark = fields.value("cache_control") ?? definition.value("cache_control");
  return {
    kind: type === "custom" ? "freeform" : "function",
    name: definition.requiredText("name"),
    grammar: readGrammar(definition.value("format"), definition.at("format"), notes),
    description: definition.text("description"),
    schema: definition.object("parameters"),
    isStrict: definition.flag("strict"),
    cache: mark === undefined ? undefined : { lifetime: isObject(mark) && mark["ttl"] === "1h" ? "1h" : undefined },
  };
}

function readGrammar(value: unknown, path: string, notes: Notes): Tool["grammar"] {
  if (value === undefined) return undefined;
  const format = new Fields(TOOL_FORMAT, value, path, notes);
  if (format.text("type") !== "grammar") return undefined;
  const grammar = new Fields(GRAMMAR, format.value("grammar"), format.at("grammar"), notes);
  return { syntax: grammar.requiredText("syntax"), definition: grammar.requiredText("definition") };
}

function readToolChoice(root: Root, notes: Notes): ToolChoice | undefined {
  const choice = root.value("tool_choice");
  if (choice === undefined) return undefined;
  if (choice === "auto" || choice === "none" || choice === "required") return { kind: choice };
  const fields = new Fields(TOOL_CHOICE, choice, "tool_choice", notes);
  const named = fields.value("function") ?? fields.value("custom");
  return { kind: "tool", name: new Fields(CHOSEN, named, "tool_choice.function", notes).requiredText("name") };
}

function readFormat(value: unknown, notes: Notes): OutputFormat | undefined {
  if (value === undefined) return undefined;
  const fields = new Fields(RESPONSE_FORMAT, value, "response_format", notes);
  switch (fields.text("type")) {
    case "text":
      return undefined;
    case "json_object":
      notes.use("jsonOutput", "response_format");
      return { kind: "json" };
    case "json_schema": {
      const schema = new Fields(JSON_SCHEMA, fields.value("json_schema"), "response_format.json_schema", notes);
      return {
        kind: "schema",
        name: schema.text("name"),
        description: schema.text("description"),
        schema: schema.object("schema") ?? {},
        isStrict: schema.flag("strict"),
      };
    }
    default:
      throw malformed("response_format.type", "must be text, json_object or json_schema");
  }
}
