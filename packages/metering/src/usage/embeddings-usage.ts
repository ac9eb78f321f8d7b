import { EMBEDDING_NAMES, readOpenAICounts, readServiceTier } from "./openai-counts.ts";
import type { ReadReport } from "./anthropic-report.ts";
import { objectOf, parseJsonObject, textOf } from "./sse-data.ts";
import { keptRaw, UnknownUsage } from "./usage-fields.ts";
import type { UsageReading } from "./usage-reader.ts";

/** All of an answer with embeddings that its price depends on; kept on the row, so that it can be read again. */
interface EmbeddingsAnswer {
  readonly model: string | undefined;
  readonly usage: Readonly<Record<string, unknown>> | undefined;
  readonly serviceTier: unknown;
}

/** What OpenAI charges for embeddings: their input. */
export function readEmbeddingsReport({ model, usage: wire, serviceTier }: EmbeddingsAnswer): ReadReport {
  const unknown = new UnknownUsage();
  const { usage, isReported } = readOpenAICounts(wire ?? {}, EMBEDDING_NAMES, unknown);
  const part = { model, usage, modifiers: { serviceTier: readServiceTier(serviceTier, unknown) } };
  const raw = wire && keptRaw({ model, ...(serviceTier !== undefined && { service_tier: serviceTier }), usage: wire }, unknown);
  return { report: { parts: [part], uses: {}, unknown: unknown.names(), raw }, isInputReported: isReported, isOutputReported: isReported };
}

/** The answer back out of what a report kept of it. */
export function embeddingsAnswerOf(raw: Readonly<Record<string, unknown>>): EmbeddingsAnswer {
  return { model: textOf(raw["model"]), usage: objectOf(raw["usage"]), serviceTier: raw["service_tier"] };
}

/** Reads a whole answer; embeddings are never streamed. A body that is no JSON, or has no usage, is a reading that is not final. */
export function readEmbeddingsAnswer(body: Uint8Array): UsageReading {
  const answer = parseJsonObject(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"));
  const model = textOf(answer?.["model"]);
  const { report, isInputReported } = readEmbeddingsReport({
    model,
    usage: objectOf(answer?.["usage"]),
    serviceTier: answer?.["service_tier"],
  });
  return {
    report,
    isInputReported,
    isFinal: isInputReported,
    hasOutput: Array.isArray(answer?.["data"]),
    isWhole: answer !== undefined,
    responseId: textOf(answer?.["id"]),
    model,
  };
}
