import { readFileSync } from "node:fs";
import { type PricedReport, priceReport } from "@proliferate/metering/pricing";
import { NO_REPORT, NO_USAGE, type UsageModifiers, type UsagePart } from "@proliferate/metering/usage";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadModelConfig } from "../config/load-model-config.ts";
import { type Deployment, priceAt } from "../config/model-table.ts";
import type { RequestFacts } from "../body/request-facts.ts";
import { beyondJudgement, type Bounds, type NamedBounds, type Reservation, reservationOf } from "./reservation.ts";

const NOW = new Date("2026-11-27T12:00:00Z");
const { models } = loadModelConfig(readFileSync(new URL("../../litellm/config.yaml", import.meta.url), "utf8"), {});

const FACTS: RequestFacts = {
  model: "m",
  stream: false,
  endUser: undefined,
  maxOutputTokens: undefined,
  choices: 1,
  reasoning: undefined,
  serviceTier: undefined,
  speed: undefined,
  geography: undefined,
  estimatedInputTokens: 10,
  maxInputTokens: 100,
  unmeasuredInputs: [],
  namedModels: [],
  serverTools: [],
  extraPasses: [],
  unjudged: [],
  predictedOutputTokens: 0,
  audio: { input: false, output: false },
  counts: {},
  unknownFields: [],
};

function served(name: string): Deployment {
  const found = models.find(name);
  if (!found) throw new Error(`${name} is not served`);
  return found;
}

function bounds(name: string): Bounds {
  const { contextTokens, maxOutputTokens, ...deployment } = served(name);
  return { price: priceAt({ ...deployment, contextTokens, maxOutputTokens }, NOW), contextTokens, maxOutputTokens };
}

const reserve = (name: string, facts: Partial<RequestFacts>, named: readonly NamedBounds[] = []): Reservation =>
  reservationOf({ ...FACTS, ...facts }, bounds(name), named);

const search = (maxUses?: number): Partial<RequestFacts> => ({
  serverTools: [{ path: "tools[0]", type: "web_search_20260318", maxUses }],
  maxOutputTokens: 1,
});

/** In pico-USD, from USD per million tokens. */
const usd = (...terms: readonly (readonly [tokens: number, perMillion: number])[]): bigint =>
  terms.reduce((sum, [tokens, perMillion]) => sum + BigInt(tokens) * BigInt(perMillion * 1_000_000), 0n);

describe("what is reserved", () => {
  test("clients F5: of many embeddings each input has a window of its own, so that their bytes alone bound them together", () => {
    const facts = { maxInputTokens: 300_000, maxOutputTokens: 0, hasManyPrompts: true } as const;

    expect(reserve("text-embedding-3-small", facts)).toEqual({ worstCasePicoUsd: usd([300_000, 0.02]), outputTokens: 0 });
  });

  test("public bug 35a, hostile 11c: a request without a limit reserves the model's own", () => {
    expect(reserve("gpt-5.4", {})).toEqual({ worstCasePicoUsd: usd([100, 2.5], [128_000, 15]), outputTokens: 128_000 });
  });

  test("hostile 11a: every choice has an answer of its own, with a limit or without", () => {
    expect(reserve("gpt-5.4", { choices: 128 }).outputTokens).toBe(128 * 128_000);
    expect(reserve("gpt-5.4", { choices: 4, maxOutputTokens: 10 }).worstCasePicoUsd).toBe(usd([100, 2.5], [40, 15]));
  });

  test("money: also where they are more than OpenAI would give: other servers give thousands", () => {
    expect(reserve("gpt-4o-mini", { choices: 10_000, maxOutputTokens: 10 }).outputTokens).toBe(100_000);
  });

  test("public bug 36, F10: no limit, however large, reserves more than the model can answer", () => {
    expect(reserve("claude-haiku-4-5", { maxOutputTokens: 1_000_000_000 })).toEqual(reserve("claude-haiku-4-5", {}));
  });

  test("public bug 35b, hostile 3: an input that the bytes do not show is the whole context window, at the dearest class", () => {
    const url = { unmeasuredInputs: [{ path: "p", kind: "url" }] } as const;

    expect(reserve("claude-haiku-4-5", { ...url, maxOutputTokens: 1 }).worstCasePicoUsd).toBe(usd([200_000, 2], [1, 5]));
  });

  test("and bytes never are more than the context window", () => {
    expect(reserve("claude-haiku-4-5", { maxInputTokens: 30_000_000, maxOutputTokens: 1 }).worstCasePicoUsd).toBe(
      usd([200_000, 2], [1, 5]),
    );
  });

  test("public bug 35c: a tool of the provider costs a window and a fee a use: as many as the caller allows, or ten", () => {
    expect(reserve("claude-haiku-4-5", search(2)).worstCasePicoUsd).toBe(usd([3 * 200_000, 2], [1, 5]) + 2n * 10_000_000_000n);
    expect(reserve("claude-haiku-4-5", search()).worstCasePicoUsd).toBe(usd([11 * 200_000, 2], [1, 5]) + 10n * 10_000_000_000n);
  });

  test("a tool that only finds other tools brings in nothing that the bytes do not show", () => {
    const find = {
      serverTools: [{ path: "tools[0]", type: "tool_search_tool_bm25_20251119", maxUses: undefined }],
      maxOutputTokens: 50,
      maxInputTokens: 1_000,
    };

    expect(reserve("claude-haiku-4-5", find).worstCasePicoUsd).toBe(usd([1_000 + 10 * 1_050, 2], [50, 5]));
  });

  test("public bug 35d, hostile 2: speed and place are reserved as they stack, a cheaper tier not at all", () => {
    expect(reserve("claude-opus-5-5", { speed: "fast", geography: "us", maxOutputTokens: 100 }).worstCasePicoUsd).toBe(
      (usd([100, 8], [100, 20]) * 22n) / 10n,
    );
    expect(reserve("gpt-5.4", { serviceTier: "priority", maxOutputTokens: 100 }).worstCasePicoUsd).toBe(2n * usd([100, 2.5], [100, 15]));
    expect(reserve("gpt-5.4", { serviceTier: "flex", maxOutputTokens: 100 })).toEqual(reserve("gpt-5.4", { maxOutputTokens: 100 }));
  });

  test("public bug 9: an advisor costs its own window and answer with every use", () => {
    const named: NamedBounds = {
      ...bounds("claude-opus-5-5"),
      named: { path: "tools[0].model", model: "claude-opus-5-5", role: "advisor", maxOutputTokens: 2_048, speed: undefined },
    };
    const facts = { serverTools: [{ path: "tools[0]", type: "advisor_20260301", maxUses: 3 }], maxOutputTokens: 1 };

    expect(reserve("claude-haiku-4-5", facts, [named]).worstCasePicoUsd).toBe(
      usd([4 * 200_000, 2], [1, 5]) + 3n * usd([1_000_000, 8], [2_048, 20]),
    );
  });

  test("review 2: of tools whose paths are cut to one text the larger count of uses holds for each advisor", () => {
    const named: NamedBounds = {
      ...bounds("claude-opus-5-5"),
      named: { path: "….a.model", model: "claude-opus-5-5", role: "advisor", maxOutputTokens: 2_048, speed: undefined },
    };
    expect(
      reserve(
        "claude-haiku-4-5",
        { serverTools: [1, 3].map((maxUses) => ({ path: "….a", type: "advisor_20260301", maxUses })), maxOutputTokens: 1 },
        [named],
      ).worstCasePicoUsd,
    ).toBe(usd([5 * 200_000, 2], [1, 5]) + 3n * usd([1_000_000, 8], [2_048, 20]));
  });
});

test("breaker 8: a fallback that is asked for at the standard speed is judged, and reserved at the request's speed all the same", () => {
  const fallback = (speed: string | undefined): NamedBounds => ({
    ...bounds("claude-opus-5"),
    named: { path: "fallbacks[0].model", model: "claude-opus-5", role: "fallback", maxOutputTokens: undefined, speed },
  });

  expect(beyondJudgement({ ...FACTS, speed: "fast" }, bounds("claude-opus-5-5"), [fallback("standard")])).toEqual([]);
  expect(reserve("claude-opus-5-5", { speed: "fast" }, [fallback("standard")])).toEqual(
    reserve("claude-opus-5-5", { speed: "fast" }, [fallback(undefined)]),
  );
  expect(beyondJudgement(FACTS, bounds("claude-opus-5-5"), [fallback("warp")])).toHaveLength(1);
});

/** What a provider can do with a request at most, said once more and independently of how it is reserved. */
interface Adversary {
  readonly model: string;
  readonly facts: RequestFacts;
  readonly named: readonly NamedBounds[];
  readonly parts: readonly UsagePart[];
  readonly webSearches: number;
}

const CLASSES = ["inputTokens", "cacheReadTokens", "cacheWrite5mTokens", "cacheWrite1hTokens"] as const;

const adversary: fc.Arbitrary<Adversary> = fc
  .record({
    model: fc.constantFrom("claude-haiku-4-5", "claude-opus-5-5", "claude-sonnet-5"),
    limit: fc.option(fc.integer({ min: 1, max: 2_000_000 }), { nil: undefined }),
    bytes: fc.integer({ min: 1, max: 1_500_000 }),
    isUnmeasured: fc.boolean(),
    uses: fc.option(fc.integer({ min: 0, max: 4 }), { nil: undefined }),
    hasSearch: fc.boolean(),
    hasAdvisor: fc.boolean(),
    compactions: fc.integer({ min: 0, max: 1 }),
    speed: fc.constantFrom(undefined, "fast"),
    geography: fc.constantFrom(undefined, "us"),
    share: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 64, maxLength: 64 }),
  })
  .map(
    ({ model, limit, bytes, isUnmeasured, uses, hasSearch, hasAdvisor, compactions, speed: asked, geography: askedGeography, share }) => {
      const speed = model === "claude-opus-5-5" ? asked : undefined;
      const geography = model === "claude-haiku-4-5" ? undefined : askedGeography;
      const { contextTokens: window = 0, maxOutputTokens: most = 0 } = served(model);
      let drawn = 0;
      const draw = (upTo: number): number => Math.round(upTo * (share[drawn++ % share.length] ?? 0));
      const modifiers = (): UsageModifiers => ({ ...(speed && draw(1) && { speed }), ...(geography && draw(1) && { geography }) });
      const part = (upTo: number, output: number, of?: string): UsagePart => ({
        model: of,
        usage: { ...NO_USAGE, [CLASSES[drawn % 4] ?? "inputTokens"]: draw(upTo), outputTokens: draw(output) },
        modifiers: modifiers(),
      });
      const advisor = bounds("claude-opus-5-5");
      const facts: RequestFacts = {
        ...FACTS,
        model,
        maxOutputTokens: limit,
        maxInputTokens: bytes,
        speed,
        geography,
        unmeasuredInputs: isUnmeasured ? [{ path: "x", kind: "url" }] : [],
        serverTools: [
          ...(hasSearch ? [{ path: "tools[0]", type: "web_search_20260318", maxUses: uses }] : []),
          ...(hasAdvisor ? [{ path: "tools[1]", type: "advisor_20260301", maxUses: uses }] : []),
        ],
        extraPasses: Array.from({ length: compactions }, () => ({ path: "e", type: "compact_20260112" })),
      };
      const calls = uses ?? 10;
      const loops = (hasSearch ? calls : 0) + (hasAdvisor ? calls : 0);
      const firstInput = isUnmeasured || loops > 0 ? window : Math.min(bytes, window);
      const answer = Math.min(limit ?? most, most);
      const parts = [
        part(firstInput, answer),
        ...Array.from({ length: loops }, () => part(window, 0)),
        ...Array.from({ length: compactions * (loops + 1) }, () => part(firstInput, most)),
        ...(hasAdvisor ? Array.from({ length: calls }, () => part(1_000_000, 128_000, "claude-opus-5-5")) : []),
      ];
      const named: readonly NamedBounds[] = hasAdvisor
        ? [
            {
              ...advisor,
              named: { path: "tools[1].model", model: "claude-opus-5-5", role: "advisor", maxOutputTokens: undefined, speed: undefined },
            },
          ]
        : [];
      return { model, facts, named, parts, webSearches: hasSearch ? draw(calls) : 0 };
    },
  );

function billed({ model, parts, webSearches }: Adversary): PricedReport {
  const ofModel = (name: string) => bounds(name).price;
  return priceReport({ own: bounds(model).price, ofModel }, { ...NO_REPORT, parts, uses: { webSearch: webSearches } });
}

test("F3, property: whatever a provider does with a request within its physical bounds, no answer costs more than was reserved", () => {
  fc.assert(
    fc.property(adversary, (tried) => {
      const { unpriced, totalPicoUsd } = billed(tried);

      expect(unpriced).toEqual([]);
      expect(totalPicoUsd <= reservationOf(tried.facts, bounds(tried.model), tried.named).worstCasePicoUsd).toBe(true);
    }),
    { numRuns: 500 },
  );
});
