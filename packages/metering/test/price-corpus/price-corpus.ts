import { readdirSync, readFileSync } from "node:fs";
import { AnthropicUsageReader, readAnthropicAnswer } from "../../src/usage/anthropic-usage.ts";
import type { Search } from "../../src/usage/openai-report.ts";
import { OpenAIUsageReader, readOpenAIAnswer } from "../../src/usage/openai-usage.ts";
import type { StreamUsageReader, UsageReading } from "../../src/usage/usage-reader.ts";
import { totals } from "../../src/usage/usage-report.ts";
import { completionTokens, promptTokens } from "../../src/usage/usage.ts";
import { costOf, priceReport } from "../../src/pricing/cost.ts";
import { onHost } from "../../src/pricing/host-price.ts";
import { findListedModel, type PricedProvider } from "../../src/pricing/price-table.ts";
import { requestPrices } from "../../src/pricing/request-prices.ts";

/**
 * What providers answer, byte for byte, and what each answer costs: a folder a case, with the answer as it comes whole
 * (`answer.json`) and streamed (`answer.sse`), and the row that it must become (`case.json`), with the public rule and its page.
 */
const CASES = new URL("cases/", import.meta.url);

interface PriceCase {
  readonly name: string;
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
  readonly streamed: Buffer;
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
      return {
        ...(JSON.parse(bytes("case.json").toString("utf8")) as Omit<PriceCase, "name" | "whole" | "streamed">),
        name,
        whole: bytes("answer.json"),
        streamed: bytes("answer.sse"),
      };
    });
}

export function readWhole({ provider, whole, search }: PriceCase): UsageReading {
  return provider === "anthropic" ? readAnthropicAnswer(whole) : readOpenAIAnswer(whole, { search });
}

/** The streamed answer, cut into pieces that end at these offsets. */
export function readStreamed({ provider, streamed, search }: PriceCase, cuts: readonly number[]): UsageReading {
  const reader: StreamUsageReader = provider === "anthropic" ? new AnthropicUsageReader() : new OpenAIUsageReader({ search });
  let from = 0;
  for (const end of [...cuts, streamed.length]) {
    reader.push(streamed.subarray(from, end));
    from = end;
  }
  return reader.reading();
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
