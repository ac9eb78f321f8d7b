import { existsSync, readdirSync, readFileSync } from "node:fs";
import { AnthropicUsageReader, readAnthropicAnswer } from "../../src/usage/anthropic-usage.ts";
import { readEmbeddingsAnswer } from "../../src/usage/embeddings-usage.ts";
import { GeminiUsageReader, readGeminiAnswer } from "../../src/usage/gemini-usage.ts";
import type { Search } from "../../src/usage/openai-report.ts";
import { OpenAIUsageReader, readOpenAIAnswer } from "../../src/usage/openai-usage.ts";
import { readResponsesAnswer, ResponsesUsageReader } from "../../src/usage/responses-usage.ts";
import { rereadReport } from "../../src/usage/reread-report.ts";
import type { StreamUsageReader, UsageReading } from "../../src/usage/usage-reader.ts";
import { totals } from "../../src/usage/usage-report.ts";
import { completionTokens, promptTokens } from "../../src/usage/usage.ts";
import { costOf, priceReport } from "../../src/pricing/cost.ts";
import { onHost } from "../../src/pricing/host-price.ts";
import { findListedModel, type PricedProvider } from "../../src/pricing/price-table.ts";
import { requestPrices } from "../../src/pricing/request-prices.ts";

/**
 * What providers answer, byte for byte, and what each answer costs: a folder a case, with the answer as it comes whole
 * (`answer.json`) and streamed (`answer.sse`, where the wire streams), and the row that it must become (`case.json`), with the public rule
 * and its page.
 */
const CASES = new URL("cases/", import.meta.url);

/** How an answer of each wire is read; by the path that it is asked for on. */
const WIRES = {
  "/v1/messages": {
    callType: "anthropic_messages",
    whole: (body: Buffer, _search?: Search): UsageReading => readAnthropicAnswer(body),
    streamed: (_search?: Search): StreamUsageReader | undefined => new AnthropicUsageReader(),
  },
  "/v1/chat/completions": {
    callType: "acompletion",
    whole: (body: Buffer, search?: Search): UsageReading => readOpenAIAnswer(body, { search }),
    streamed: (search?: Search): StreamUsageReader | undefined => new OpenAIUsageReader({ search }),
  },
  "/v1/responses": {
    callType: "aresponses",
    whole: (body: Buffer): UsageReading => readResponsesAnswer(body),
    streamed: (): StreamUsageReader | undefined => new ResponsesUsageReader(),
  },
  "/v1/embeddings": {
    callType: "aembedding",
    whole: (body: Buffer): UsageReading => readEmbeddingsAnswer(body),
    streamed: (): StreamUsageReader | undefined => undefined,
  },
  "/v1beta/models/{model}:generateContent": {
    callType: "agenerate_content",
    whole: (body: Buffer): UsageReading => readGeminiAnswer(body),
    streamed: (): StreamUsageReader | undefined => new GeminiUsageReader(),
  },
} as const;

interface PriceCase {
  readonly name: string;
  /** Where it is asked for; default: the provider's first. */
  readonly path: keyof typeof WIRES;
  /** Where the case comes from. */
  readonly finding: string;
  readonly rule: string;
  readonly source: string;
  readonly provider: PricedProvider;
  /** The deployment's model. */
  readonly model: string;
  readonly startedAt: string;
  /** The host that served, where that changes the price. */
  readonly host?: string;
  /** What the request says of searches that no usage counts. */
  readonly search?: Search;
  readonly row: ExpectedRow;
  readonly whole: Buffer;
  /** Undefined where the wire does not stream. */
  readonly streamed: Buffer | undefined;
}

/** What the spend row says; tokens only where the case is about them. */
interface ExpectedRow {
  readonly spend: string;
  readonly tool: string;
  readonly prompt_tokens?: number;
  readonly completion_tokens?: number;
  readonly unknown_usage?: readonly string[];
  readonly free?: boolean;
}

/** Every case, by name. */
export function readPriceCases(): readonly PriceCase[] {
  return readdirSync(CASES)
    .toSorted()
    .map((name) => {
      const bytes = (file: string): Buffer => readFileSync(new URL(`${name}/${file}`, CASES));
      const given = JSON.parse(bytes("case.json").toString("utf8")) as Omit<PriceCase, "name" | "whole" | "streamed">;
      return {
        ...given,
        path: given.path ?? (given.provider === "anthropic" ? "/v1/messages" : "/v1/chat/completions"),
        name,
        whole: bytes("answer.json"),
        streamed: existsSync(new URL(`${name}/answer.sse`, CASES)) ? bytes("answer.sse") : undefined,
      };
    });
}

export function readWhole({ path, whole, search }: PriceCase): UsageReading {
  return WIRES[path].whole(whole, search);
}

/** The streamed answer, cut into pieces that end at these offsets; undefined where the wire does not stream. */
export function readStreamed({ path, streamed, search }: PriceCase, cuts: readonly number[]): UsageReading | undefined {
  const reader = WIRES[path].streamed(search);
  if (!reader || !streamed) return undefined;
  let from = 0;
  for (const end of [...cuts, streamed.length]) {
    reader.push(streamed.subarray(from, end));
    from = end;
  }
  return reader.reading();
}

/** The answer as the row's own record of it is read again. */
export function readAgain({ path }: PriceCase, reading: UsageReading): UsageReading {
  const report = rereadReport(WIRES[path].callType, JSON.parse(JSON.stringify(reading.report.raw)) as Record<string, unknown>);
  if (!report) throw new Error(`nothing reads a row of ${path} again`);
  return { ...reading, report };
}

/** What a reading costs by the price table: the same names as `row`, so that the two can be compared. */
export function rowOf(given: PriceCase, reading: UsageReading): Required<ExpectedRow> & { readonly isFinal: boolean } {
  const listed = findListedModel(given.provider, given.model);
  if (!listed) throw new Error(`${given.name}: ${given.model} is not in the price table`);
  const prices = onHost(listed.prices, given.host === undefined ? undefined : listed.hosts.get(given.host));
  const priced = priceReport(
    requestPrices({ provider: given.provider, model: given.model, prices, startedAt: new Date(given.startedAt) }),
    reading.report,
  );
  const usage = totals(reading.report);
  const cost = costOf(priced);
  return {
    spend: cost.totalUsd,
    tool: cost.toolUsd,
    prompt_tokens: promptTokens(usage),
    completion_tokens: completionTokens(usage),
    unknown_usage: [...reading.report.unknown, ...priced.unpriced],
    free: priced.isFree,
    isFinal: reading.isFinal,
  };
}
