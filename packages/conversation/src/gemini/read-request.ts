import type { AskedInPath } from "../codec.ts";
import {
  type Conversation,
  type Effort,
  EFFORTS,
  type OutputFormat,
  type Reasoning,
  type Settings,
  type TextPart,
  type Tool,
  type ToolChoice,
  type Turn,
} from "../conversation.ts";
import type { Fields } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";
import { malformed, type Notes, notTranslatable } from "../notes.ts";
import { CALLING, CONTENT, FUNCTION, GENERATION, ROOT, THINKING, TOOL, TOOL_CONFIG } from "./fields.ts";
import { partsOf, readParts } from "./read-parts.ts";
import { readSchema } from "./read-schema.ts";
import { fieldsOf } from "./spelling.ts";

type Root = Fields<keyof typeof ROOT.fields>;
type Generation = Fields<keyof typeof GENERATION.fields>;

/** A request of Gemini; its path names the model, and asks for a stream. Throws `invalid_request` and `not_translatable`. */
export function readRequest(body: JsonObject, notes: Notes, inPath: AskedInPath | undefined): Conversation {
  if (!inPath) throw malformed("model", "is missing");
  const root = fieldsOf(ROOT, body, "", notes);
  return {
    model: inPath.model,
    system: readSystem(root, notes),
    turns: readTurns(root, notes),
    settings: readSettings(root, inPath, notes),
  };
}

function readSystem(root: Root, notes: Notes): readonly TextPart[] {
  const value = root.value("systemInstruction");
  if (value === undefined) return [];
  const fields = fieldsOf(CONTENT, value, "systemInstruction", notes);
  const path = fields.at("parts");
  return readParts(partsOf(fields.value("parts"), path), path, notes).map((part, index) => {
    if (part.kind === "text") return part;
    throw malformed(`${path}[${index}]`, "must be a text");
  });
}

function readTurns(root: Root, notes: Notes): readonly Turn[] {
  const contents = root.value("contents");
  if (contents === undefined) throw malformed("contents", "is missing");
  const list = isObject(contents) ? [contents] : root.list("contents");
  return (list ?? []).map((content, index) => {
    const fields = fieldsOf(CONTENT, content, `contents[${index}]`, notes);
    const role = fields.text("role") ?? "user";
    // Results of tools had a role of their own once.
    if (role !== "user" && role !== "model" && role !== "function") throw malformed(fields.at("role"), "must be user or model");
    const path = fields.at("parts");
    const parts = readParts(partsOf(fields.value("parts"), path), path, notes);
    return { role: role === "model" ? "assistant" : "user", parts };
  });
}

function readSettings(root: Root, { isStream }: AskedInPath, notes: Notes): Settings {
  const config = fieldsOf(GENERATION, root.value("generationConfig") ?? {}, "generationConfig", notes);
  const choice = readCalling(root, notes);
  const tools = (root.list("tools") ?? []).flatMap((tool, index) => readTools(tool, `tools[${index}]`, notes));
  return {
    isStream,
    wantsStreamUsage: true,
    maxOutputTokens: config.number("maxOutputTokens"),
    temperature: config.number("temperature"),
    topP: config.number("topP"),
    topK: config.number("topK"),
    stop: config.texts("stopSequences"),
    seed: config.number("seed"),
    presencePenalty: config.number("presencePenalty"),
    frequencyPenalty: config.number("frequencyPenalty"),
    tools: choice?.names ? tools.filter(({ name }) => choice.names?.includes(name)) : tools,
    toolChoice: choice?.choice,
    reasoning: readReasoning(config, notes),
    output: readFormat(config, notes),
    serviceTier: readServiceTier(root),
  };
}

/** Other tiers have other prices, which no other API has. */
function readServiceTier(root: Root): Settings["serviceTier"] {
  const tier = root.text("serviceTier");
  if (tier === undefined || /^(?:service_tier_)?unspecified$/i.test(tier)) return undefined;
  if (/^(?:service_tier_)?standard$/i.test(tier)) return "standard";
  throw notTranslatable("serviceTier", `the tier "${tier.slice(0, 32)}" is known to its own API alone`);
}

function readTools(value: unknown, path: string, notes: Notes): readonly Tool[] {
  const tool = fieldsOf(TOOL, value, path, notes);
  return (tool.list("functionDeclarations") ?? []).map((declaration, index) => {
    const fields = fieldsOf(FUNCTION, declaration, `${tool.at("functionDeclarations")}[${index}]`, notes);
    const own = fields.value("parameters");
    const schema =
      fields.object("parametersJsonSchema") ?? (own === undefined ? undefined : readSchema(own, fields.at("parameters"), notes));
    return { kind: "function", name: fields.requiredText("name"), description: fields.text("description"), schema };
  });
}

/** The choice, and the tools that the model is told of where they are not all. */
interface Calling {
  readonly choice: ToolChoice;
  readonly names: readonly string[] | undefined;
}

function readCalling(root: Root, notes: Notes): Calling | undefined {
  const config = root.value("toolConfig");
  const value = config === undefined ? undefined : fieldsOf(TOOL_CONFIG, config, "toolConfig", notes).value("functionCallingConfig");
  if (value === undefined) return undefined;
  const fields = fieldsOf(CALLING, value, "toolConfig.functionCallingConfig", notes);
  const [named, mode] = [fields.texts("allowedFunctionNames") ?? [], fields.text("mode")?.toUpperCase() ?? "AUTO"];
  const names = named.length === 0 ? undefined : named;
  switch (mode) {
    case "NONE":
      return { choice: { kind: "none" }, names: undefined };
    case "ANY": {
      const [only] = named;
      if (only !== undefined && named.length === 1) return { choice: { kind: "tool", name: only }, names: undefined };
      return { choice: { kind: "required" }, names };
    }
    case "VALIDATED":
      // Calls are held to their schemas; no other API is asked for that in the choice.
      notes.change(fields.at("mode"));
      return { choice: { kind: "auto" }, names };
    case "AUTO":
    case "MODE_UNSPECIFIED":
      return { choice: { kind: "auto" }, names };
    default:
      throw malformed(fields.at("mode"), "must be AUTO, ANY, NONE or VALIDATED");
  }
}

function readReasoning(config: Generation, notes: Notes): Reasoning | undefined {
  const value = config.value("thinkingConfig");
  if (value === undefined) return undefined;
  const fields = fieldsOf(THINKING, value, config.at("thinkingConfig"), notes);
  const [budget, level] = [fields.number("thinkingBudget"), fields.text("thinkingLevel")?.toLowerCase()];
  if (budget === 0) return { kind: "off" };
  const effort = EFFORTS.find((one) => one === level) as Effort | undefined;
  if (budget === undefined && level === undefined) return undefined;
  // Less than nothing is as much as the model likes.
  return { kind: "on", effort, budgetTokens: budget !== undefined && budget > 0 ? budget : undefined };
}

function readFormat(config: Generation, notes: Notes): OutputFormat | undefined {
  const type = config.text("responseMimeType");
  const own = config.value("responseSchema");
  const schema =
    config.object("responseJsonSchema") ?? (own === undefined ? undefined : readSchema(own, config.at("responseSchema"), notes));
  if (type === undefined || type === "text/plain") {
    if (schema) throw malformed(config.at("responseMimeType"), "must be application/json where there is a schema");
    return undefined;
  }
  if (type !== "application/json") throw notTranslatable(config.at("responseMimeType"), "answers are text or JSON");
  if (schema) return { kind: "schema", schema, isStrict: true };
  notes.use("jsonOutput", config.at("responseMimeType"));
  return { kind: "json" };
}
