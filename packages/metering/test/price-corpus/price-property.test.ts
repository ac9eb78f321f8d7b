import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AnthropicUsageReader, readAnthropicAnswer } from "../../src/usage/anthropic-usage.ts";
import { GeminiUsageReader, readGeminiAnswer } from "../../src/usage/gemini-usage.ts";
import { OpenAIUsageReader, readOpenAIAnswer } from "../../src/usage/openai-usage.ts";
import type { StreamUsageReader, UsageReading } from "../../src/usage/usage-reader.ts";
import { priceReport, type RequestPrices } from "../../src/pricing/cost.ts";
import type { Modifier, Price, TokenRates } from "../../src/pricing/price.ts";
import { worstCasePicoUsd } from "../../src/pricing/worst-case.ts";

/**
 * For any price, any usage and any cut: what is billed is what a reference computes, which is written here in another shape.
 * It walks over the wire's own fields and multiplies rationals of `[numerator, denominator]`; it shares nothing with the product.
 */

type Wire = Record<string, unknown>;
type Ratio = readonly [bigint, bigint];

const rate = fc.bigInt({ min: 0n, max: 100_000_000n });
const rates: fc.Arbitrary<TokenRates> = fc.record({
  inputTokens: rate,
  cacheReadTokens: rate,
  cacheWrite5mTokens: rate,
  cacheWrite1hTokens: rate,
  audioInputTokens: rate,
  audioCacheReadTokens: rate,
  outputTokens: rate,
  audioOutputTokens: rate,
});
const ratio: fc.Arbitrary<Ratio> = fc.tuple(fc.bigInt({ min: 1n, max: 40n }), fc.bigInt({ min: 1n, max: 13n }));
const modifier: fc.Arbitrary<Modifier> = fc.record({
  multiplier: ratio.map(([numerator, denominator]) => ({ numerator, denominator })),
  upToTokens: fc.option(fc.nat({ max: 300_000 }), { nil: undefined }),
});
const modifiers = (values: readonly string[]): fc.Arbitrary<ReadonlyMap<string, Modifier>> =>
  fc.dictionary(fc.constantFrom(...values), modifier).map((entries) => new Map(Object.entries(entries)));

const price: fc.Arbitrary<Price> = fc.record({
  id: fc.constantFrom("anthropic/a", "anthropic/b"),
  rates,
  tiers: fc
    .uniqueArray(fc.record({ aboveTokens: fc.nat({ max: 300_000 }), rates }), { maxLength: 3, selector: (tier) => tier.aboveTokens })
    .map((tiers) => tiers.toSorted((a, b) => a.aboveTokens - b.aboveTokens)),
  modifiers: fc.record({ serviceTier: modifiers(["priority", "batch"]), speed: modifiers(["fast"]), geography: modifiers(["us"]) }),
  fees: fc.record({ webSearch: fc.bigInt({ min: 0n, max: 10n ** 11n }) }, { requiredKeys: [] }),
  multiplier: ratio.map(([numerator, denominator]) => ({ numerator, denominator })),
  unlisted: fc.constant([]),
  isFree: fc.constant(false),
});

const count = fc.oneof(fc.nat({ max: 400_000 }), fc.constantFrom(0, 272_000, 272_001, 100_000));
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const written = <T extends Wire>(wire: T): Wire => JSON.parse(JSON.stringify(wire)) as Wire;

const anthropicCounts = fc.record({
  input_tokens: count,
  output_tokens: count,
  cache_read_input_tokens: maybe(count),
  cache_creation_input_tokens: maybe(count),
  cache_creation: maybe(fc.record({ ephemeral_5m_input_tokens: count, ephemeral_1h_input_tokens: count })),
});
const kinds = ["message", "compaction", "advisor_message", "fallback_message"];
const iteration = fc
  .tuple(anthropicCounts, fc.constantFrom(...kinds), maybe(fc.constantFrom("a", "b", "nobody-knows")))
  .map(([counts, type, model]) => written({ type, model, ...counts }));
const anthropicUsage = fc
  .tuple(
    anthropicCounts,
    fc.record({
      service_tier: maybe(fc.constantFrom("standard", "priority", "batch", "new")),
      speed: maybe(fc.constantFrom("standard", "fast")),
      inference_geo: maybe(fc.constantFrom("global", "us", "eu")),
    }),
    maybe(fc.array(iteration, { maxLength: 5 })),
    maybe(fc.record({ web_search_requests: fc.nat({ max: 20 }) })),
  )
  .map(([counts, words, iterations, tools]) => written({ ...counts, ...words, iterations, server_tool_use: tools }));

const number = (wire: Wire, name: string): number => (typeof wire[name] === "number" ? wire[name] : 0);

/** Tokens of one object in the order input, read, write, long write, output. */
function anthropicTokens(wire: Wire): readonly number[] {
  const split = (wire["cache_creation"] ?? {}) as Wire;
  const longest = number(split, "ephemeral_1h_input_tokens");
  const parts = longest + number(split, "ephemeral_5m_input_tokens");
  const whole = number(wire, "cache_creation_input_tokens");
  const unsplit = Math.max(0, whole - parts);
  const [short, long] = [parts - longest + (longest > 0 ? 0 : unsplit), longest > 0 ? longest + unsplit : 0];
  return [number(wire, "input_tokens"), number(wire, "cache_read_input_tokens"), short, long, number(wire, "output_tokens")];
}

const CLASSES = ["inputTokens", "cacheReadTokens", "cacheWrite5mTokens", "cacheWrite1hTokens", "outputTokens"] as const;

/** The price of one pass as a rational; `heard` is the sound in its prompt, which is priced apart. */
function passPrice(of: Price, tokens: readonly number[], words: Wire, heard = 0): Ratio {
  const prompt = tokens.slice(0, 4).reduce((sum, tokensOfClass) => sum + tokensOfClass, heard);
  let card: TokenRates = of.rates;
  for (const tier of of.tiers) if (prompt >= tier.aboveTokens + 1) card = tier.rates;
  let [numerator, denominator]: Ratio = [0n, 1n];
  tokens.forEach((tokensOfClass, index) => {
    numerator += BigInt(tokensOfClass) * card[CLASSES[index] as (typeof CLASSES)[number]];
  });
  const factors = [of.multiplier];
  for (const [kind, word] of [
    ["serviceTier", "service_tier"],
    ["speed", "speed"],
    ["geography", "inference_geo"],
  ] as const) {
    const known = of.modifiers[kind]?.get(String(words[word]));
    if (known?.multiplier && (known.upToTokens === undefined || prompt <= known.upToTokens)) factors.push(known.multiplier);
  }
  for (const factor of factors) [numerator, denominator] = [numerator * factor.numerator, denominator * factor.denominator];
  return [numerator, denominator];
}

function anthropicReference(usage: Wire, own: Price, other: Price): bigint {
  const passes = (usage["iterations"] as Wire[] | undefined) ?? [];
  const hasFallback = passes.some((pass) => pass["type"] === "fallback_message");
  const priceOf = (model: unknown): Price => (model === "b" ? other : own);
  const whole = anthropicTokens(usage);
  const counted = passes.map((pass) => ({ pass, tokens: anthropicTokens(pass) }));
  const of = (index: number): number => counted.reduce((sum, { tokens }) => sum + (tokens[index] ?? 0), 0);
  const promptLeft = promptOf(whole) - counted.reduce((sum, { tokens }) => sum + promptOf(tokens), 0);
  const outputLeft = (whole[4] ?? 0) - of(4);
  if (passes.length === 0) counted.push({ pass: {}, tokens: whole });
  else if (promptLeft > 0 || outputLeft > 0)
    counted.push({ pass: {}, tokens: [Math.max(promptLeft, 0), 0, 0, 0, Math.max(outputLeft, 0)] });
  const paid = counted.filter(({ pass, tokens }) => !(hasFallback && pass["type"] === "message" && tokens[4] === 0));
  const bill = (bySize: readonly (readonly number[])[]): bigint =>
    roundedUp(
      paid.map(({ pass }, index) =>
        passPrice(priceOf(pass["model"]), bySize[index] ?? [], pass["type"] === "advisor_message" ? { ...usage, speed: undefined } : usage),
      ),
    );
  const asPassesSay = bill(paid.map(({ tokens }) => tokens));
  const asTopSays = bill(laidOver(paid, whole));
  const isContradicted = passes.length > 0 && [0, 1, 2, 3].some((index) => (whole[index] ?? 0) > of(index));
  const searches = number((usage["server_tool_use"] ?? {}) as Wire, "web_search_requests");
  return (isContradicted && asTopSays > asPassesSay ? asTopSays : asPassesSay) + BigInt(searches) * (own.fees.webSearch ?? 0n);
}

const promptOf = (tokens: readonly number[]): number => tokens.slice(0, 4).reduce((sum, tokensOfClass) => sum + tokensOfClass, 0);

/** The classes of the top level in a row, cut where its passes end; what is beyond it is plain. */
function laidOver(passes: readonly { readonly pass: Wire; readonly tokens: readonly number[] }[], whole: readonly number[]): number[][] {
  const ends = whole.slice(0, 4).map((_, index) => promptOf(whole.slice(0, index + 1)));
  let from = 0;
  return passes.map(({ pass, tokens }) => {
    if (["compaction", "advisor_message"].includes(String(pass["type"]))) return [...tokens];
    const to = from + promptOf(tokens);
    const row = ends.map((end, index) => Math.max(0, Math.min(end, to) - Math.max(ends[index - 1] ?? 0, from)));
    const beyond = to - Math.max(from, Math.min(to, ends[3] ?? 0));
    from = to;
    return [(row[0] ?? 0) + beyond, ...row.slice(1), tokens[4] ?? 0];
  });
}

function roundedUp(bills: readonly Ratio[]): bigint {
  const denominator = bills.reduce((product, [, part]) => product * part, 1n);
  const numerator = bills.reduce((sum, [top, bottom]) => sum + (top * denominator) / bottom, 0n);
  return numerator / denominator + (numerator % denominator === 0n ? 0n : 1n);
}

const pricesOf = (own: Price, other: Price): RequestPrices => ({ own, ofModel: (name) => ({ a: own, b: other })[name] });

function streamed(reader: StreamUsageReader, text: string, cuts: readonly number[]): UsageReading {
  const bytes = Buffer.from(text);
  const ends = [...cuts.map((cut) => cut % bytes.length).toSorted((a, b) => a - b), bytes.length];
  ends.forEach((end, index) => reader.push(bytes.subarray(ends[index - 1] ?? 0, end)));
  return reader.reading();
}

const event = (type: string, fields: object): string => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;

const cuts = fc.array(fc.nat({ max: 10_000 }), { maxLength: 12 });

describe("for any price, any usage and any cut, what is billed is what an independent reference computes", () => {
  test("of Anthropic's answers", () => {
    fc.assert(
      fc.property(price, price, anthropicUsage, cuts, (own, other, usage, at) => {
        const content = [{ type: "text", text: "x" }];
        const begin = event("message_start", {
          message: { id: "m", model: "a", content: [], usage: { ...usage, iterations: null, output_tokens: 1 } },
        });
        const text =
          begin +
          event("content_block_start", { index: 0, content_block: content[0] }) +
          event("message_delta", { delta: { stop_reason: "end_turn" }, usage }) +
          event("message_stop", {});
        const expected = anthropicReference(usage, own, other);

        const whole = readAnthropicAnswer(Buffer.from(JSON.stringify({ id: "m", model: "a", content, stop_reason: "end_turn", usage })));
        expect(priceReport(pricesOf(own, other), whole.report).totalPicoUsd).toBe(expected);
        expect(priceReport(pricesOf(own, other), streamed(new AnthropicUsageReader(), text, at).report).totalPicoUsd).toBe(expected);
      }),
      { numRuns: 1_000 },
    );
  });

  const openaiUsage = fc
    .record({
      prompt_tokens: count,
      completion_tokens: count,
      prompt_tokens_details: maybe(
        fc.record({ cached_tokens: count, cache_write_tokens: count, audio_tokens: count }, { requiredKeys: [] }),
      ),
      completion_tokens_details: maybe(fc.record({ reasoning_tokens: count, audio_tokens: count }, { requiredKeys: [] })),
    })
    .map(written);

  test("of OpenAI's answers", () => {
    fc.assert(
      fc.property(price, openaiUsage, maybe(fc.constantFrom("default", "priority", "batch", "scale")), cuts, (own, usage, tier, at) => {
        const [said, spelled] = [number(usage, "prompt_tokens"), number(usage, "completion_tokens")];
        const [inside, outside] = [(usage["prompt_tokens_details"] ?? {}) as Wire, (usage["completion_tokens_details"] ?? {}) as Wire];
        // What cannot be in the whole is beside it.
        const [read, write] = [number(inside, "cached_tokens"), number(inside, "cache_write_tokens")];
        const prompt = read + write > said ? said + read + write : said;
        const heard = Math.min(number(inside, "audio_tokens"), prompt - read - write);
        const spoken = number(outside, "audio_tokens");
        const made = spoken + number(outside, "reasoning_tokens");
        const completion = made > spelled ? spelled + made : spelled;
        const words = { service_tier: tier };
        // Text and sound of one prompt: the tier and the factors of both are those of the whole prompt.
        const text = passPrice(own, [prompt - read - write - heard, read, write, 0, completion - spoken], words, heard);
        const card = own.tiers.findLast(({ aboveTokens }) => prompt > aboveTokens)?.rates ?? own.rates;
        const known = own.modifiers.serviceTier?.get(String(tier));
        const applies =
          known?.multiplier && (known.upToTokens === undefined || prompt <= known.upToTokens)
            ? known.multiplier
            : { numerator: 1n, denominator: 1n };
        const audio: Ratio = [
          (BigInt(heard) * card.audioInputTokens + BigInt(spoken) * card.audioOutputTokens) * own.multiplier.numerator * applies.numerator,
          own.multiplier.denominator * applies.denominator,
        ];
        const expected = roundedUp([text, audio]);

        const base = { id: "c", model: "a", ...(tier !== undefined && { service_tier: tier }) };
        const whole = readOpenAIAnswer(Buffer.from(JSON.stringify({ ...base, choices: [{ message: { content: "x" } }], usage })));
        const chunk = (fields: object): string => `data: ${JSON.stringify({ ...base, ...fields })}\n\n`;
        const stream =
          chunk({ choices: [{ index: 0, delta: { role: "assistant", content: "x" }, finish_reason: null }] }) +
          chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] }) +
          chunk({ choices: [], usage }) +
          "data: [DONE]\n\n";

        expect(priceReport(pricesOf(own, own), whole.report).totalPicoUsd).toBe(expected);
        expect(priceReport(pricesOf(own, own), streamed(new OpenAIUsageReader(), stream, at).report).totalPicoUsd).toBe(expected);
      }),
      { numRuns: 1_000 },
    );
  });
});

/** Tokens of sound in a list of details. */
const heardIn = (value: unknown): number =>
  ((value ?? []) as readonly Wire[]).reduce((sum, detail) => sum + (detail["modality"] === "AUDIO" ? number(detail, "tokenCount") : 0), 0);

const geminiChunk = (text: string, usageMetadata: object, finishReason?: string): string =>
  JSON.stringify({ candidates: [{ content: { parts: [{ text }] }, finishReason }], usageMetadata, modelVersion: "a" });

describe("for any price, any usage and any cut, what Google's answers cost is what an independent reference computes", () => {
  const sound = fc.array(fc.record({ modality: fc.constantFrom("TEXT", "AUDIO", "IMAGE"), tokenCount: count }), { maxLength: 3 });
  const geminiUsage = fc
    .record(
      {
        promptTokenCount: count,
        cachedContentTokenCount: count,
        toolUsePromptTokenCount: count,
        candidatesTokenCount: count,
        thoughtsTokenCount: count,
        promptTokensDetails: sound,
        cacheTokensDetails: sound,
        trafficType: fc.constantFrom("ON_DEMAND", "priority", "scale"),
      },
      { requiredKeys: ["promptTokenCount"] },
    )
    .map(written);

  test("whole and streamed", () => {
    fc.assert(
      fc.property(price, geminiUsage, cuts, (own, usage, at) => {
        const [prompt, read, brought] = ["promptTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount"].map((name) =>
          number(usage, name),
        ) as [number, number, number];
        // What cannot be in the whole is beside it.
        const fresh = read > prompt ? prompt : prompt - read;
        const heardAgain = Math.min(heardIn(usage["cacheTokensDetails"]), read);
        const heard = Math.min(Math.max(0, heardIn(usage["promptTokensDetails"]) - heardAgain), fresh);
        const output = number(usage, "candidatesTokenCount") + number(usage, "thoughtsTokenCount");
        const words = { service_tier: usage["trafficType"] };
        const text = passPrice(own, [fresh - heard + brought, read - heardAgain, 0, 0, output], words, heard + heardAgain);
        const input = fresh + read + brought;
        const card = own.tiers.findLast(({ aboveTokens }) => input > aboveTokens)?.rates ?? own.rates;
        const known = own.modifiers.serviceTier?.get(String(usage["trafficType"]));
        const applies =
          known?.multiplier && (known.upToTokens === undefined || input <= known.upToTokens)
            ? known.multiplier
            : { numerator: 1n, denominator: 1n };
        const audio: Ratio = [
          (BigInt(heard) * card.audioInputTokens + BigInt(heardAgain) * card.audioCacheReadTokens) *
            own.multiplier.numerator *
            applies.numerator,
          own.multiplier.denominator * applies.denominator,
        ];
        const expected = roundedUp([text, audio]);

        const { promptTokenCount } = usage;
        const stream = `data: ${geminiChunk("x", { promptTokenCount })}\r\n\r\ndata: ${geminiChunk("y", usage, "STOP")}\r\n\r\n`;

        const whole = readGeminiAnswer(Buffer.from(geminiChunk("xy", usage, "STOP")));
        expect(priceReport(pricesOf(own, own), whole.report).totalPicoUsd).toBe(expected);
        expect(priceReport(pricesOf(own, own), streamed(new GeminiUsageReader(), stream, at).report).totalPicoUsd).toBe(expected);
      }),
      { numRuns: 1_000 },
    );
  });
});

test("no answer costs more than the worst case of its bounds", () => {
  fc.assert(
    fc.property(
      price,
      anthropicCounts,
      fc.constantFrom({}, { speed: "fast" }, { speed: "fast", inference_geo: "us" }, { service_tier: "priority" }),
      fc.nat({ max: 9 }),
      (own, counts, words, searches) => {
        const usage = written({ ...counts, ...words, server_tool_use: { web_search_requests: searches } });
        const { report } = readAnthropicAnswer(Buffer.from(JSON.stringify({ model: "a", content: [], usage })));
        const tokens = anthropicTokens(usage);
        const inputTokens = tokens.slice(0, 4).reduce((sum, tokensOfClass) => sum + tokensOfClass, 0);
        const alternatives = [{}, { speed: "fast" }, { speed: "fast", geography: "us" }, { serviceTier: "priority" }];
        const most = worstCasePicoUsd(own, {
          inputTokens,
          outputTokens: tokens[4] ?? 0,
          modifiers: alternatives,
          uses: { webSearch: searches },
        });

        expect(priceReport(pricesOf(own, own), report).totalPicoUsd <= most).toBe(true);
      },
    ),
    { numRuns: 1_000 },
  );
});
