import type { CacheMark, DocumentPart, ImagePart, Part, ResultPart, Source, TextPart } from "../conversation.ts";
import { Fields } from "../fields.ts";
import { isObject } from "../json.ts";
import { malformed, type Notes, notTranslatable, quoted } from "../notes.ts";
import { openSignature } from "../signatures.ts";
import { ANTHROPIC_MESSAGES } from "./name.ts";
import {
  CACHE,
  CITATIONS,
  DOCUMENT,
  HIDDEN_THOUGHT,
  IMAGE,
  SEARCH_RESULT,
  SOURCE,
  TEXT,
  THOUGHT,
  TOOL_REFERENCE,
  TOOL_RESULT,
  TOOL_USE,
} from "./fields.ts";

/** The parts of a message. Throws `invalid_request`, and `not_translatable` for a block of another type. */
export function readContent(content: unknown, path: string, notes: Notes): readonly Part[] {
  if (typeof content === "string") return textOnly(content, path, notes);
  if (!Array.isArray(content)) throw malformed(path, "must be a text or a list of blocks");
  return content.flatMap((block: unknown, index) => readBlock(block, `${path}[${index}]`, notes));
}

/** Text blocks alone, as system prompts and search results have them. */
export function readTexts(content: unknown, path: string, notes: Notes): readonly TextPart[] {
  return readContent(content, path, notes).map((part, index) => {
    if (part.kind === "text") return part;
    throw malformed(`${path}[${index}]`, "must be a text block");
  });
}

/** What {@link CACHE} says; undefined where nothing does. */
export function readCache(value: unknown, path: string, notes: Notes): CacheMark | undefined {
  if (value === undefined || value === null) return undefined;
  const ttl = new Fields(CACHE, value, path, notes).text("ttl");
  return { lifetime: ttl === "1h" || ttl === "5m" ? ttl : undefined };
}

function textOnly(text: string, path: string, notes: Notes): readonly TextPart[] {
  notes.use("text", path);
  return text === "" ? [] : [{ kind: "text", text }];
}

function readBlock(block: unknown, path: string, notes: Notes): readonly Part[] {
  const type = isObject(block) ? block["type"] : undefined;
  switch (type) {
    case "text":
      return [readText(block, path, notes)];
    case "image":
      return [readImage(block, path, notes)];
    case "document":
      return [readDocument(block, path, notes)];
    case "search_result":
      return [readSearchResult(block, path, notes)];
    case "thinking":
      return readThought(block, path, notes);
    case "redacted_thinking":
      return readHiddenThought(block, path, notes);
    case "tool_use":
      return [readToolUse(block, path, notes)];
    case "tool_result":
      return [readToolResult(block, path, notes)];
    default:
      throw notTranslatable(path, `blocks of the type ${quoted(type)} are not known there`);
  }
}

function readText(block: unknown, path: string, notes: Notes): TextPart {
  const fields = new Fields(TEXT, block, path, notes);
  return {
    kind: "text",
    text: fields.requiredText("text"),
    cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes),
  };
}

function readImage(block: unknown, path: string, notes: Notes): ImagePart {
  const fields = new Fields(IMAGE, block, path, notes);
  const source = readSource(fields.value("source"), fields.at("source"), notes);
  return { kind: "image", source, cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes) };
}

function readSource(value: unknown, path: string, notes: Notes): Source {
  const fields = new Fields(SOURCE, value, path, notes);
  switch (fields.text("type")) {
    case "base64":
      return { kind: "base64", mediaType: fields.requiredText("media_type"), data: fields.requiredText("data") };
    case "url":
      return { kind: "url", url: fields.requiredText("url") };
    default:
      throw notTranslatable(fields.at("type"), "a source of this type is not known there");
  }
}

function readDocument(block: unknown, path: string, notes: Notes): DocumentPart {
  const fields = new Fields(DOCUMENT, block, path, notes);
  const citations = fields.value("citations");
  return {
    kind: "document",
    source: readDocumentSource(fields.value("source"), fields.at("source"), notes),
    title: fields.text("title"),
    context: fields.text("context"),
    isCited: citations === undefined ? undefined : new Fields(CITATIONS, citations, fields.at("citations"), notes).flag("enabled"),
    cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes),
  };
}

function readDocumentSource(value: unknown, path: string, notes: Notes): DocumentPart["source"] {
  const fields = new Fields(SOURCE, value, path, notes);
  const type = fields.text("type");
  if (type === "text") return { kind: "text", text: fields.requiredText("data") };
  if (type !== "content") {
    const source = readSource(value, path, notes);
    return source.kind === "url" ? { ...source, mediaType: "application/pdf" } : source;
  }
  const content = fields.value("content");
  const texts = typeof content === "string" ? [content] : readTexts(content, fields.at("content"), notes).map(({ text }) => text);
  return { kind: "text", text: texts.join("\n") };
}

/** A piece of somebody's search: a text with a title, and with where it comes from. */
function readSearchResult(block: unknown, path: string, notes: Notes): DocumentPart {
  const fields = new Fields(SEARCH_RESULT, block, path, notes);
  const texts = readTexts(fields.value("content"), fields.at("content"), notes);
  const citations = fields.value("citations");
  return {
    kind: "document",
    source: { kind: "text", text: texts.map(({ text }) => text).join("\n") },
    title: fields.text("title"),
    context: fields.text("source"),
    isCited: citations === undefined ? undefined : new Fields(CITATIONS, citations, fields.at("citations"), notes).flag("enabled"),
    cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes),
  };
}

function readThought(block: unknown, path: string, notes: Notes): readonly Part[] {
  const fields = new Fields(THOUGHT, block, path, notes);
  const sealed = fields.text("signature");
  const signature = sealed === undefined ? undefined : openSignature(sealed, ANTHROPIC_MESSAGES);
  return [{ kind: "thinking", text: fields.requiredText("thinking"), signature }];
}

function readHiddenThought(block: unknown, path: string, notes: Notes): readonly Part[] {
  const fields = new Fields(HIDDEN_THOUGHT, block, path, notes);
  const signature = openSignature(fields.requiredText("data"), ANTHROPIC_MESSAGES);
  if (!signature) notes.drop(fields.at("data"));
  return signature ? [{ kind: "thinking", text: "", signature, isRedacted: true }] : [];
}

function readToolUse(block: unknown, path: string, notes: Notes): Part {
  const fields = new Fields(TOOL_USE, block, path, notes);
  return {
    kind: "toolCall",
    id: fields.requiredText("id"),
    name: fields.requiredText("name"),
    input: JSON.stringify(fields.object("input") ?? {}),
    cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes),
  };
}

function readToolResult(block: unknown, path: string, notes: Notes): Part {
  const fields = new Fields(TOOL_RESULT, block, path, notes);
  const isError = fields.flag("is_error");
  if (isError) notes.use("toolError", fields.at("is_error"));
  return {
    kind: "toolResult",
    callId: fields.requiredText("tool_use_id"),
    content: readResultContent(fields.value("content"), fields.at("content"), notes),
    isError,
    cache: readCache(fields.value("cache_control"), fields.at("cache_control"), notes),
  };
}

function readResultContent(content: unknown, path: string, notes: Notes): readonly ResultPart[] {
  if (content === undefined) return [];
  if (typeof content === "string") return textOnly(content, path, notes);
  if (!Array.isArray(content)) throw malformed(path, "must be a text or a list of blocks");
  return content.map((block: unknown, index) => {
    const at = `${path}[${index}]`;
    const part =
      isObject(block) && block["type"] === "tool_reference" ? readToolReference(block, at, notes) : readBlock(block, at, notes)[0];
    if (part?.kind !== "text" && part?.kind !== "image" && part?.kind !== "document")
      throw malformed(at, "must be text, an image or a document");
    if (part.kind !== "text") notes.use("toolResultMedia", at);
    return part;
  });
}

/** Every tool is told of at once, so that one which was looked for is there. */
function readToolReference(block: unknown, path: string, notes: Notes): TextPart {
  return { kind: "text", text: `The tool ${new Fields(TOOL_REFERENCE, block, path, notes).requiredText("tool_name")} is available.` };
}
