import type { CallIds } from "../call-ids.ts";
import type { DocumentPart, Part, ResultPart, Source, ThinkingPart, ToolResultPart, Turn } from "../conversation.ts";
import { type JsonObject, present } from "../json.ts";
import { type Notes, notTranslatable } from "../notes.ts";
import type { SafeNames } from "../safe-names.ts";
import { OPENAI_CHAT } from "./name.ts";

/** What messages are written with. */
interface MessageWriter {
  readonly notes: Notes;
  readonly ids: CallIds;
  readonly names: SafeNames;
}

/** The messages of a turn: results of tools are messages of their own, and come first. */
export function writeTurn(writer: MessageWriter, { role, parts }: Turn): readonly JsonObject[] {
  if (role === "assistant") return [writeAssistant(writer, parts)];
  if (role === "system") return parts.length === 0 ? [] : [{ role, content: contentOf(parts.flatMap((part) => writePart(writer, part))) }];
  const results = parts.filter((part) => part.kind === "toolResult");
  const messages = results.map((result) => writeResult(writer, result));
  const content = [
    ...results.flatMap((result) => shownBeside(writer, result)),
    ...parts.filter(({ kind }) => kind !== "toolResult").flatMap((part) => writePart(writer, part)),
  ];
  return content.length === 0 ? messages : [...messages, { role, content: contentOf(content) }];
}

/** One text stands as it is: every compatible server takes that. */
export function contentOf(parts: readonly JsonObject[]): unknown {
  const [first, ...others] = parts;
  return first?.["type"] === "text" && others.length === 0 ? first["text"] : parts;
}

function writeAssistant({ notes, ids, names }: MessageWriter, parts: readonly Part[]): JsonObject {
  const texts = parts.flatMap((part) => (part.kind === "text" ? [{ type: "text", text: part.text }] : []));
  const refusal = parts.flatMap((part) => (part.kind === "refusal" ? [part.text] : [])).join("");
  const calls = parts
    .filter((part) => part.kind === "toolCall")
    .map((call) => {
      const { name, input, isFreeform } = call;
      return isFreeform
        ? { id: ids.ofCall(call), type: "custom", custom: { name: names.of(name), input } }
        : { id: ids.ofCall(call), type: "function", function: { name: names.of(name), arguments: input } };
    });
  return present({
    role: "assistant",
    content: texts.length === 0 ? (calls.length > 0 || refusal !== "" ? null : "") : contentOf(texts),
    refusal: refusal === "" ? undefined : refusal,
    reasoning_content: thoughtOf(
      parts.filter((part) => part.kind === "thinking"),
      notes,
    ),
    tool_calls: calls.length === 0 ? undefined : calls,
  });
}

/** Back to a server that told its thoughts; one of another dialect would be no thought there. */
function thoughtOf(thoughts: readonly ThinkingPart[], notes: Notes): string | undefined {
  const own = thoughts.filter(({ signature }) => signature?.origin === OPENAI_CHAT);
  if (own.length < thoughts.length) notes.dropFeature("thinking");
  return own.length === 0 ? undefined : own.map(({ text }) => text).join("");
}

function writeResult({ ids }: MessageWriter, result: ToolResultPart): JsonObject {
  const texts = result.content.flatMap((part) => (part.kind === "text" ? [part.text] : part.kind === "document" ? textOf(part) : []));
  const shown = result.content.length > texts.length ? [...texts, SHOWN_BELOW] : texts;
  const said = result.isError ? [TOOL_FAILED, ...shown] : shown;
  return {
    role: "tool",
    tool_call_id: ids.ofResult(result),
    content: said.length <= 1 ? (said[0] ?? "") : said.map((text) => ({ type: "text", text })),
  };
}

/** Chats have no sign of it. */
const TOOL_FAILED = "The tool failed:";
const SHOWN_BELOW = "What the tool shows is in the next message.";

/** Images and files of a tool's answer: chats take them from the user alone. */
function shownBeside(writer: MessageWriter, result: ToolResultPart): readonly JsonObject[] {
  const media = result.content.filter((part) => part.kind === "image" || (part.kind === "document" && textOf(part).length === 0));
  if (media.length === 0) return [];
  return [
    { type: "text", text: `What the tool call ${writer.ids.ofResult(result)} shows:` },
    ...media.flatMap((part) => writePart(writer, part)),
  ];
}

function textOf({ source, title, context }: DocumentPart): readonly string[] {
  return source.kind === "text" ? [[title, context, source.text].filter((text) => text !== undefined).join("\n")] : [];
}

function writePart({ notes }: MessageWriter, part: Part | ResultPart): readonly JsonObject[] {
  switch (part.kind) {
    case "text":
    case "refusal":
      return part.text === "" ? [] : [{ type: "text", text: part.text }];
    case "image":
      return [{ type: "image_url", image_url: present({ url: urlOf(part.source), detail: part.detail }) }];
    case "document":
      return writeDocument(part, notes);
    case "audio":
      throw notTranslatable(notes.placeOf("audio"), "sound is not translated");
    default:
      // Thoughts and calls of a user are nobody's.
      return [];
  }
}

function writeDocument(part: DocumentPart, notes: Notes): readonly JsonObject[] {
  const { source, title, context } = part;
  if (source.kind === "text") return textOf(part).map((text) => ({ type: "text", text }));
  if (source.kind === "url") throw notTranslatable(notes.placeOf("document"), "files are taken there as bytes, not as links");
  const file = { type: "file", file: { filename: title ?? "document.pdf", file_data: urlOf(source) } };
  return context === undefined ? [file] : [{ type: "text", text: context }, file];
}

function urlOf(source: Source): string {
  return source.kind === "url" ? source.url : `data:${source.mediaType};base64,${source.data}`;
}
