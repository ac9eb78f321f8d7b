import type { CacheMark, DocumentPart, ImagePart, Part, ResultPart, Signature, TextPart, Turn } from "../conversation.ts";
import { Fields } from "../fields.ts";
import { isObject, objectsOf, textOf } from "../json.ts";
import { malformed, type Notes, notTranslatable, quoted } from "../notes.ts";
import { sourceOf } from "../openai-chat/read-messages.ts";
import { openSignature } from "../signatures.ts";
import { BREAKPOINT, CALL, FILE, IMAGE, MESSAGE, OUTPUT, REFUSAL, SUMMARY, TEXT, THOUGHT } from "./fields.ts";
import { OPENAI_RESPONSES } from "./name.ts";

/** What stands between a namespace and its tool in a neutral name. */
const NAMESPACE_END = "/";
/** How a hidden thought of another dialect is told from one that only has no words; what its maker calls it stands behind it. */
const HIDDEN = "hidden";

/** The signature of a hidden thought as it is sealed. */
export function hiddenSignature(signature: Signature): Signature {
  return { ...signature, id: signature.id === undefined ? HIDDEN : `${HIDDEN}:${signature.id}` };
}

/** The signature of another dialect's thought as its maker made it, and whether that is hidden. */
export function shownSignature({ origin, value, id }: Signature): { readonly signature: Signature; readonly isHidden: boolean } {
  const isHidden = id === HIDDEN || (id?.startsWith(`${HIDDEN}:`) ?? false);
  const own = isHidden ? id?.slice(HIDDEN.length + 1) : id;
  return { signature: { origin, value, ...(own !== undefined && own !== "" && { id: own }) }, isHidden };
}

/** The neutral name of a tool. */
export function toolName(name: string, namespace: string | undefined): string {
  return namespace === undefined ? name : `${namespace}${NAMESPACE_END}${name}`;
}

/** The name and the namespace of a neutral name. */
export function namesOf(tool: string): { readonly name: string; readonly namespace?: string } {
  const end = tool.indexOf(NAMESPACE_END);
  return end < 0 ? { name: tool } : { name: tool.slice(end + 1), namespace: tool.slice(0, end) };
}

/** The turn that an item is part of. Throws `invalid_request` and `not_translatable`. */
export function readItem(item: unknown, path: string, notes: Notes): Turn {
  const type = isObject(item) ? (item["type"] ?? "message") : undefined;
  switch (type) {
    case "message":
      return readMessage(item, path, notes);
    case "function_call":
    case "custom_tool_call":
      return { role: "assistant", parts: [readCall(item, path, notes)] };
    case "function_call_output":
    case "custom_tool_call_output":
      return { role: "user", parts: [readOutput(item, path, notes)] };
    case "reasoning":
      return { role: "assistant", parts: readThought(item, path, notes) };
    default:
      throw notTranslatable(path, `items of the type ${quoted(type)} are not translated`);
  }
}

function readMessage(item: unknown, path: string, notes: Notes): Turn {
  const fields = new Fields(MESSAGE, item, path, notes);
  const role = fields.text("role");
  if (role !== "user" && role !== "assistant" && role !== "system" && role !== "developer")
    throw malformed(fields.at("role"), "must be user, assistant, system or developer");
  const parts = readContent(fields.value("content"), fields.at("content"), notes);
  return { role: role === "developer" ? "system" : role, parts };
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
    case "input_text":
    case "output_text":
    case "text":
      return readText(part, path, notes);
    case "refusal":
      return { kind: "refusal", text: new Fields(REFUSAL, part, path, notes).requiredText("refusal") };
    case "input_image":
      return readImage(part, path, notes);
    case "input_file":
      return readFile(part, path, notes);
    default:
      throw notTranslatable(path, `parts of the type ${quoted(type)} are not translated`);
  }
}

function readText(part: unknown, path: string, notes: Notes): TextPart {
  const fields = new Fields(TEXT, part, path, notes);
  return { kind: "text", text: fields.requiredText("text"), cache: markOf(fields, notes) };
}

function markOf(fields: Fields<"prompt_cache_breakpoint">, notes: Notes): CacheMark | undefined {
  const breakpoint = fields.value("prompt_cache_breakpoint");
  if (breakpoint === undefined) return undefined;
  new Fields(BREAKPOINT, breakpoint, fields.at("prompt_cache_breakpoint"), notes).text("mode");
  return { lifetime: undefined };
}

function readImage(part: unknown, path: string, notes: Notes): ImagePart {
  const fields = new Fields(IMAGE, part, path, notes);
  const detail = fields.text("detail");
  // What every image has by default asks for nothing.
  if (detail !== undefined && detail !== "auto") notes.use("imageDetail", fields.at("detail"));
  return { kind: "image", source: sourceOf(fields.requiredText("image_url")), detail, cache: markOf(fields, notes) };
}

function readFile(part: unknown, path: string, notes: Notes): DocumentPart {
  const fields = new Fields(FILE, part, path, notes);
  const url = fields.text("file_url");
  const source =
    url === undefined ? sourceOf(fields.requiredText("file_data")) : ({ kind: "url", url, mediaType: "application/pdf" } as const);
  return { kind: "document", source, title: fields.text("filename"), cache: markOf(fields, notes) };
}

function readCall(item: unknown, path: string, notes: Notes): Part {
  const fields = new Fields(CALL, item, path, notes);
  const isFreeform = fields.text("type") === "custom_tool_call";
  return {
    kind: "toolCall",
    id: fields.requiredText("call_id"),
    name: toolName(fields.requiredText("name"), fields.text("namespace")),
    input: (isFreeform ? fields.text("input") : fields.text("arguments")) ?? "",
    ...(isFreeform && { isFreeform }),
  };
}

function readOutput(item: unknown, path: string, notes: Notes): Part {
  const fields = new Fields(OUTPUT, item, path, notes);
  const content = readContent(fields.value("output"), fields.at("output"), notes).map((part, index): ResultPart => {
    const at = `${fields.at("output")}[${index}]`;
    if (part.kind !== "text" && part.kind !== "image" && part.kind !== "document") throw malformed(at, "must be text, an image or a file");
    if (part.kind !== "text") notes.use("toolResultMedia", at);
    return part;
  });
  return {
    kind: "toolResult",
    callId: fields.requiredText("call_id"),
    content,
    ...(fields.text("type") === "custom_tool_call_output" && { isFreeform: true }),
  };
}

function readThought(item: unknown, path: string, notes: Notes): readonly Part[] {
  const fields = new Fields(THOUGHT, item, path, notes);
  const words = (name: "summary" | "content"): readonly string[] =>
    objectsOf(fields.list(name)).map((one, index) => new Fields(SUMMARY, one, `${fields.at(name)}[${index}]`, notes).text("text") ?? "");
  const text = [...words("summary"), ...words("content")].join("\n\n");
  const sealed = fields.text("encrypted_content");
  const signature = sealed === undefined ? undefined : openSignature(sealed, OPENAI_RESPONSES);
  if (sealed !== undefined && !signature) {
    notes.drop(fields.at("encrypted_content"));
    return [];
  }
  if (!signature) return [{ kind: "thinking", text, signature }];
  if (signature.origin !== OPENAI_RESPONSES) {
    const { signature: own, isHidden } = shownSignature(signature);
    return [{ kind: "thinking", text, signature: own, ...(isHidden && { isRedacted: true }) }];
  }
  return [{ kind: "thinking", text, signature: { ...signature, id: textOf(fields.value("id")) } }];
}
