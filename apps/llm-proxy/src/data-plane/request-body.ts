import { AppError } from "@proliferate/shared/errors";
import type { Dialect } from "./dialect.ts";
import { applyEdits, type Edit, findJsonFields } from "./json-fields.ts";
import { readFacts } from "./read-facts.ts";
import type { RequestFacts } from "./request-facts.ts";

/** A body as it came, and what it says; everything else in it is the provider's to judge. */
export interface RequestBody {
  readonly bytes: Buffer;
  readonly json: Readonly<Record<string, unknown>>;
  readonly facts: RequestFacts;
}

/** Throws `invalid_json`, and `invalid_request` on what no provider could be asked to serve. */
export function parseRequestBody(bytes: Buffer, dialect: Dialect): RequestBody {
  const json = parseObject(bytes);
  return { bytes, json, facts: readFacts(json, bytes, dialect) };
}

export interface UpstreamBody {
  readonly bytes: Buffer;
  /** The usage chunk was asked for by us alone; the caller must not get it. */
  readonly dropUsageChunk: boolean;
}

/**
 * The bytes for the provider: the caller's own, but for the model's name where the provider has another one, and for
 * OpenAI's `include_usage`, without which a stream would not say what it cost. Throws `invalid_request` on a field given twice.
 */
export function bodyForProvider(body: RequestBody, dialect: Dialect, upstreamModel: string): UpstreamBody {
  const { fields, closingBrace } = findJsonFields(body.bytes);
  const edits: Edit[] = [];
  const model = fields.get("model");
  if (model && body.facts.model !== upstreamModel) edits.push({ ...model, text: JSON.stringify(upstreamModel) });
  const options = body.json["stream_options"];
  const asksForUsage = (options as { include_usage?: unknown } | null | undefined)?.include_usage === true;
  const dropUsageChunk = dialect === "openai" && body.facts.stream && !asksForUsage;
  if (dropUsageChunk) {
    const text = JSON.stringify({ ...(options as object | null | undefined), include_usage: true });
    const position = fields.get("stream_options");
    edits.push(position ? { ...position, text } : { start: closingBrace, end: closingBrace, text: `,"stream_options":${text}` });
  }
  return { bytes: applyEdits(body.bytes, edits), dropUsageChunk };
}

function parseObject(bytes: Buffer): Readonly<Record<string, unknown>> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    // The parser's own message quotes the text, so it stays here.
    throw new AppError("invalid_json", bytes.length === 0 ? "The body is empty." : "The body is not JSON.", { cause: error });
  }
  if (typeof json === "object" && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new AppError("invalid_json", "The body is not a JSON object.");
}
