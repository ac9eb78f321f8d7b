import type { TestDialect } from "./test-scan.ts";
import type { RequestFacts } from "./request-facts.ts";

/**
 * The facts of a body, read the slow way: from a tree that `JSON.parse` made. Shares no code with the scanner; tests compare
 * the two. Bodies that are to be refused are not its business.
 */

type Json = Readonly<Record<string, unknown>>;
type Lists = {
  -readonly [Name in "unmeasuredInputs" | "namedModels" | "serverTools" | "extraPasses" | "unjudged"]: RequestFacts[Name][number][];
};

const URL_FIELDS = ["image_url", "video_url", "audio_url", "document_url", "file_url", "pdf_url"];

class Walk {
  readonly found: Lists = { unmeasuredInputs: [], namedModels: [], serverTools: [], extraPasses: [], unjudged: [] };
  readonly dialect: TestDialect;
  sentMedia = 0;
  likelyMedia = 0;
  mostMedia = 0;
  added = 0;
  audio = { input: false, output: false };

  constructor(dialect: TestDialect) {
    this.dialect = dialect;
  }

  media(text: string, most: number): void {
    this.sentMedia += Buffer.byteLength(text);
    this.likelyMedia += 1_600 + Buffer.byteLength(text) / 64;
    this.mostMedia += most;
  }

  unmeasured(path: string, kind: RequestFacts["unmeasuredInputs"][number]["kind"]): void {
    this.found.unmeasuredInputs.push({ path, kind });
  }

  tools(list: unknown, path: string): void {
    if (!Array.isArray(list)) return;
    for (const [index, tool] of list.entries()) if (isObject(tool)) this.tool(tool, `${path}[${index}]`);
  }

  tool(tool: Json, path: string): void {
    if (isGiven(tool["model"])) this.named(tool, `${path}.model`, "advisor", ownLimit(tool["max_tokens"]));
    if (!isGiven(tool["type"])) return;
    const type = textOf(tool["type"]) ?? "";
    if (type === "function" || type === "custom") return;
    this.added += 2_000;
    if (/^(bash|text_editor|computer|memory|browser_toolset|computer_toolset)_\d{8}$/.test(type)) return;
    const isKnown =
      /^(web_search|web_fetch|code_execution|advisor|tool_search_tool_regex|tool_search_tool_bm25|mcp_toolset)(_\d{8})?$/.test(type);
    if (isKnown) this.found.serverTools.push({ path, type, maxUses: limit(tool["max_uses"]) });
    else this.found.unjudged.push({ path, why: "unknown_server_tool" });
  }

  named(
    object: Json,
    path: string,
    role: "advisor" | "fallback" | "moderation",
    maxOutputTokens: number | undefined,
    speed?: string,
  ): void {
    const model = textOf(object["model"]);
    if (model === undefined) this.found.unjudged.push({ path, why: "unknown_value" });
    else this.found.namedModels.push({ path, model, role, maxOutputTokens, speed });
  }

  fallbacks(list: readonly unknown[], path: string): void {
    for (const [index, entry] of list.entries()) {
      const at = `${path}[${index}]`;
      if (isObject(entry)) {
        if ("model" in entry || "max_tokens" in entry || "speed" in entry) this.fallback(entry, at);
      } else if (typeof entry === "string" && entry !== "") {
        this.found.namedModels.push({ path: at, model: entry, role: "fallback", maxOutputTokens: undefined, speed: undefined });
      } else if (!Array.isArray(entry)) this.found.unjudged.push({ path: at, why: "unknown_value" });
    }
  }

  fallback(entry: Json, at: string): void {
    const speed = textOf(entry["speed"]);
    // What cannot be called is not asked for any speed.
    if (isGiven(entry["speed"]) && speed === undefined && textOf(entry["model"]) !== undefined)
      this.found.unjudged.push({ path: `${at}.speed`, why: "unknown_value" });
    this.named(entry, `${at}.model`, "fallback", ownLimit(entry["max_tokens"]), speed);
  }

  unknown(value: unknown, path: string, isSchemaNames = false): void {
    if (Array.isArray(value)) return value.forEach((entry, index) => this.unknown(entry, `${path}[${index}]`));
    if (!isObject(value)) return;
    const names = ["model", "models", "model_id", "model_name", "fallback_model", "fallback_models"];
    if (!isSchemaNames && names.some((name) => name in value)) this.found.unjudged.push({ path, why: "unknown_field_names_model" });
    for (const [name, inner] of Object.entries(value))
      this.unknown(inner, `${path}.${name}`, !isSchemaNames && ["properties", "$defs", "definitions"].includes(name));
  }

  content(value: unknown, path: string): void {
    if (Array.isArray(value)) return value.forEach((entry, index) => this.content(entry, `${path}[${index}]`));
    if (!isObject(value)) return;
    const isToolOutput = (textOf(value["type"]) ?? "").endsWith("_output");
    if (isGiven(value["file_id"]) && !isToolOutput) this.unmeasured(`${path}.file_id`, "file");
    const type = textOf(value["type"]) ?? "";
    const isMeasured = [...URL_FIELDS, "input_audio", "file"].includes(type);
    const words = type.replace(/^input_/, "").split("_");
    const isMedia = ["image", "video", "audio", "document", "file", "pdf", "media"].includes(words[0] ?? "") || type.endsWith("_url");
    if (this.dialect === "openai" && isMedia && !isMeasured) this.unmeasured(`${path}.type`, "url");
    for (const [name, inner] of Object.entries(value)) {
      if (this.dialect === "anthropic") this.anthropicField(name, inner, `${path}.${name}`);
      else this.openaiField(name, inner, `${path}.${name}`);
    }
  }

  anthropicField(name: string, value: unknown, path: string): void {
    if (name === "input" || name === "input_schema" || name === "citations") return;
    if (name === "definition") return isObject(value) ? this.tool(value, path) : undefined;
    if (name !== "source") return this.content(value, path);
    if (!isObject(value)) return;
    if (isGiven(value["file_id"])) this.unmeasured(`${path}.file_id`, "file");
    if (isGiven(value["url"])) this.unmeasured(`${path}.url`, "url");
    const { data } = value;
    if (isGiven(data) && value["type"] === "base64") {
      const bytes = typeof data === "string" ? data : "";
      const isImage = (textOf(value["media_type"]) ?? "").startsWith("image/");
      this.media(bytes, isImage ? 5_000 : Buffer.byteLength(bytes));
      if (!isImage) this.unmeasured(`${path}.data`, "document");
    }
    this.content(value["content"], `${path}.content`);
  }

  openaiField(name: string, value: unknown, path: string): void {
    if (name === "tool_calls" || name === "function_call") return;
    if (URL_FIELDS.includes(name)) {
      if (isObject(value)) this.url(value["url"], `${path}.url`);
      return this.url(value, path);
    }
    if (name === "file" && isObject(value)) return this.file(value, path);
    if (name === "input_audio" && isObject(value)) return this.inputAudio(value, path);
    if (name === "input_audio" && typeof value === "string") return this.linkedSound(path);
    if (name === "audio" && isObject(value)) {
      if (!("id" in value)) return;
      this.unmeasured(`${path}.id`, "stored");
      this.audio.input = true;
      return;
    }
    if (["file", "input_audio", "audio"].includes(name)) return;
    this.content(value, path);
  }

  inputAudio(sound: Json, path: string): void {
    if (isGiven(sound["url"])) this.linkedSound(`${path}.url`);
    if (!("data" in sound)) return;
    const data = typeof sound["data"] === "string" ? sound["data"] : "";
    if (data.startsWith("http")) return this.linkedSound(`${path}.data`);
    this.media(data, Buffer.byteLength(data));
    this.audio.input = true;
  }

  linkedSound(path: string): void {
    this.unmeasured(path, "url");
    this.audio.input = true;
  }

  file(file: Json, path: string): void {
    if (isGiven(file["file_id"])) this.unmeasured(`${path}.file_id`, "file");
    if (isGiven(file["file_url"])) this.unmeasured(`${path}.file_url`, "url");
    if (!isGiven(file["file_data"])) return;
    const bytes = typeof file["file_data"] === "string" ? file["file_data"] : "";
    this.media(bytes, Buffer.byteLength(bytes));
    this.unmeasured(`${path}.file_data`, "document");
  }

  url(value: unknown, path: string): void {
    if (typeof value !== "string") return;
    if (!value.startsWith("data:")) return this.unmeasured(path, "url");
    const isImage = value.startsWith("data:image/");
    this.media(value, isImage ? 25_000 : Buffer.byteLength(value));
    if (!isImage) this.unmeasured(path, "document");
  }
}

export function referenceFacts(json: Json, bodyBytes: number, dialect: TestDialect, documented: readonly string[]): RequestFacts {
  const walk = new Walk(dialect);
  for (const name of Object.keys(json).filter((field) => !documented.includes(field))) {
    if (/model/i.test(name)) walk.found.unjudged.push({ path: name, why: "unknown_field_names_model" });
    walk.unknown(json[name], name);
  }
  walk.tools(json["tools"], "tools");
  if (isGiven(json["tools"])) walk.added += 1_000;
  if (Array.isArray(json["fallbacks"])) walk.fallbacks(json["fallbacks"], "fallbacks");
  else if (isGiven(json["fallbacks"])) walk.found.unjudged.push({ path: "fallbacks", why: "provider_chooses_model" });
  walk.content(json["messages"], "messages");
  const ofDialect = dialect === "anthropic" ? anthropic(json, walk) : openai(json, walk);
  return {
    model: json["model"] as string,
    stream: json["stream"] === true,
    serviceTier: textOf(json["service_tier"]),
    speed: textOf(json["speed"]),
    geography: textOf(json["inference_geo"]),
    estimatedInputTokens: Math.ceil((textBytes(json) - walk.sentMedia) / 4 + walk.likelyMedia),
    maxInputTokens: bodyBytes - walk.sentMedia + walk.mostMedia + walk.added,
    audio: walk.audio,
    counts: {},
    unknownFields: Object.keys(json)
      .filter((field) => !documented.includes(field))
      .slice(0, 16),
    ...walk.found,
    ...ofDialect,
  };
}

type OfDialect = Pick<RequestFacts, "endUser" | "reasoning" | "choices" | "maxOutputTokens" | "predictedOutputTokens">;

function anthropic(json: Json, walk: Walk): OfDialect {
  walk.content(json["system"], "system");
  for (const name of ["container", "thread"]) if (isGiven(json[name])) walk.unmeasured(name, "stored");
  listOf(json["mcp_servers"]).forEach((server, index) => {
    if (isObject(server) && ["url", "name", "type"].some((name) => name in server)) walk.unmeasured(`mcp_servers[${index}]`, "mcp");
  });
  if (isGiven(json["compaction"])) walk.found.extraPasses.push({ path: "compaction", type: "compaction" });
  const edits = isObject(json["context_management"]) ? listOf(json["context_management"]["edits"]) : [];
  edits.forEach((edit, index) => {
    if (!isObject(edit) || !("type" in edit)) return;
    const type = textOf(edit["type"]) ?? "";
    const path = `context_management.edits[${index}]`;
    if (type.startsWith("compact")) walk.found.extraPasses.push({ path, type });
    else if (!/^clear_(tool_uses|thinking)(_\d{8})?$/.test(type)) walk.found.unjudged.push({ path, why: "unknown_value" });
  });
  const { metadata, thinking } = json;
  return {
    endUser: isObject(metadata) ? textOf(metadata["user_id"]) : undefined,
    reasoning:
      isObject(thinking) && "type" in thinking ? (["disabled", "none"].includes(textOf(thinking["type"]) ?? "") ? "off" : "on") : undefined,
    choices: 1,
    maxOutputTokens: limit(json["max_tokens"]),
    predictedOutputTokens: 0,
  };
}

function openai(json: Json, walk: Walk): OfDialect {
  for (const name of ["previous_response_id", "conversation", "prompt", "cached_content"])
    if (isGiven(json[name])) walk.unmeasured(name, "stored");
  if (isGiven(json["web_search_options"]))
    walk.found.serverTools.push({ path: "web_search_options", type: "web_search_options", maxUses: undefined });
  if (isGiven(json["plugins"])) walk.found.unjudged.push({ path: "plugins", why: "unknown_server_tool" });
  if (Array.isArray(json["models"])) walk.fallbacks(json["models"], "models");
  if (typeof json["models"] === "string") walk.found.unjudged.push({ path: "models", why: "unknown_value" });
  const { moderation, prediction } = json;
  if (isObject(moderation) && "model" in moderation) walk.named(moderation, "moderation.model", "moderation", undefined);
  if (listOf(json["modalities"]).includes("audio")) walk.audio.output = true;
  const given = [json["max_tokens"], json["max_completion_tokens"]].filter(isGiven);
  const limits = given.map(limit).includes(undefined) ? [] : given.map((value) => limit(value) ?? 0);
  return {
    endUser: textOf(json["user"]),
    reasoning: isGiven(json["reasoning_effort"])
      ? ["disabled", "none"].includes(textOf(json["reasoning_effort"]) ?? "")
        ? "off"
        : "on"
      : undefined,
    choices: Math.max(1, limit(json["n"]) ?? 1, limit(json["best_of"]) ?? 1),
    maxOutputTokens: limits.length === 0 ? undefined : Math.max(...limits),
    predictedOutputTokens: isGiven(prediction) ? sizeOf(prediction) : 0,
  };
}

/** As it is written without spaces; a string without its quotes. */
function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) - (typeof value === "string" ? 2 : 0);
}

function textBytes(value: unknown): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.reduce<number>((sum, entry) => sum + textBytes(entry), 0);
  if (!isObject(value)) return 4;
  return Object.entries(value).reduce((sum, [name, inner]) => sum + Buffer.byteLength(name) + textBytes(inner), 0);
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function ownLimit(value: unknown): number | undefined {
  return isGiven(value) ? (limit(value) ?? 1e9) : undefined;
}

function limit(value: unknown): number | undefined {
  return typeof value === "number" && value > 0 ? Math.ceil(Math.min(value, 1e9)) : undefined;
}
