import { BYTES_PER_TOKEN, countTokens } from "./served-usage.ts";

interface OfferedTool {
  readonly name: string;
  /** JSON Schema of the tool's input. */
  readonly inputSchema: unknown;
}

/** What the stand-in needs to know of a request to answer it, in either dialect. */
export interface Conversation {
  readonly systemText: string;
  readonly lastUserText: string;
  readonly tools: readonly OfferedTool[];
  /** Set when the last message carries the result of a tool: the agent waits for the final text. */
  readonly toolResult: string | undefined;
  readonly maxOutputTokens: number | undefined;
}

interface TextBlock {
  readonly type: "text";
  readonly text: string;
}

interface ThinkingBlock {
  readonly type: "thinking";
  readonly text: string;
}

export interface ToolUseBlock {
  readonly type: "tool_use";
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
}

export type AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock;

export interface Answer {
  readonly blocks: readonly AnswerBlock[];
  readonly stop: "end" | "tool_use" | "max_tokens";
}

/**
 * A last user message with these words gets a tool call before its text, if tools are offered: "use a tool" lets the
 * stand-in choose a harmless one, "use the bash tool to run `pwd`" names it, and the command that it shall run.
 */
const TOOL_PHRASE = /\buse (?:a|the (?<name>[\w-]+)) tool\b/i;

/** Chosen first when the user names none: with the inputs below they change nothing (a shell is asked for `pwd`). */
const HARMLESS_TOOLS = ["bash", "Bash", "list", "LS", "glob", "Glob", "read", "Read"];

/** The answer to a conversation; the same conversation always gets the same one. */
export function chooseAnswer(conversation: Conversation): Answer {
  const tool = conversation.toolResult === undefined ? chooseTool(conversation) : undefined;
  if (tool) return { blocks: [{ type: "text", text: `I use ${tool.name} for that.` }, tool], stop: "tool_use" };
  return fitAnswer(chooseText(conversation), conversation.maxOutputTokens);
}

/** One text block, cut where the caller's token limit ends it, as a real provider does. */
export function fitAnswer(text: string, maxOutputTokens: number | undefined): Answer {
  if (maxOutputTokens === undefined || countTokens(text) <= maxOutputTokens) return { blocks: [{ type: "text", text }], stop: "end" };
  const cut = Buffer.from(text)
    .subarray(0, maxOutputTokens * BYTES_PER_TOKEN)
    .toString()
    .replace(/\uFFFD$/u, "");
  return { blocks: [{ type: "text", text: cut }], stop: "max_tokens" };
}

/** Output tokens of the visible answer, before reasoning. */
export function countAnswerTokens(answer: Answer): number {
  const visible = answer.blocks.reduce((total, block) => total + countTokens(block.type === "tool_use" ? block.input : block.text), 0);
  return Math.max(1, visible);
}

function chooseText(conversation: Conversation): string {
  const said = conversation.lastUserText.trim().replace(/\s+/g, " ");
  if (conversation.tools.length === 0 && /\btitle\b/i.test(conversation.systemText)) return shorten(said, 40) || "New session";
  if (conversation.toolResult !== undefined)
    return `The tool answered: ${shorten(conversation.toolResult.trim().replace(/\s+/g, " "), 80)}`;
  return `This is the local stand-in for the provider; no model was called. You said: ${shorten(said, 80) || "nothing"}`;
}

function shorten(text: string, length: number): string {
  const points = [...text];
  return points.length <= length ? text : `${points.slice(0, length).join("").trimEnd()}…`;
}

function chooseTool(conversation: Conversation): ToolUseBlock | undefined {
  const match = TOOL_PHRASE.exec(conversation.lastUserText);
  if (!match || conversation.tools.length === 0) return undefined;
  const preferred = [match.groups?.["name"] ?? "", ...HARMLESS_TOOLS];
  const name = preferred.find((candidate) => conversation.tools.some((tool) => tool.name === candidate));
  const tool = conversation.tools.find((candidate) => candidate.name === name) ?? conversation.tools[0];
  return (
    tool && { type: "tool_use", name: tool.name, input: exampleInput(tool.inputSchema, /`([^`]+)`/.exec(conversation.lastUserText)?.[1]) }
  );
}

/** An input that the tool's schema accepts: its required properties, with values that do no harm, and the quoted command. */
function exampleInput(schema: unknown, command = "pwd"): Readonly<Record<string, unknown>> {
  const { properties, required } = (schema ?? {}) as { properties?: Record<string, unknown>; required?: readonly string[] };
  return Object.fromEntries((required ?? []).map((name) => [name, name === "command" ? command : exampleValue(name, properties?.[name])]));
}

const EXAMPLE_TEXT: Readonly<Record<string, string>> = { pattern: "*", path: ".", filePath: ".", file_path: "." };

function exampleValue(name: string, schema: unknown): unknown {
  const { type, enum: choices } = (schema ?? {}) as { type?: string; enum?: readonly unknown[] };
  if (choices?.[0] !== undefined) return choices[0];
  if (type === "object") return exampleInput(schema);
  if (type === "array") return [];
  if (type === "boolean") return false;
  if (type === "integer" || type === "number") return 1;
  return EXAMPLE_TEXT[name] ?? "stand-in";
}
