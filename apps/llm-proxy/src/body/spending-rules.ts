import { AppError } from "@proliferate/shared/errors";
import type { FactCollector } from "./fact-collector.ts";
import { documentTokens, imageTokens, MOST_IMAGE_TOKENS, PROVIDER_TOOL_TOKENS, soundTokens } from "./input-tokens.ts";
import type { Place } from "./place.ts";
import { Kind, type SeenElement, type SeenObject } from "./seen-object.ts";

/** What is made of each kind of object that can spend. `spending-fields.ts` says where they stand. */

/** Tools that the caller runs itself, and toolsets of such tools. */
const CLIENT_TOOL = /^(?:custom|function|(?:bash|text_editor|computer|memory|browser_toolset|computer_toolset)_\d{8})$/;
/** Tools that the provider runs, with or without the date of their version. */
const SERVER_TOOL = /^(?:web_search|web_fetch|code_execution|advisor|tool_search_tool_regex|tool_search_tool_bm25|mcp_toolset)(?:_\d{8})?$/;

export const TOOL: Place = {
  isExact: true,
  values: ["type", "model", "max_uses", "max_tokens"],
  judge: (tool, facts) => {
    const model = tool.text("model");
    if (tool.has("model")) nameModel(tool, facts, "advisor", model);
    if (!tool.has("type")) return;
    const type = tool.text("type") ?? "";
    if (CLIENT_TOOL.test(type)) return facts.added(type.includes("_") ? PROVIDER_TOOL_TOKENS : 0);
    facts.added(PROVIDER_TOOL_TOKENS);
    if (SERVER_TOOL.test(type)) facts.serverTool({ path: tool.path(), type, maxUses: usesOf(tool) });
    else facts.unjudged({ path: tool.path(), why: "unknown_server_tool" });
  },
};

/** A limit of uses of the wrong type is refused by name: a provider that reads it after all would use the tool as often. */
function usesOf(tool: SeenObject): number | undefined {
  if (tool.has("max_uses") && tool.value("max_uses").kind !== Kind.number)
    throw new AppError("invalid_request", "max_uses must be a number.", { param: tool.pathOf("max_uses").slice(0, 128) });
  return tool.limit("max_uses");
}

const FALLBACK: Place = {
  isExact: true,
  values: ["model", "max_tokens", "speed"],
  judge: (fallback, facts) => nameModel(fallback, facts, "fallback", fallback.text("model")),
};

/** A list of fallbacks: of objects, or (other gateways) of names. */
export const FALLBACKS: Place = {
  elements: FALLBACK,
  judgeElement: ({ path, text }, facts) => {
    if (text === undefined) facts.unjudged({ path, why: "unknown_value" });
    else facts.namedModel({ path, model: text, role: "fallback", maxOutputTokens: undefined, speed: undefined });
  },
};

/** A model that an object names under `model`; what cannot be read is not judged. */
export function nameModel(
  object: SeenObject,
  facts: FactCollector,
  role: "advisor" | "fallback" | "moderation",
  model: string | undefined,
): void {
  const path = object.pathOf("model");
  if (model === undefined) return facts.unjudged({ path, why: "unknown_value" });
  const speed = role === "fallback" ? object.text("speed") : undefined;
  if (role === "fallback" && object.has("speed") && speed === undefined)
    facts.unjudged({ path: object.pathOf("speed"), why: "unknown_value" });
  facts.namedModel({ path, model, role, maxOutputTokens: role === "moderation" ? undefined : ownLimit(object), speed });
}

/** A limit that is given and cannot be read holds nothing: then the request's own is not in force, either, but the model's. */
function ownLimit(object: SeenObject): number | undefined {
  return object.has("max_tokens") ? (object.limit("max_tokens") ?? NO_LIMIT) : undefined;
}

/** More than any model answers. */
const NO_LIMIT = 1e9;

export const MODERATION: Place = {
  isExact: true,
  values: ["model"],
  judge: (moderation, facts) => nameModel(moderation, facts, "moderation", moderation.text("model")),
};

/** The properties of a JSON schema: their names are the caller's words, whatever they say. */
const SCHEMA_NAMES: Place = {
  get elements(): Place {
    return UNKNOWN;
  },
  get others(): Place {
    return UNKNOWN;
  },
};

/** In a field that no dialect documents: whatever names a model there may be called. A schema (`guided_json`) names none. */
export const UNKNOWN: Place = {
  isExact: true,
  values: ["model", "models", "model_id", "model_name", "fallback_model", "fallback_models"],
  judge: (object, facts) => facts.unjudged({ path: object.path(), why: "unknown_field_names_model" }),
  inside: { properties: SCHEMA_NAMES, $defs: SCHEMA_NAMES, definitions: SCHEMA_NAMES },
  get elements(): Place {
    return UNKNOWN;
  },
  get others(): Place {
    return UNKNOWN;
  },
};

export const MCP_SERVER: Place = {
  isExact: true,
  values: ["url", "name", "type"],
  judge: (server, facts) => facts.unmeasured({ path: server.path(), kind: "mcp" }),
};

export const COMPACTION_EDIT: Place = {
  isExact: true,
  values: ["type"],
  judge: (edit, facts) => {
    const type = edit.text("type") ?? "";
    if (type.startsWith("compact")) facts.extraPass({ path: edit.path(), type });
    else if (!/^clear_(?:tool_uses|thinking)(?:_\d{8})?$/.test(type)) facts.unjudged({ path: edit.path(), why: "unknown_value" });
  },
};

export const STREAM_OPTIONS: Place = {
  isExact: true,
  values: ["include_usage"],
  judge: (options, facts) => {
    facts.positions.includeUsage = options.value("include_usage");
  },
};

/** `source` of Anthropic's images and documents. `content` in it leads on. */
export function sourcePlace(content: () => Place): Place {
  return {
    isExact: true,
    values: ["type", "media_type", "data", "url", "file_id"],
    judgedWith: ["data", "url", "file_id"],
    judge: judgeSource,
    get inside(): Readonly<Record<string, Place>> {
      return { content: content() };
    },
  };
}

function judgeSource(source: SeenObject, facts: FactCollector): void {
  if (source.has("file_id")) facts.unmeasured({ path: source.pathOf("file_id"), kind: "file" });
  if (source.has("url")) facts.unmeasured({ path: source.pathOf("url"), kind: "url" });
  // Plain text stands under `data`, too.
  if (!source.has("data") || source.text("type") !== "base64") return;
  const size = source.sizeOf("data");
  const isImage = source.text("media_type")?.startsWith("image/") ?? false;
  if (isImage) return facts.media(size, imageTokens(size.read, MOST_IMAGE_TOKENS.anthropic));
  facts.media(size, documentTokens(size.read));
  facts.unmeasured({ path: source.pathOf("data"), kind: "document" });
}

/** `image_url`, and `video_url` or `audio_url` of compatible servers, where they are objects. */
export const MEDIA_URL: Place = { isExact: true, values: ["url"], judge: (object, facts) => judgeUrl(object, "url", facts) };

/** A link is an input that the bytes do not show; `data:` is an image, or a document. */
export function judgeUrl(object: SeenObject, name: string, facts: FactCollector): void {
  if (object.value(name).kind !== Kind.string) return;
  const path = object.pathOf(name);
  if (!object.startsWith(name, "data:")) return facts.unmeasured({ path, kind: "url" });
  const size = object.sizeOf(name);
  if (object.startsWith(name, "data:image/")) return facts.media(size, imageTokens(size.read, MOST_IMAGE_TOKENS.openai));
  facts.media(size, documentTokens(size.read));
  facts.unmeasured({ path, kind: "document" });
}

export const FILE: Place = {
  isExact: true,
  values: ["file_id", "file_data", "file_url"],
  judge: (file, facts) => {
    if (file.has("file_id")) facts.unmeasured({ path: file.pathOf("file_id"), kind: "file" });
    if (file.has("file_url")) facts.unmeasured({ path: file.pathOf("file_url"), kind: "url" });
    judgeFileData(file, facts);
  },
};

/** A file that stands in the body: the pages of a document are not in proportion to its bytes. */
export function judgeFileData(file: SeenObject, facts: FactCollector): void {
  if (!file.has("file_data")) return;
  const size = file.sizeOf("file_data");
  facts.media(size, documentTokens(size.read));
  facts.unmeasured({ path: file.pathOf("file_data"), kind: "document" });
}

export const INPUT_AUDIO: Place = {
  isExact: true,
  values: ["data", "url", "format"],
  judgedWith: ["data", "url"],
  judge: (sound, facts) => {
    if (sound.has("url")) linkedSound(sound.pathOf("url"), facts);
    if (sound.value("data").kind === Kind.absent) return;
    // Some servers fetch what stands there.
    if (sound.startsWith("data", "http")) return linkedSound(sound.pathOf("data"), facts);
    const size = sound.sizeOf("data");
    facts.media(size, soundTokens(size.read));
    facts.audio("input");
  },
};

/** Sound that is fetched from somewhere. */
export function linkedSound(path: string, facts: FactCollector): void {
  facts.unmeasured({ path, kind: "url" });
  facts.audio("input");
}

/** An earlier answer in sound, kept by the provider. */
export const STORED_AUDIO: Place = {
  isExact: true,
  values: ["id"],
  judge: (sound, facts) => {
    facts.unmeasured({ path: sound.pathOf("id"), kind: "stored" });
    facts.audio("input");
  },
};

export const MODALITIES: Place = {
  judgeElement: ({ text }: SeenElement, facts: FactCollector) => {
    if (text === "audio") facts.audio("output");
  },
};

/** `file_id` of a block: a file that goes into a container. What a tool has put out is only a name in the history. */
export function judgeBlock(block: SeenObject, facts: FactCollector): void {
  if (block.has("file_id") && !(block.text("type") ?? "").endsWith("_output"))
    facts.unmeasured({ path: block.pathOf("file_id"), kind: "file" });
}

/** Fields of a chat part that lead to media: as a plain string, or as an object with a `url`. Compatible servers add to OpenAI's one. */
export const MEDIA_URL_FIELDS = ["image_url", "video_url", "audio_url", "document_url", "file_url", "pdf_url"] as const;

/** Parts whose media are measured by their own rules. */
const MEASURED_PART = /^(?:image_url|video_url|audio_url|document_url|file_url|pdf_url|input_audio|file)$/;
/** Other parts that are media by their type, as servers call them (`image`, `input_image`, `document`, `pdf`, `input_file`). */
const MEDIA_PART = /^(?:input_)?(?:image|video|audio|document|file|pdf|media)(?:_|$)|_url$/;

/** Media in a chat part. A part of a type that nobody documents here, and that means media, may fetch them from anywhere. */
export function judgePart(part: SeenObject, facts: FactCollector): void {
  for (const name of MEDIA_URL_FIELDS) judgeUrl(part, name, facts);
  judgeBlock(part, facts);
  // A link, or the sound itself: nobody says which at the servers that take a string.
  if (part.value("input_audio").kind === Kind.string) linkedSound(part.pathOf("input_audio"), facts);
  const type = part.text("type");
  if (type !== undefined && MEDIA_PART.test(type) && !MEASURED_PART.test(type))
    facts.unmeasured({ path: part.pathOf("type"), kind: "url" });
}

/** What is kept by the provider and comes into the prompt. */
export function judgeStored(root: SeenObject, names: readonly string[], facts: FactCollector): void {
  for (const name of names) if (root.has(name)) facts.unmeasured({ path: name, kind: "stored" });
}

/** The larger of two limits of the output. One that is given and cannot be read may be none at all: -1 is, at some servers. */
export function largerOutputLimit(object: SeenObject, ...names: readonly string[]): number | undefined {
  return names.some((name) => object.has(name) && object.limit(name) === undefined) ? undefined : largerLimit(object, ...names);
}

/** The larger of two limits: providers that know both disagree which one holds. */
export function largerLimit(object: SeenObject, ...names: readonly string[]): number | undefined {
  const limits = names.map((name) => object.limit(name)).filter((limit) => limit !== undefined);
  return limits.length === 0 ? undefined : Math.max(...limits);
}
