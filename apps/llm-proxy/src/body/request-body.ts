import type { Dialect } from "../data-plane/dialect.ts";
import type { RequestFacts } from "../data-plane/request-facts.ts";
import type { ReadBody } from "../http/read-body.ts";
import { applyEdits, type Edit } from "./edits.ts";
import { type EditableFields, FactCollector } from "./fact-collector.ts";
import { JsonScanner } from "./json-scanner.ts";
import type { ScanTurns } from "./scan-turns.ts";
import { Kind } from "./seen-object.ts";
import { rootPlace } from "./spending-fields.ts";

/** A body as it came, and what it says; everything else in it is the provider's to judge. */
export interface RequestBody extends ReadBody {
  readonly facts: RequestFacts;
  readonly positions: Readonly<EditableFields>;
}

/** Throws `invalid_json`, and `invalid_request` on what is not to be forwarded. A large body is read in turn with others. */
export async function readRequestBody(read: ReadBody, dialect: Dialect, turns: ScanTurns): Promise<RequestBody> {
  const collector = new FactCollector(read.bytes.length);
  await turns.run(new JsonScanner(read.bytes, rootPlace(dialect), collector));
  return { ...read, facts: collector.facts(), positions: collector.positions };
}

export interface UpstreamBody {
  readonly bytes: Buffer;
  /** The usage chunk was asked for by us alone; the caller must not get it. */
  readonly dropUsageChunk: boolean;
}

/**
 * The bytes for the provider: the caller's own, but for the model's name where the provider has another one, and for
 * OpenAI's `include_usage`, without which a stream would not say what it cost. Nothing of the caller's is written anew. The
 * body is changed in place where it can be: it is asked for once.
 */
export function bodyForProvider({ bytes, room, facts, positions }: RequestBody, dialect: Dialect, upstreamModel: string): UpstreamBody {
  const edits: Edit[] = [];
  // A string is known without its quotes.
  if (positions.model && facts.model !== upstreamModel) {
    edits.push({ start: positions.model.start - 1, end: positions.model.end + 1, text: JSON.stringify(upstreamModel) });
  }
  const dropUsageChunk = dialect === "openai" && facts.stream && positions.includeUsage?.kind !== Kind.true;
  if (dropUsageChunk) edits.push(askForUsage(bytes, positions));
  return { bytes: edits.length === 0 ? bytes : applyEdits({ bytes, room }, edits), dropUsageChunk };
}

function askForUsage(bytes: Buffer, { streamOptions, includeUsage, closingBrace }: Readonly<EditableFields>): Edit {
  if (!streamOptions) return insertField(bytes, closingBrace, '"stream_options":{"include_usage":true}');
  if (streamOptions.kind !== Kind.object) return { ...streamOptions, text: '{"include_usage":true}' };
  if (!includeUsage) return insertField(bytes, streamOptions.end - 1, '"include_usage":true');
  const quote = includeUsage.kind === Kind.string ? 1 : 0;
  return { start: includeUsage.start - quote, end: includeUsage.end + quote, text: "true" };
}

/** Before the brace that closes an object. */
function insertField(bytes: Buffer, closingBrace: number, field: string): Edit {
  let last = closingBrace - 1;
  while (bytes[last] === 0x20 || bytes[last] === 0x0a || bytes[last] === 0x0d || bytes[last] === 0x09) last -= 1;
  return { start: closingBrace, end: closingBrace, text: bytes[last] === 0x7b ? field : `,${field}` };
}
