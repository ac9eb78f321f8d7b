import type { AttemptRow } from "@proliferate/access/requests";
import { NO_USAGE, reportOf, totals, type Usage, type UsagePart, type UsageReading } from "@proliferate/metering/usage";
import { findListedModel } from "@proliferate/metering/pricing";
import { picoUsdFromDecimal } from "@proliferate/shared/money";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Ending, outcomeOf, outcomeOfOrphan } from "./outcome.ts";

const startedAt = new Date("2026-11-27T10:00:00Z");
const TIMES = { firstByteAt: null, endedAt: new Date("2026-11-27T10:00:10Z") };

function pricesOf(model: string): Parameters<typeof outcomeOf>[1] {
  const [provider, name] = model.split("/") as ["anthropic" | "openai", string];
  const schedule = findListedModel(provider, name)?.prices;
  if (!schedule) throw new Error(`${model} has no price`);
  return { own: schedule.at(startedAt), ofModel: () => undefined };
}

/** gpt-5: 1.25 / 10 USD per million tokens. */
const GPT_5 = pricesOf("openai/gpt-5");

function attempt(limits: Partial<AttemptRow> = {}): AttemptRow {
  return {
    attempt_id: "01a21cc9-16da-73e3-b3a4-7705dd830287",
    instance_id: 1,
    key_hash: "k",
    team_id: null,
    user_id: null,
    key_alias: null,
    dialect: "openai",
    call_type: "acompletion",
    model_group: "gpt-5",
    model: "openai/gpt-5",
    provider: "openai",
    api_base: "",
    price_id: "openai/gpt-5",
    end_user: null,
    client_session_id: null,
    requester_ip_address: null,
    reserved_usd: "1",
    reservations: null,
    estimated_input_tokens: 100,
    max_output_tokens: 1_000,
    hidden_tokens_per_second: 0,
    requested_model: null,
    request_tags: null,
    started_at: startedAt,
    checkpoint: null,
    checkpointed_at: null,
    ...limits,
  };
}

function reading(usage: Partial<Usage>, known: Partial<UsageReading> = {}): UsageReading {
  return {
    report: reportOf({ ...NO_USAGE, ...usage }),
    isInputReported: false,
    isFinal: false,
    hasOutput: true,
    isWhole: false,
    responseId: undefined,
    model: undefined,
    ...known,
  };
}

const GONE = { code: "499", kind: "CallerGone", message: "gone" };
const unfinished = (fields: Partial<Ending> = {}): Ending => ({ kind: "unfinished", runMs: 0, error: GONE, ...fields });
const settle = (limits: Partial<AttemptRow>, ending: Ending): ReturnType<typeof outcomeOf> =>
  outcomeOf(attempt(limits), GPT_5, ending, TIMES);
const tokens = (outcome: ReturnType<typeof outcomeOf>): Usage => totals(outcome.report);

const hung = (runMs: number): ReturnType<typeof outcomeOf> =>
  settle({ hidden_tokens_per_second: 200, max_output_tokens: 20_000 }, unfinished({ runMs, reading: reading({ outputTokens: 5 }) }));

const part = (usage: Partial<Usage>): UsagePart => ({ model: undefined, usage: { ...NO_USAGE, ...usage }, modifiers: {} });

describe("an answer that does not end", () => {
  test("costs the estimated input when nothing of it came: never nothing once it was sent", () => {
    expect(settle({}, unfinished())).toMatchObject({ cost: { totalUsd: "0.000125" }, estimated: true, status: "failure" });
  });

  test("costs the reported input and the output that was seen", () => {
    const outcome = settle({}, unfinished({ reading: reading({ inputTokens: 300, outputTokens: 40 }, { isInputReported: true }) }));

    expect(tokens(outcome)).toMatchObject({ inputTokens: 300, outputTokens: 40 });
    expect(outcome.cost.totalUsd).toBe("0.000775");
  });

  test("public bug 28: never has more output than was asked for", () => {
    const outcome = settle({ max_output_tokens: 100 }, unfinished({ reading: reading({ outputTokens: 4_000 }) }));

    expect(tokens(outcome).outputTokens).toBe(100);
  });

  test("hostile 1: of a model that reasons unseen has what it can have made in its time, up to the limit", () => {
    expect(tokens(hung(1_500)).outputTokens).toBe(300);
    expect(tokens(hung(60_000)).outputTokens).toBe(12_000);
    expect(tokens(hung(600_000)).outputTokens).toBe(20_000);
    expect(hung(600_000).cost.totalUsd).toBe("0.200125");
  });

  test("public bug 59: whose thinking the provider counts itself has what it counts", () => {
    const counted = unfinished({ runMs: 60_000, reading: reading({ outputTokens: 384 }, { countsThinking: true }) });

    expect(tokens(settle({ hidden_tokens_per_second: 200 }, counted)).outputTokens).toBe(384);
  });

  test("review 1: passes that nobody counted stand in front of both readings of a provider that contradicts itself", () => {
    const contradictory = reading(
      { inputTokens: 0, cacheReadTokens: 1_000 },
      { isInputReported: true, laterPasses: [part({ inputTokens: 400 })] },
    );
    const report = { ...contradictory.report, otherwise: [part({ inputTokens: 1_000 })] };
    const outcome = settle({}, unfinished({ reading: { ...contradictory, report } }));

    expect(tokens(outcome).inputTokens).toBe(1_400);
    expect(outcome.cost.totalUsd).toBe("0.00175");
  });

  test("is never more than was reserved, and says so", () => {
    const outcome = settle({ reserved_usd: "0.001" }, unfinished({ reading: reading({ outputTokens: 900 }) }));

    expect(outcome).toMatchObject({ cost: { inputUsd: "0.000125", outputUsd: "0.000875", totalUsd: "0.001" }, flags: ["estimate_capped"] });
  });

  test("money 6: has the input of passes that were seen to begin, and they count towards the reservation", () => {
    const later = reportOf({ ...NO_USAGE, inputTokens: 2_000, cacheReadTokens: 1_000 }).parts;
    const seen = reading({ inputTokens: 1_000, outputTokens: 40 }, { isInputReported: true, laterPasses: [...later, ...later] });

    const outcome = settle({}, unfinished({ reading: seen }));
    expect(tokens(outcome)).toMatchObject({ inputTokens: 5_000, cacheReadTokens: 2_000, outputTokens: 40 });
    expect(outcome.cost.totalUsd).toBe("0.0069");

    const bounded = settle({ reserved_usd: "0.003" }, unfinished({ reading: seen }));
    expect(bounded).toMatchObject({ cost: { totalUsd: "0.003" }, flags: ["estimate_capped"] });
  });

  test("is at least what the provider itself counted, whatever was reserved", () => {
    const outcome = settle(
      { reserved_usd: "0.001" },
      unfinished({ reading: reading({ inputTokens: 8_000, outputTokens: 900 }, { isInputReported: true }) }),
    );

    expect(outcome.cost.totalUsd).toBe("0.01");
  });

  test("is exact when the provider's count came before the end", () => {
    expect(
      settle({}, unfinished({ reading: reading({ inputTokens: 10, outputTokens: 20 }, { isInputReported: true, isFinal: true }) })),
    ).toMatchObject({ cost: { totalUsd: "0.0002125" }, estimated: false });
  });
});

test("money 4: of two readings that the provider gives the dearer is billed, and stands in the row", () => {
  const { parts: cheap } = reportOf({ ...NO_USAGE, cacheReadTokens: 1_000 });
  const { parts: dear } = reportOf({ ...NO_USAGE, inputTokens: 1_000 });
  const of = (first: typeof cheap, other: typeof cheap) =>
    settle(
      {},
      {
        kind: "whole",
        runMs: 0,
        reading: reading({}, { report: { ...reportOf(NO_USAGE), parts: first, otherwise: other }, isFinal: true }),
      },
    );

  for (const outcome of [of(cheap, dear), of(dear, cheap)]) {
    expect(outcome.cost.totalUsd).toBe("0.00125");
    expect(tokens(outcome)).toMatchObject({ inputTokens: 1_000, cacheReadTokens: 0 });
    expect(outcome.report.otherwise).toBeUndefined();
  }
});

test("more than was reserved is billed as reported and flagged", () => {
  const outcome = settle(
    { reserved_usd: "0.001" },
    {
      kind: "whole",
      runMs: 1,
      reading: reading({ inputTokens: 100, outputTokens: 50_000 }, { isInputReported: true, isFinal: true, isWhole: true }),
    },
  );

  expect(outcome).toMatchObject({ cost: { totalUsd: "0.500125" }, flags: ["over_reservation"], estimated: false, status: "success" });
});

test("hostile 8: what is no answer costs the input only, and is flagged", () => {
  const outcome = settle(
    { hidden_tokens_per_second: 200 },
    { kind: "nothing", runMs: 60_000, reading: reading({ outputTokens: 75_000_000 }), error: GONE },
  );

  expect(outcome).toMatchObject({ cost: { totalUsd: "0.000125" }, flags: ["unreadable_answer"], estimated: true });
});

test("what is free costs nothing, whatever a reading says", () => {
  expect(settle({}, { kind: "free", runMs: 5, reading: reading({ inputTokens: 5 }), error: GONE })).toMatchObject({
    cost: { totalUsd: "0" },
    estimated: false,
  });
});

test("for any ending: an estimate is never above what was reserved or reported, nor its output above the limit; what was sent is never free", () => {
  const usage = fc.record({ inputTokens: fc.nat(1_000_000), outputTokens: fc.nat(1_000_000) });
  const known = fc.record({ isInputReported: fc.boolean() });
  fc.assert(
    fc.property(
      usage,
      known,
      fc.nat(100_000),
      fc.nat(10_000_000),
      fc.nat(100_000),
      fc.nat(400),
      (counts, flags, limit, reservedMicroUsd, runMs, rate) => {
        const limits = { max_output_tokens: limit, reserved_usd: (reservedMicroUsd / 1e6).toFixed(6), hidden_tokens_per_second: rate };
        const outcome = settle(limits, unfinished({ runMs, reading: reading(counts, flags) }));
        const total = picoUsdFromDecimal(outcome.cost.totalUsd);
        const reported = flags.isInputReported ? BigInt(counts.inputTokens) * 1_250_000n : 0n;
        const reserved = picoUsdFromDecimal(limits.reserved_usd);

        expect(tokens(outcome).outputTokens).toBeLessThanOrEqual(limit);
        expect(total <= (reported > reserved ? reported : reserved)).toBe(true);
        expect(total > 0n || reserved === 0n || (flags.isInputReported && counts.inputTokens === 0)).toBe(true);
        expect(picoUsdFromDecimal(outcome.cost.inputUsd) + picoUsdFromDecimal(outcome.cost.outputUsd)).toBe(total);
      },
    ),
    { numRuns: 2_000 },
  );
});

const checkpoint = (isFinal: boolean): AttemptRow["checkpoint"] => ({
  usage: {},
  report: reportOf({ ...NO_USAGE, inputTokens: 300, outputTokens: 40 }),
  isFinal,
  providerResponseId: "m",
  firstByteAt: null,
});

describe("a process that died", () => {
  const died = { checkpointed_at: new Date("2026-11-27T10:00:05Z") };

  test("leaves its last checkpoint, and what can have been made unseen until then", () => {
    expect(totals(outcomeOfOrphan(attempt({ ...died, checkpoint: checkpoint(false) }), GPT_5).report)).toMatchObject({
      inputTokens: 300,
      outputTokens: 40,
    });
    expect(
      totals(outcomeOfOrphan(attempt({ ...died, checkpoint: checkpoint(false), hidden_tokens_per_second: 150 }), GPT_5).report),
    ).toMatchObject({ outputTokens: 750 });
  });

  test("after the count came leaves an exact row", () => {
    expect(outcomeOfOrphan(attempt({ ...died, checkpoint: checkpoint(true), hidden_tokens_per_second: 150 }), GPT_5)).toMatchObject({
      estimated: false,
      recovered: true,
      cost: { totalUsd: "0.000775" },
    });
  });

  test("code 2: with a checkpoint that nobody can read leaves the estimated input", () => {
    const broken = { usage: "x" } as unknown as NonNullable<AttemptRow["checkpoint"]>;

    expect(outcomeOfOrphan(attempt({ checkpoint: broken }), GPT_5)).toMatchObject({ estimated: true, cost: { totalUsd: "0.000125" } });
  });
});
