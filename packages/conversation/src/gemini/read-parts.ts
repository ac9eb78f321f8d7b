import type { AudioPart, DocumentPart, ImagePart, Part, ResultPart, Source, ThinkingPart, ToolResultPart } from "../conversation.ts";
import type { Fields } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";
import { malformed, type Notes, notTranslatable } from "../notes.ts";
import { openSignature } from "../signatures.ts";
import { CALL, FILE, INLINE, PART, RESULT, RESULT_PART } from "./fields.ts";
import { GEMINI } from "./name.ts";
import { fieldsOf } from "./spelling.ts";
import { placeOfCall, SIGNED_TEXT } from "./thought-signatures.ts";

type PartFields = Fields<keyof typeof PART.fields>;
/** What bytes can be. */
type Media = ImagePart | DocumentPart | AudioPart;

/** The parts of a content. Throws `invalid_request` for what is none, and `not_translatable` for what only Gemini has. */
export function readParts(values: readonly unknown[], path: string, notes: Notes): readonly Part[] {
  let calls = 0;
  return values.flatMap((value, index) => {
    const fields = fieldsOf(PART, value, `${path}[${index}]`, notes);
    const part = readPart(fields, notes);
    if (part === undefined) throw malformed(fields.path, "has nothing in it that is known");
    const place = part.kind === "toolCall" ? placeOfCall(calls++) : SIGNED_TEXT;
    return part.kind === "thinking"
      ? readThought(part, fields, notes)
      : [...readSignature(fields, place, notes), ...(isEmpty(part) ? [] : [part])];
  });
}

function isEmpty(part: Part): boolean {
  return part.kind === "text" && part.text === "";
}

function readPart(fields: PartFields, notes: Notes): Part | undefined {
  const text = fields.text("text");
  // Without a word it is hidden, as whoever wrote it for us says.
  if (fields.flag("thought")) return { kind: "thinking", text: text ?? "", ...(text === undefined && { isRedacted: true }) };
  if (text !== undefined) {
    notes.use("text", fields.at("text"));
    return { kind: "text", text };
  }
  if (fields.value("functionCall") !== undefined) return readCall(fields, notes);
  if (fields.value("functionResponse") !== undefined) return readResult(fields, notes);
  return readMedia(fields, notes) ?? (fields.text("thoughtSignature") === undefined ? undefined : { kind: "text", text: "" });
}

function readThought(thought: ThinkingPart, fields: PartFields, notes: Notes): readonly Part[] {
  const sealed = fields.text("thoughtSignature");
  // What Gemini says of its thoughts is unsigned, and its own.
  const signature = sealed === undefined ? { origin: GEMINI, value: "" } : openSignature(sealed, GEMINI);
  // A seal that is broken is nobody's.
  if (!signature) notes.drop(fields.at("thoughtSignature"));
  return signature ? [{ ...thought, signature }] : [];
}

/** A signature on what is no thought stands before it as a hidden one; `place` says where it goes back to. */
function readSignature(fields: PartFields, place: string, notes: Notes): readonly Part[] {
  const sealed = fields.text("thoughtSignature");
  if (sealed === undefined || sealed === "") return [];
  const signature = openSignature(sealed, GEMINI);
  if (!signature) {
    notes.drop(fields.at("thoughtSignature"));
    return [];
  }
  const placed = signature.origin === GEMINI ? { ...signature, id: place } : signature;
  return [{ kind: "thinking", text: "", signature: placed, isRedacted: true }];
}

function readCall(part: PartFields, notes: Notes): Part {
  const fields = fieldsOf(CALL, part.value("functionCall"), part.at("functionCall"), notes);
  return { kind: "toolCall", id: fields.text("id"), name: fields.requiredText("name"), input: JSON.stringify(fields.object("args") ?? {}) };
}

function readResult(part: PartFields, notes: Notes): ToolResultPart {
  const fields = fieldsOf(RESULT, part.value("functionResponse"), part.at("functionResponse"), notes);
  const response = fields.object("response") ?? {};
  const media = (fields.list("parts") ?? []).flatMap((value, index) => {
    const held = fieldsOf(RESULT_PART, value, `${fields.at("parts")}[${index}]`, notes);
    const one = readMedia(held, notes);
    if (one?.kind === "audio") throw notTranslatable(held.path, "sound is not translated");
    return one ? [one] : [];
  });
  const failed = response["error"] !== undefined && Object.keys(response).length === 1;
  if (failed) notes.use("toolError", `${fields.at("response")}.error`);
  return {
    kind: "toolResult",
    callId: fields.text("id"),
    name: fields.requiredText("name"),
    content: [...wordsOf(response), ...media],
    isError: failed || undefined,
  };
}

/** The members that stand for the whole of what a tool said. */
const WHOLE = ["output", "result", "error", "content"];

/** What a tool said: as it is where it is a text under one of the names that everybody uses, else the JSON of it. */
function wordsOf(response: JsonObject): readonly ResultPart[] {
  const [name, ...others] = Object.keys(response);
  if (name === undefined) return [];
  const value = response[name];
  const isWhole = others.length === 0 && WHOLE.includes(name);
  const texts: readonly unknown[] = !isWhole ? [] : Array.isArray(value) ? value : [value];
  if (texts.length === 0 || !texts.every((text) => typeof text === "string")) return [{ kind: "text", text: JSON.stringify(response) }];
  return texts.filter((text) => text !== "").map((text) => ({ kind: "text", text }));
}

function readMedia(part: Fields<"inlineData" | "fileData">, notes: Notes): Media | undefined {
  if (part.value("inlineData") !== undefined) {
    const fields = fieldsOf(INLINE, part.value("inlineData"), part.at("inlineData"), notes);
    const mediaType = fields.requiredText("mimeType").toLowerCase();
    const source = { kind: "base64", mediaType, data: fields.requiredText("data") } as const;
    return mediaOf(source, mediaType, fields.text("displayName"), part.at("inlineData"), notes);
  }
  if (part.value("fileData") === undefined) return undefined;
  const fields = fieldsOf(FILE, part.value("fileData"), part.at("fileData"), notes);
  const url = fields.requiredText("fileUri");
  if (!/^https?:\/\//i.test(url) || OWN_FILE.test(url)) throw notTranslatable(fields.at("fileUri"), "it is kept at the provider");
  const mediaType = fields.text("mimeType")?.toLowerCase() ?? (IMAGE_NAME.test(url) ? "image/jpeg" : "application/pdf");
  return mediaOf({ kind: "url", url }, mediaType, fields.text("displayName"), part.at("fileData"), notes);
}

/** What was uploaded to Google. */
const OWN_FILE = /^https?:\/\/[a-z0-9.-]+\.googleapis\.com\//i;
const IMAGE_NAME = /\.(?:png|jpe?g|gif|webp|heic|heif)(?:[?#]|$)/i;

function mediaOf(source: Source, mediaType: string, title: string | undefined, path: string, notes: Notes): Media {
  if (mediaType.startsWith("image/")) {
    notes.use("image", path);
    return { kind: "image", source };
  }
  if (mediaType.startsWith("audio/")) {
    notes.use("audio", path);
    return { kind: "audio", source };
  }
  if (mediaType.startsWith("video/")) throw notTranslatable(path, "videos are not translated");
  notes.use("document", path);
  return { kind: "document", source: source.kind === "url" ? { ...source, mediaType } : source, title };
}

/** The list of parts of a content; a single one stands for a list of it, as Google's own parser has it. */
export function partsOf(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (isObject(value)) return [value];
  if (value === undefined) return [];
  throw malformed(path, "must be a list of parts");
}
