import type { CallIds } from "../call-ids.ts";
import type { DocumentPart, Part, ResultPart, Source, ThinkingPart, ToolCallPart, ToolResultPart, Turn } from "../conversation.ts";
import { FREEFORM_FIELD, type JsonObject, parseObject, present } from "../json.ts";
import { type Notes, notTranslatable } from "../notes.ts";
import type { SafeNames } from "../safe-names.ts";
import { GEMINI } from "./name.ts";
import { placedSignatures, placeOfCall, SIGNED_TEXT } from "./thought-signatures.ts";
import { LEVELLED } from "./write-reasoning.ts";

interface PartsWriterOptions {
  readonly notes: Notes;
  readonly ids: CallIds;
  readonly names: SafeNames;
  readonly model: string;
}

/** Gemini 3 refuses a turn whose first call is unsigned. Of calls that another model made, or whose signature a client lost, Google takes this instead. */
const NOT_SIGNED = "skip_thought_signature_validator";
/** Where nobody says which tool answered. */
const UNKNOWN_TOOL = "tool";

/** Writes the contents of one conversation: a result is told by the name of the tool that was called. */
export class PartsWriter {
  readonly #options: PartsWriterOptions;
  readonly #toolOfCall = new Map<string, string>();

  constructor(options: PartsWriterOptions) {
    this.#options = options;
  }

  /** One content, or none where nothing of the turn can be said. Throws `not_translatable`. */
  content({ role, parts }: Turn): readonly JsonObject[] {
    const written = role === "assistant" ? this.#answer(parts) : this.#question(parts);
    return written.length === 0 ? [] : [{ role: role === "assistant" ? "model" : "user", parts: written }];
  }

  /** Results come first, as many as there were calls; what they show stands behind all of them. */
  #question(parts: readonly Part[]): readonly JsonObject[] {
    const results = parts.filter((part) => part.kind === "toolResult");
    return [
      ...results.map((result) => this.#result(result)),
      ...results.flatMap((result) => this.#shownBeside(result)),
      ...parts.filter(({ kind }) => kind !== "toolResult").flatMap((part) => this.#part(part)),
    ];
  }

  #answer(parts: readonly Part[]): readonly JsonObject[] {
    const signatures = placedSignatures(parts);
    const lastText = parts.findLast((part) => part.kind === "text" && part.text !== "");
    const signedText = signatures.get(SIGNED_TEXT);
    let calls = 0;
    const written = parts.flatMap((part) => {
      if (part.kind === "toolCall") {
        const isFirst = calls === 0;
        const signature = signatures.get(placeOfCall(calls++));
        const standIn = isFirst && LEVELLED.test(this.#options.model) ? NOT_SIGNED : undefined;
        return [present({ functionCall: this.#call(part), thoughtSignature: signature ?? standIn })];
      }
      if (part === lastText && signedText !== undefined) return this.#part(part).map((one) => ({ ...one, thoughtSignature: signedText }));
      return this.#part(part);
    });
    return signedText === undefined || lastText ? written : [...written, { text: "", thoughtSignature: signedText }];
  }

  #part(part: Part): readonly JsonObject[] {
    switch (part.kind) {
      case "text":
      case "refusal":
        return part.text === "" ? [] : [{ text: part.text }];
      case "thinking":
        return this.#thought(part);
      case "image":
        return [writeMedia(part.source, "image/jpeg")];
      case "document":
        return writeDocument(part);
      case "audio":
        throw notTranslatable(this.#options.notes.placeOf("audio"), "sound is not translated");
      default:
        return [];
    }
  }

  /** A thought goes back to whoever signed it; what signs another part stands there. */
  #thought({ text, signature, isRedacted }: ThinkingPart): readonly JsonObject[] {
    if (signature?.origin !== GEMINI || (signature.id === undefined && signature.value === "")) {
      this.#options.notes.dropFeature("thinking");
      return [];
    }
    if (signature.id !== undefined) return [];
    return [present({ text: isRedacted ? undefined : text, thought: true, thoughtSignature: signature.value })];
  }

  #call(part: ToolCallPart): JsonObject {
    const { ids, names, notes } = this.#options;
    const id = ids.ofCall(part);
    const name = names.of(part.name);
    this.#toolOfCall.set(id, name);
    const object = part.isFreeform ? undefined : part.input.trim() === "" ? {} : parseObject(part.input);
    // What a model wrote as arguments and is no object must not stop the conversation for good.
    if (!object && !part.isFreeform) notes.changeFeature("toolCall");
    return { id, name, args: object ?? { [FREEFORM_FIELD]: part.input } };
  }

  #result(result: ToolResultPart): JsonObject {
    const { ids, names } = this.#options;
    const id = ids.ofResult(result);
    const name = this.#toolOfCall.get(id) ?? (result.name === undefined ? UNKNOWN_TOOL : names.of(result.name));
    const texts = result.content.flatMap((part) => (part.kind === "text" ? [part.text] : textOf(part)));
    const said = texts.length <= 1 ? (texts[0] ?? "") : texts;
    return { functionResponse: { id, name, response: result.isError ? { error: said } : { output: said } } };
  }

  /** Images and files of a tool's answer. */
  #shownBeside(result: ToolResultPart): readonly JsonObject[] {
    const media = result.content.filter((part) => part.kind !== "text" && textOf(part).length === 0);
    if (media.length === 0) return [];
    const text = `What the tool call ${this.#options.ids.ofResult(result)} shows:`;
    return [{ text }, ...media.flatMap((part) => this.#part(part))];
  }
}

/** Of a document that is text. */
function textOf(part: ResultPart): readonly string[] {
  if (part.kind !== "document" || part.source.kind !== "text") return [];
  return [[part.title, part.context, part.source.text].filter((text) => text !== undefined).join("\n")];
}

function writeDocument(part: DocumentPart): readonly JsonObject[] {
  const { source, context } = part;
  if (source.kind === "text") return textOf(part).map((text) => ({ text }));
  const media = writeMedia(source, "application/pdf");
  return context === undefined ? [media] : [{ text: context }, media];
}

/** A link has to say what is behind it: where nobody knows, it is the most common of its kind. */
function writeMedia(source: Source, usualType: string): JsonObject {
  if (source.kind === "base64") return { inlineData: { mimeType: source.mediaType, data: source.data } };
  return { fileData: { mimeType: source.mediaType ?? typeOf(source.url) ?? usualType, fileUri: source.url } };
}

const TYPES: Readonly<Record<string, string>> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  webp: "image/webp",
  gif: "image/gif",
  heic: "image/heic",
  heif: "image/heif",
};

function typeOf(url: string): string | undefined {
  const ending = /\.([a-z]{3,4})(?:[?#]|$)/i.exec(url)?.[1]?.toLowerCase() ?? "";
  return Object.hasOwn(TYPES, ending) ? TYPES[ending] : undefined;
}
