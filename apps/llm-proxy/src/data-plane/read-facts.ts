import { AppError } from "@proliferate/shared/errors";
import type { Dialect } from "./dialect.ts";
import { estimateInputTokens } from "./estimate.ts";
import type { NamedModel, RequestFacts, ServerTool, Unjudged, UnmeasuredInput } from "./request-facts.ts";

type Json = Readonly<Record<string, unknown>>;

interface Found {
  readonly unmeasuredInputs: UnmeasuredInput[];
  readonly namedModels: NamedModel[];
  readonly serverTools: ServerTool[];
  readonly unjudged: Unjudged[];
}

/** Reads the facts of a parsed body. Throws `invalid_request` on what no provider could be asked to serve. */
export function readFacts(json: Json, bytes: Buffer, dialect: Dialect): RequestFacts {
  const { model, stream } = json;
  if (typeof model !== "string" || model === "") throw new AppError("invalid_request", "model must be the name of a model.", { param: "model" });
  if (stream !== undefined && stream !== null && typeof stream !== "boolean") {
    throw new AppError("invalid_request", "stream must be true or false.", { param: "stream" });
  }
  const found: Found = { unmeasuredInputs: [], namedModels: [], serverTools: [], unjudged: [] };
  fallbacksOf(json, found);
  toolsOf(json, found);
  inputsOf(json, found);
  const metadata = objectOf(json["metadata"]);
  return {
    model,
    stream: stream === true,
    endUser: text(dialect === "anthropic" ? metadata["user_id"] : json["user"]),
    maxOutputTokens: larger(json["max_tokens"], json["max_completion_tokens"]),
    choices: Math.max(1, larger(json["n"], json["best_of"]) ?? 1),
    reasoning: reasoningOf(json),
    serviceTier: text(json["service_tier"]),
    speed: text(json["speed"]),
    geography: text(json["inference_geo"]),
    estimatedInputTokens: estimateInputTokens(json),
    maxInputTokens: bytes.length,
    ...found,
  };
}

/** Anthropic's `thinking`, OpenAI's `reasoning_effort`. */
function reasoningOf(json: Json): RequestFacts["reasoning"] {
  const asked = text(objectOf(json["thinking"])["type"]) ?? text(json["reasoning_effort"]);
  if (asked === undefined) return undefined;
  return asked === "disabled" || asked === "none" ? "off" : "on";
}

function fallbacksOf({ fallbacks }: Json, found: Found): void {
  if (fallbacks === undefined || fallbacks === null) return;
  if (!Array.isArray(fallbacks)) return void found.unjudged.push({ path: "fallbacks", why: "provider_chooses_model" });
  fallbacks.forEach((entry: unknown, index) => {
    const model = text(objectOf(entry)["model"]) ?? text(entry);
    const path = `fallbacks[${index}]`;
    if (model === undefined) found.unjudged.push({ path, why: "unknown_field_value" });
    else found.namedModels.push({ path: `${path}.model`, model, role: "fallback", maxOutputTokens: larger(objectOf(entry)["max_tokens"], undefined) });
  });
}

function toolsOf(json: Json, found: Found): void {
  if (json["web_search_options"]) found.serverTools.push({ path: "web_search_options", type: "web_search_options", maxUses: undefined });
  for (const [index, entry] of listOf(json["tools"]).entries()) {
    const tool = objectOf(entry);
    const type = text(tool["type"]);
    const path = `tools[${index}]`;
    if (type === undefined || CLIENT_TOOL.test(type)) continue;
    if (!SERVER_TOOL.test(type)) found.unjudged.push({ path, why: "unknown_server_tool" });
    else found.serverTools.push({ path, type, maxUses: larger(tool["max_uses"], undefined) });
    const model = text(tool["model"]);
    if (model !== undefined) found.namedModels.push({ path: `${path}.model`, model, role: "advisor", maxOutputTokens: larger(tool["max_tokens"], undefined) });
  }
}

/** Tools that the caller runs itself, in both dialects. */
const CLIENT_TOOL = /^(custom|function|bash_\d+|text_editor_\d+|computer_\d+|memory_\d+)$/;
const SERVER_TOOL = /^(web_search|web_fetch|code_execution|tool_search_tool_regex|tool_search_tool_bm25|advisor|mcp_toolset)(_\d+)?$/;

function inputsOf(json: Json, found: Found): void {
  if (listOf(json["mcp_servers"]).length > 0) found.unmeasuredInputs.push({ path: "mcp_servers", kind: "mcp" });
  for (const field of ["container", "previous_response_id", "cached_content"]) {
    if (json[field]) found.unmeasuredInputs.push({ path: field, kind: "stored" });
  }
  const pending: { readonly path: string; readonly value: unknown }[] = [{ path: "messages", value: json["messages"] }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { path, value } = next;
    if (Array.isArray(value)) value.forEach((entry, index) => pending.push({ path: `${path}[${index}]`, value: entry }));
    if (typeof value !== "object" || value === null) continue;
    const kind = unmeasuredKind(value as Json);
    if (kind) found.unmeasuredInputs.push({ path, kind });
    for (const name of ["content", "source", "file", "image_url"]) {
      if (name in value) pending.push({ path: `${path}.${name}`, value: (value as Json)[name] });
    }
  }
}

function unmeasuredKind(value: Json): UnmeasuredInput["kind"] | undefined {
  if (text(value["file_id"]) !== undefined) return "file";
  const url = text(value["url"]);
  if (url !== undefined && !url.startsWith("data:")) return "url";
  if (value["media_type"] === "application/pdf" || text(value["file_data"]) !== undefined) return "document";
  return undefined;
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The larger of two limits; nothing that is no positive number limits. */
function larger(a: unknown, b: unknown): number | undefined {
  const limits = [a, b].filter((value): value is number => typeof value === "number" && Number.isFinite(value) && value > 0);
  return limits.length === 0 ? undefined : Math.ceil(Math.min(Math.max(...limits), 1e9));
}
