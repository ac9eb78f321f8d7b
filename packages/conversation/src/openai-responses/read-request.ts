import type { Conversation, OutputFormat, Settings, TextPart, Tool, ToolChoice, Turn } from "../conversation.ts";
import { Fields } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";
import { malformed, type Notes, notTranslatable, quoted } from "../notes.ts";
import { readReasoning, readServiceTier } from "../openai-chat/read-request.ts";
import { mergedTurns } from "../turns.ts";
import { FORMAT, NAMESPACE, REASONING, ROOT, TEXT_CONFIG, TOOL, TOOL_CHOICE, TOOL_FORMAT, WEB_SEARCH } from "./fields.ts";
import { readItem, toolName } from "./read-items.ts";

type Root = Fields<keyof typeof ROOT.fields>;

/** A request of OpenAI Responses. Throws `invalid_request` and `not_translatable`. */
export function readRequest(body: JsonObject, notes: Notes): Conversation {
  const root = new Fields(ROOT, body, "", notes);
  const turns = mergedTurns(readInput(root, notes));
  const instructions = root.text("instructions");
  const [first, ...others] = turns;
  const leading = first?.role === "system" ? first.parts.filter((part): part is TextPart => part.kind === "text") : [];
  return {
    model: root.requiredText("model"),
    system: [...(instructions === undefined || instructions === "" ? [] : [{ kind: "text", text: instructions } as const]), ...leading],
    turns: first?.role === "system" ? others : turns,
    settings: readSettings(root, notes),
  };
}

function readInput(root: Root, notes: Notes): readonly Turn[] {
  const input = root.value("input");
  if (typeof input === "string") return [{ role: "user", parts: [{ kind: "text", text: input }] }];
  const items = root.list("input");
  if (!items) throw malformed("input", "is missing");
  return items.map((item, index) => readItem(item, `input[${index}]`, notes));
}

function readSettings(root: Root, notes: Notes): Settings {
  const [reasoning, text] = [root.value("reasoning"), root.value("text")];
  const config = text === undefined ? undefined : new Fields(TEXT_CONFIG, text, "text", notes);
  const effort = reasoning === undefined ? undefined : new Fields(REASONING, reasoning, "reasoning", notes).text("effort");
  return {
    isStream: root.flag("stream") ?? false,
    wantsStreamUsage: true,
    maxOutputTokens: root.number("max_output_tokens"),
    temperature: root.number("temperature"),
    topP: root.number("top_p"),
    tools: (root.list("tools") ?? []).flatMap((tool, index) => readTool(tool, `tools[${index}]`, undefined, notes)),
    toolChoice: readToolChoice(root, notes),
    parallelToolCalls: root.flag("parallel_tool_calls"),
    reasoning: readReasoning(effort, "reasoning.effort"),
    output: readFormat(config?.value("format"), notes),
    verbosity: config?.text("verbosity"),
    user: root.text("safety_identifier") ?? root.text("user"),
    cacheKey: root.text("prompt_cache_key"),
    serviceTier: readServiceTier(root),
  };
}

function readTool(tool: unknown, path: string, namespace: string | undefined, notes: Notes): readonly Tool[] {
  const type = isObject(tool) ? tool["type"] : undefined;
  if (typeof type === "string" && /^web_search(?:_|$)/.test(type)) {
    new Fields(WEB_SEARCH, tool, path, notes).text("type");
    return [];
  }
  if (type === "namespace" && namespace === undefined) {
    const fields = new Fields(NAMESPACE, tool, path, notes);
    const name = fields.requiredText("name");
    return (fields.list("tools") ?? []).flatMap((one, index) => readTool(one, `${fields.at("tools")}[${index}]`, name, notes));
  }
  if (type !== "function" && type !== "custom")
    throw notTranslatable(path, `a tool of the type ${quoted(type)} is run by its provider, or known to its models alone`);
  const fields = new Fields(TOOL, tool, path, notes);
  return [
    {
      kind: type === "custom" ? "freeform" : "function",
      name: toolName(fields.requiredText("name"), namespace),
      grammar: readGrammar(fields.value("format"), fields.at("format"), notes),
      description: fields.text("description"),
      schema: fields.object("parameters"),
      isStrict: fields.flag("strict"),
    },
  ];
}

function readGrammar(value: unknown, path: string, notes: Notes): Tool["grammar"] {
  if (value === undefined) return undefined;
  const format = new Fields(TOOL_FORMAT, value, path, notes);
  if (format.text("type") !== "grammar") return undefined;
  return { syntax: format.requiredText("syntax"), definition: format.requiredText("definition") };
}

function readToolChoice(root: Root, notes: Notes): ToolChoice | undefined {
  const choice = root.value("tool_choice");
  if (choice === undefined) return undefined;
  if (choice === "auto" || choice === "none" || choice === "required") return { kind: choice };
  const type = isObject(choice) ? choice["type"] : undefined;
  if (type !== "function" && type !== "custom") throw notTranslatable("tool_choice", "only the caller's own tools can be chosen there");
  return { kind: "tool", name: new Fields(TOOL_CHOICE, choice, "tool_choice", notes).requiredText("name") };
}

function readFormat(value: unknown, notes: Notes): OutputFormat | undefined {
  if (value === undefined) return undefined;
  const fields = new Fields(FORMAT, value, "text.format", notes);
  switch (fields.text("type")) {
    case "text":
      return undefined;
    case "json_object":
      notes.use("jsonOutput", "text.format");
      return { kind: "json" };
    case "json_schema":
      return {
        kind: "schema",
        name: fields.text("name"),
        description: fields.text("description"),
        schema: fields.object("schema") ?? {},
        isStrict: fields.flag("strict"),
      };
    default:
      throw malformed("text.format.type", "must be text, json_object or json_schema");
  }
}
