import type { ReadReport } from "./anthropic-report.ts";
import { readOpenAICounts, readServiceTier, RESPONSES_NAMES } from "./openai-counts.ts";
import { type ItemCounts, itemCountsOf } from "./responses-items.ts";
import { objectOf, textOf } from "./sse-data.ts";
import { keptRaw, UnknownUsage } from "./usage-fields.ts";

/** All of an answer of OpenAI Responses that its price depends on; kept on the row, so that it can be read again. */
interface ResponsesAnswer {
  readonly model: string | undefined;
  readonly usage: Readonly<Record<string, unknown>> | undefined;
  /** The tier that served, beside the usage. */
  readonly serviceTier: unknown;
  /** What the provider's tools did, counted by the items of the output: its usage never says it. */
  readonly items: ItemCounts;
}

/** What OpenAI charges for a response: its tokens, and a fee for each use of a tool that has one. */
export function readResponsesReport({ model, usage: wire, serviceTier, items }: ResponsesAnswer): ReadReport {
  const unknown = new UnknownUsage();
  const { usage, isReported } = readOpenAICounts(wire ?? {}, RESPONSES_NAMES, unknown);
  const modifiers = { serviceTier: readServiceTier(serviceTier, unknown) };
  for (const name of items.unknown) unknown.add(name);
  const raw = wire && keptRaw({ model, service_tier: serviceTier, items, usage: wire }, unknown);
  return {
    report: { parts: [{ model, usage, modifiers }], uses: items.uses, unknown: unknown.names(), raw },
    isInputReported: isReported,
    isOutputReported: isReported,
  };
}

/** The answer back out of what a report kept of it. */
export function responsesAnswerOf(raw: Readonly<Record<string, unknown>>): ResponsesAnswer {
  return {
    model: textOf(raw["model"]),
    usage: objectOf(raw["usage"]),
    serviceTier: raw["service_tier"],
    items: itemCountsOf(objectOf(raw["items"])),
  };
}
