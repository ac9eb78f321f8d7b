import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PROVIDER_KEY } from "../../apps/llm-proxy/test/proxy-process.ts";
import { DIALECTS } from "../../apps/llm-proxy/src/providers/spoken-dialects.ts";
import { fuzz, type FuzzResult } from "./fuzz-run.ts";
import { type FuzzStack, openFuzzStack, recordAnswers } from "./fuzz-stack.ts";
import { playRequest, playStream } from "./play.ts";
import { Choices } from "./random.ts";
import { requestCase } from "./request-cases.ts";
import { streamCase } from "./stream-cases.ts";

/** Issue 12, "what must be shown" 2, in small: the scripts `fuzz-requests.sh` and `fuzz-streams.sh` play 100,000 of each. */

let database: TestDatabase;
let stack: FuzzStack;
beforeAll(async () => {
  database = await createTestDatabase();
  stack = await openFuzzStack(database);
});
afterAll(async () => {
  await stack.stop();
  await database.drop();
});

const OPTIONS = { count: 300, first: 0, seed: 12, atOnce: 16, onProgress: () => undefined };
const LIMIT = { timeout: patience(120_000) };
const summary = ({ cases, failures, reachedProvider, rows }: FuzzResult): object => ({
  cases,
  failures,
  isMetered: rows > 0 && rows <= reachedProvider,
});

test(
  "issue 12: mutated requests of every dialect are answered without a 5xx, and what reached the provider is metered",
  LIMIT,
  async () => {
    const result = await fuzz(stack, OPTIONS, async (choices, mark) => playRequest(stack, choices, mark));

    expect(summary(result)).toEqual({ cases: 300, failures: [], isMetered: true });
  },
);

test("issue 12: mutated answers of a provider, of every dialect, end, are metered once, and hold nothing", LIMIT, async () => {
  const recorded = await recordAnswers(stack);
  const result = await fuzz(stack, OPTIONS, async (choices, mark) => playStream(stack, recorded, choices, mark));

  expect(summary(result)).toEqual({ cases: 300, failures: [], isMetered: true });
});

test("every dialect of the registry is among the requests", () => {
  expect(new Set(stack.samples.map(({ dialect }) => dialect.name))).toEqual(new Set(DIALECTS.map(({ name }) => name)));
});

test("a case is the same by its seed and number, and another by another", async () => {
  const recorded = await recordAnswers(stack);
  const caseOf = (seed: number, number: number): readonly object[] => [
    requestCase(new Choices(seed, number), stack.samples, { name: "name", key: "key" }),
    streamCase(new Choices(seed, number), recorded),
  ];

  for (const [seed, number] of [
    [1, 0],
    [1, 77],
    [9, 77],
  ] as const)
    expect(caseOf(seed, number)).toEqual(caseOf(seed, number));
  expect(caseOf(1, 0)).not.toEqual(caseOf(1, 77));
});

describe("is found:", () => {
  const answer = { status: 200, body: "", isWhole: true };
  const played = { made: ["planted"], answer, wrong: undefined, isRepeated: false };
  const one = { ...OPTIONS, seed: 13, count: 1, first: 41 };

  test("a call that no row tells of", async () => {
    const { failures } = await fuzz(stack, one, async (_, { name }) => {
      const headers = { "x-api-key": PROVIDER_KEY, "anthropic-version": "2023-06-01", "content-type": "application/json" };
      await (await fetch(`${stack.provider.url}/v1/messages?fuzz=${name}`, { method: "POST", headers, body: "{}" })).arrayBuffer();
      return played;
    });

    expect(failures).toEqual([{ case: 41, made: ["planted"], why: "reached the provider 1 times, and has 0 rows" }]);
  });

  test("a request that never ends, and one that is answered as it may not be", async () => {
    const another = { ...one, first: 42 };
    const hang = await fuzz(stack, another, async () => Promise.reject(new Error("hang")));
    const wrong = await fuzz(stack, another, async () => ({ ...played, wrong: "was answered with 500" }));

    expect([hang.failures, wrong.failures].flat().map(({ why }) => why)).toEqual(["hang", "was answered with 500"]);
  });
});
