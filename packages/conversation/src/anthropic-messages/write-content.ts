import type { CallIds } from "../call-ids.ts";
import type { CacheMark, DocumentPart, Part, ResultPart, Source, TextPart, ThinkingPart, ToolCallPart } from "../conversation.ts";
import { FREEFORM_FIELD, type JsonObject, parseObject, present } from "../json.ts";
import { type Notes, notTranslatable } from "../notes.ts";
import type { SafeNames } from "../safe-names.ts";
import { ANTHROPIC_MESSAGES } from "./name.ts";

/** What blocks are written with. */
export interface BlockWriter {
  readonly notes: Notes;
  readonly ids: CallIds;
  readonly names: SafeNames;
}

/** `cache_control`, or undefined. */
export function writeCache(cache: CacheMark | undefined): JsonObject | undefined {
  return cache && present({ type: "ephemeral", ttl: cache.lifetime });
}

/** Text blocks; empty ones are refused by Anthropic and say nothing. */
export function writeTexts(parts: readonly TextPart[]): readonly JsonObject[] {
  return parts
    .filter(({ text }) => text !== "")
    .map(({ text, cache }) => present({ type: "text", text, cache_control: writeCache(cache) }));
}

/** The blocks of a message, results of tools first: Anthropic takes them nowhere else. */
export function writeParts(writer: BlockWriter, parts: readonly Part[]): readonly JsonObject[] {
  const results = parts.filter(({ kind }) => kind === "toolResult");
  return [...results, ...parts.filter(({ kind }) => kind !== "toolResult")].flatMap((part) => writePart(writer, part));
}

function writePart(writer: BlockWriter, part: Part): readonly JsonObject[] {
  switch (part.kind) {
    case "refusal":
      return writeTexts([{ kind: "text", text: part.text }]);
    case "thinking":
      return writeThought(part, writer.notes);
    case "toolCall":
      return [writeCall(writer, part)];
    case "toolResult": {
      const content = part.content.flatMap((one) => writeShown(one, writer.notes));
      return [
        present({
          type: "tool_result",
          tool_use_id: writer.ids.ofResult(part),
          content: content.length === 0 ? undefined : content,
          is_error: part.isError,
          cache_control: writeCache(part.cache),
        }),
      ];
    }
    case "audio":
      throw notTranslatable(writer.notes.placeOf("audio"), "sound is not taken there");
    default:
      return writeShown(part, writer.notes);
  }
}

function writeShown(part: ResultPart, notes: Notes): readonly JsonObject[] {
  if (part.kind === "text") return writeTexts([part]);
  if (part.kind === "document") return [writeDocument(part, notes)];
  return [present({ type: "image", source: writeSource(part.source), cache_control: writeCache(part.cache) })];
}

function writeSource(source: Source): JsonObject {
  return source.kind === "url" ? { type: "url", url: source.url } : { type: "base64", media_type: source.mediaType, data: source.data };
}

function writeDocument({ source, title, context, isCited, cache }: DocumentPart, notes: Notes): JsonObject {
  return present({
    type: "document",
    source: writeDocumentSource(source, notes),
    title,
    context,
    citations: isCited === undefined ? undefined : { enabled: isCited },
    cache_control: writeCache(cache),
  });
}

function writeDocumentSource(source: DocumentPart["source"], notes: Notes): JsonObject {
  if (source.kind === "text") return { type: "text", media_type: "text/plain", data: source.text };
  if (source.kind === "url" || source.mediaType === "application/pdf") return writeSource(source);
  if (/^text\/|^application\/json$/.test(source.mediaType))
    return { type: "text", media_type: "text/plain", data: Buffer.from(source.data, "base64").toString("utf8") };
  throw notTranslatable(notes.placeOf("document"), "PDF and text are taken there alone");
}

/** A thought goes back to whoever signed it; Anthropic takes no other one. */
function writeThought({ text, signature, isRedacted }: ThinkingPart, notes: Notes): readonly JsonObject[] {
  if (signature?.origin !== ANTHROPIC_MESSAGES || signature.value === "") {
    notes.dropFeature("thinking");
    return [];
  }
  if (isRedacted) return [{ type: "redacted_thinking", data: signature.value }];
  return [{ type: "thinking", thinking: text, signature: signature.value }];
}

function writeCall({ ids, names, notes }: BlockWriter, part: ToolCallPart): JsonObject {
  const { name, input, isFreeform, cache } = part;
  const object = isFreeform ? undefined : input.trim() === "" ? {} : parseObject(input);
  // What a model wrote as arguments and is no object must not stop the conversation for good.
  if (!object && !isFreeform) notes.changeFeature("toolCall");
  return present({
    type: "tool_use",
    id: ids.ofCall(part),
    name: names.of(name),
    input: object ?? { [FREEFORM_FIELD]: input },
    cache_control: writeCache(cache),
  });
}
