import type { CacheMark, DocumentPart, ImagePart, Part, Source, TextPart, ToolCallPart, Turn } from "../conversation.ts";
import { Fields } from "../fields.ts";
import { isObject } from "../json.ts";
import { malformed, type Notes, notTranslatable, quoted } from "../notes.ts";
import { openSignature } from "../signatures.ts";
import {
  ASSISTANT,
  BREAKPOINT,
  CALLED,
  FILE,
  FILE_BYTES,
  IMAGE,
  IMAGE_URL,
  REFUSAL,
  SYSTEM,
  TEXT,
  TOOL_CALL,
  TOOL_MESSAGE,
  USER,
} from "./fields.ts";
import { OPENAI_CHAT } from "./name.ts";

/** A message as a turn. Throws `invalid_request` and `not_translatable`. */
export function readMessage(message: unknown, path: string, notes: Notes): Turn {
  const role = isObject(message) ? message["role"] : undefined;
  switch (role) {
    case "system":
    case "developer": {
      const fields = new Fields(SYSTEM, message, path, notes);
      return { role: "system", parts: withMark(readContent(fields.value("content"), fields.at("content"), notes), markOf(fields)) };
    }
    case "user": {
      const fields = new Fields(USER, message, path, notes);
      return { role, parts: withMark(readContent(fields.value("content"), fields.at("content"), notes), markOf(fields)) };
    }
    case "assistant":
      return { role, parts: readAssistant(message, path, notes) };
    case "tool":
      return { role: "user", parts: [readToolMessage(message, path, notes)] };
    case "function":
      throw notTranslatable(path, "messages of functions are replaced by those of tools");
    default:
      throw malformed(`${path}.role`, "must be system, developer, user, assistant or tool");
  }
}

/** A cache mark as LiteLLM's and OpenRouter's callers set it on a message or a part. */
function markOf(fields: { value(name: "cache_control"): unknown }): CacheMark | undefined {
  const mark = fields.value("cache_control");
  if (mark === undefined) return undefined;
  const ttl = isObject(mark) ? mark["ttl"] : undefined;
  return { lifetime: ttl === "1h" || ttl === "5m" ? ttl : undefined };
}

/** A mark of a message is one of its last part. */
function withMark(parts: readonly Part[], cache: CacheMark | undefined): readonly Part[] {
  const last = parts.at(-1);
  if (!cache || !last || last.kind === "thinking" || last.kind === "refusal" || last.kind === "audio") return parts;
  return [...parts.slice(0, -1), { ...last, cache }];
}

function readAssistant(message: unknown, path: string, notes: Notes): readonly Part[] {
  const fields = new Fields(ASSISTANT, message, path, notes);
  const refusal = fields.text("refusal");
  const calls = fields.list("tool_calls") ?? [];
  const parts: readonly Part[] = [
    ...readThoughts(fields, notes),
    ...readContent(fields.value("content"), fields.at("content"), notes),
    ...(refusal === undefined ? [] : [{ kind: "refusal", text: refusal } as const]),
    ...calls.map((call, index) => readCall(call, `${fields.at("tool_calls")}[${index}]`, notes)),
  ];
  return withMark(parts, markOf(fields));
}

/** What compatible servers say of thoughts, and the signatures that we put beside them for their makers. */
function readThoughts(fields: Fields<keyof typeof ASSISTANT.fields>, notes: Notes): readonly Part[] {
  const signatures = fields.list("reasoning_signatures");
  const text = fields.text("reasoning_content") ?? fields.text("reasoning");
  if (!signatures) return text === undefined ? [] : [{ kind: "thinking", text, signature: { origin: OPENAI_CHAT, value: "" } }];
  return signatures.flatMap((one, index): readonly Part[] => {
    const path = `${fields.at("reasoning_signatures")}[${index}]`;
    const { text: thought, signature, redacted } = isObject(one) ? one : {};
    if (typeof signature !== "string") throw malformed(path, "must have a signature");
    const opened = openSignature(signature, OPENAI_CHAT);
    notes.use("thinking", path);
    if (!opened) notes.drop(path);
    return opened
      ? [{ kind: "thinking", text: typeof thought === "string" ? thought : "", signature: opened, isRedacted: redacted === true }]
      : [];
  });
}

function readCall(call: unknown, path: string, notes: Notes): ToolCallPart {
  const fields = new Fields(TOOL_CALL, call, path, notes);
  const id = fields.requiredText("id");
  if (fields.value("custom") !== undefined) {
    const custom = new Fields(CALLED, fields.value("custom"), fields.at("custom"), notes);
    return { kind: "toolCall", id, name: custom.requiredText("name"), input: custom.text("input") ?? "", isFreeform: true };
  }
  const called = new Fields(CALLED, fields.value("function"), fields.at("function"), notes);
  return { kind: "toolCall", id, name: called.requiredText("name"), input: called.text("arguments") ?? "" };
}

function readToolMessage(message: unknown, path: string, notes: Notes): Part {
  const fields = new Fields(TOOL_MESSAGE, message, path, notes);
  const content = readContent(fields.value("content"), fields.at("content"), notes).map((part, index) => {
    if (part.kind !== "text" && part.kind !== "image" && part.kind !== "document")
      throw malformed(`${fields.at("content")}[${index}]`, "must be text, an image or a file");
    if (part.kind !== "text") notes.use("toolResultMedia", `${fields.at("content")}[${index}]`);
    return part;
  });
  return { kind: "toolResult", callId: fields.requiredText("tool_call_id"), content, cache: markOf(fields) };
}

function readContent(content: unknown, path: string, notes: Notes): readonly Part[] {
  if (content === undefined) return [];
  if (typeof content === "string") {
    notes.use("text", path);
    return content === "" ? [] : [{ kind: "text", text: content }];
  }
  if (!Array.isArray(content)) throw malformed(path, "must be a text or a list of parts");
  return content.map((part: unknown, index) => readPart(part, `${path}[${index}]`, notes));
}

function readPart(part: unknown, path: string, notes: Notes): Part {
  const type = isObject(part) ? part["type"] : undefined;
  switch (type) {
    case "text":
      return readText(part, path, notes);
    case "refusal":
      return { kind: "refusal", text: new Fields(REFUSAL, part, path, notes).requiredText("refusal") };
    case "image_url":
      return readImage(part, path, notes);
    case "file":
      return readFile(part, path, notes);
    default:
      throw notTranslatable(path, `parts of the type ${quoted(type)} are not translated`);
  }
}

function readText(part: unknown, path: string, notes: Notes): TextPart {
  const fields = new Fields(TEXT, part, path, notes);
  return { kind: "text", text: fields.requiredText("text"), cache: partMark(fields, notes) };
}

/** LiteLLM's mark, or OpenAI's own breakpoint. */
function partMark(fields: Fields<"cache_control" | "prompt_cache_breakpoint">, notes: Notes): CacheMark | undefined {
  const breakpoint = fields.value("prompt_cache_breakpoint");
  if (breakpoint === undefined) return markOf(fields);
  return new Fields(BREAKPOINT, breakpoint, fields.at("prompt_cache_breakpoint"), notes).text("mode") === "none"
    ? undefined
    : { lifetime: undefined };
}

function readImage(part: unknown, path: string, notes: Notes): ImagePart {
  const fields = new Fields(IMAGE, part, path, notes);
  const image = new Fields(IMAGE_URL, fields.value("image_url"), fields.at("image_url"), notes);
  return { kind: "image", source: sourceOf(image.requiredText("url")), detail: image.text("detail"), cache: partMark(fields, notes) };
}

function readFile(part: unknown, path: string, notes: Notes): DocumentPart {
  const fields = new Fields(FILE, part, path, notes);
  const file = new Fields(FILE_BYTES, fields.value("file"), fields.at("file"), notes);
  return {
    kind: "document",
    source: sourceOf(file.requiredText("file_data")),
    title: file.text("filename"),
    cache: partMark(fields, notes),
  };
}

const DATA_URL = /^data:([^;,]{1,128})(?:;[^,]{0,128})?;base64,/i;

/** `data:` holds the bytes; what is neither that nor a link is the bytes of a PDF, as OpenAI takes them. */
export function sourceOf(url: string): Source {
  const match = DATA_URL.exec(url.slice(0, 512));
  if (match) return { kind: "base64", mediaType: (match[1] ?? "").toLowerCase(), data: url.slice(match[0].length) };
  if (/^[a-z][a-z0-9+.-]*:/i.test(url)) return { kind: "url", url };
  return { kind: "base64", mediaType: "application/pdf", data: url };
}
