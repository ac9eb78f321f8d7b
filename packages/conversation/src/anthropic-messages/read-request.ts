import type { Conversation, Effort, OutputFormat, Reasoning, Settings, Tool, ToolChoice, Turn } from "../conversation.ts";
import { EFFORTS } from "../conversation.ts";
import { Fields } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { malformed, type Notes, notTranslatable, quoted } from "../notes.ts";
import { FORMAT, MESSAGE, METADATA, OUTPUT, ROOT, THINKING, TOOL, TOOL_CHOICE } from "./fields.ts";
import { readCache, readContent, readTexts } from "./read-content.ts";

type Root = Fields<keyof typeof ROOT.fields>;

/** A request of Anthropic Messages. Throws `invalid_request` and `not_translatable`. */
export function readRequest(body: JsonObject, notes: Notes): Conversation {
  const root = new Fields(ROOT, body, "", notes);
  const system = root.value("system");
  return {
    model: root.requiredText("model"),
    system: system === undefined ? [] : readTexts(system, "system", notes),
    turns: readTurns(root, notes),
    settings: readSettings(root, notes),
  };
}

function readTurns(root: Root, notes: Notes): readonly Turn[] {
  const messages = root.list("messages");
  if (!messages) throw malformed("messages", "is missing");
  return messages.map((message, index) => {
    const fields = new Fields(MESSAGE, message, `messages[${index}]`, notes);
    const role = fields.requiredText("role");
    if (role !== "user" && role !== "assistant" && role !== "system")
      throw malformed(fields.at("role"), "must be user, assistant or system");
    return { role, parts: readContent(fields.value("content"), fields.at("content"), notes) };
  });
}

function readSettings(root: Root, notes: Notes): Settings {
  const choice = readToolChoice(root, notes);
  const output = root.value("output_config");
  const config = output === undefined ? undefined : new Fields(OUTPUT, output, "output_config", notes);
  const metadata = root.value("metadata");
  const tier = root.text("service_tier");
  if (root.value("cache_control") !== undefined) readCache(root.value("cache_control"), "cache_control", notes);
  return {
    isStream: root.flag("stream") ?? false,
    wantsStreamUsage: true,
    maxOutputTokens: root.number("max_tokens"),
    temperature: root.number("temperature"),
    topP: root.number("top_p"),
    topK: root.number("top_k"),
    stop: root.texts("stop_sequences"),
    tools: (root.list("tools") ?? []).map((tool, index) => readTool(tool, `tools[${index}]`, notes)),
    toolChoice: choice?.choice,
    parallelToolCalls: choice?.isParallel,
    reasoning: readReasoning(root, config?.text("effort"), notes),
    output: readFormat(config?.value("format") ?? root.value("output_format"), notes),
    user: metadata === undefined ? undefined : new Fields(METADATA, metadata, "metadata", notes).text("user_id"),
    serviceTier: tier === undefined ? undefined : tier === "standard_only" ? "standard" : "auto",
  };
}

function readTool(tool: unknown, path: string, notes: Notes): Tool {
  const type = (tool as JsonObject | null)?.["type"];
  if (type !== undefined && type !== null && type !== "custom")
    throw notTranslatable(path, `a tool of the type ${quoted(type)} is run by its provider, or known to its models alone`);
  const fields = new Fields(TOOL, tool, path, notes);
  return {
    kind: "function",
    name: fields.requiredText("name"),
    description: fields.text("description"),
    schema: fields.object("input_schema"),
    isStrict: fields.flag("strict"),
    cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes),
  };
}

function readToolChoice(root: Root, notes: Notes): { readonly choice: ToolChoice; readonly isParallel: boolean | undefined } | undefined {
  const value = root.value("tool_choice");
  if (value === undefined) return undefined;
  const fields = new Fields(TOOL_CHOICE, value, "tool_choice", notes);
  const isSingle = fields.flag("disable_parallel_tool_use");
  const isParallel = isSingle === undefined ? undefined : !isSingle;
  switch (fields.text("type")) {
    case "auto":
      return { choice: { kind: "auto" }, isParallel };
    case "none":
      return { choice: { kind: "none" }, isParallel };
    case "any":
      return { choice: { kind: "required" }, isParallel };
    case "tool":
      return { choice: { kind: "tool", name: fields.requiredText("name") }, isParallel };
    default:
      throw malformed("tool_choice.type", "must be auto, any, tool or none");
  }
}

function readReasoning(root: Root, effort: string | undefined, notes: Notes): Reasoning | undefined {
  const level = EFFORTS.find((one) => one === effort) as Effort | undefined;
  const value = root.value("thinking");
  if (value === undefined) return level === undefined ? undefined : { kind: "on", effort: level };
  const fields = new Fields(THINKING, value, "thinking", notes);
  if (fields.text("type") === "disabled") return { kind: "off" };
  return { kind: "on", effort: level, budgetTokens: fields.number("budget_tokens") };
}

function readFormat(value: unknown, notes: Notes): OutputFormat | undefined {
  if (value === undefined) return undefined;
  const fields = new Fields(FORMAT, value, "output_config.format", notes);
  if (fields.text("type") !== "json_schema") throw malformed("output_config.format.type", "must be json_schema");
  return { kind: "schema", schema: fields.object("schema") ?? {}, isStrict: true };
}
