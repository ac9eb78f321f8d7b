import { anthropicMessages } from "../dialects/anthropic-messages.ts";
import { openaiChat } from "../dialects/openai-chat.ts";
import { openaiEmbeddings } from "../dialects/openai-embeddings.ts";
import { openaiResponses } from "../dialects/openai-responses.ts";
import type { RequestFacts } from "./request-facts.ts";
import { FactCollector } from "./fact-collector.ts";
import { JsonScanner, SCAN_LIMITS, type ScanLimits } from "./json-scanner.ts";
import type { RequestBody } from "./request-body.ts";

/** The dialects by the short names of these tests. */
export const DIALECT = {
  anthropic: anthropicMessages,
  openai: openaiChat,
  responses: openaiResponses,
  embeddings: openaiEmbeddings,
} as const;
export type TestDialect = keyof typeof DIALECT;

/** Names of the body that a dialect documents. */
export function documentedFields(dialect: TestDialect): readonly string[] {
  const { values = [], inside = {} } = DIALECT[dialect].body.source;
  return [...new Set([...values, ...Object.keys(inside)])].toSorted();
}

interface ScanOptions {
  readonly limits?: ScanLimits;
  /** Bytes of one slice; the whole body when it is not given. */
  readonly slice?: number;
}

/** Scans a body in one go, or in slices; `slices` says how many it took. */
export function scanBody(
  body: string | Buffer,
  dialect: TestDialect,
  { limits = SCAN_LIMITS, slice }: ScanOptions = {},
): RequestBody & { readonly slices: number } {
  const bytes = Buffer.from(body);
  const collector = new FactCollector(bytes.length);
  const scanner = new JsonScanner(bytes, DIALECT[dialect].body, collector, limits);
  let slices = 1;
  while (!scanner.advance(slice ?? bytes.length)) slices += 1;
  return { bytes, room: 0, facts: collector.facts(), positions: collector.positions, slices };
}

export function factsOf(body: string | Buffer | object, dialect: TestDialect): RequestFacts {
  return scanBody(typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body), dialect).facts;
}

/** The code of the error that a body is refused with; undefined when it is taken. */
export function refusalOf(body: string | Buffer, dialect: TestDialect, options: ScanOptions = {}): string | undefined {
  try {
    scanBody(body, dialect, options);
    return undefined;
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (typeof code !== "string") throw error;
    return code;
  }
}
