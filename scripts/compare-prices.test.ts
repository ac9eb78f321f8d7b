import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { comparePrices, reportOf } from "./compare-prices.ts";

const NOW = new Date("2026-11-27T12:00:00Z");
const OPUS = {
  litellm_provider: "anthropic",
  input_cost_per_token: 4e-6,
  output_cost_per_token: 2e-5,
  max_output_tokens: 128_000,
  provider_specific_entry: { us: 1.1, fast: 2 },
  search_context_cost_per_query: { search_context_size_medium: 0.01 },
};

test("a map that says the same as the table has no difference", () => {
  expect(comparePrices({ "claude-opus-5-5": OPUS, "another-model": {} }, NOW)).toMatchObject({ compared: 1, differences: [] });
});

test("each rate, multiplier, fee and limit that differs is named with both figures", () => {
  const map = {
    "claude-opus-5-5": {
      ...OPUS,
      input_cost_per_token: 5e-6,
      max_output_tokens: 64_000,
      provider_specific_entry: { fast: 6 },
      output_cost_per_token_priority: 1e-5,
    },
  };

  expect(comparePrices(map, NOW).differences).toEqual([
    { model: "anthropic/claude-opus-5-5", what: "input_cost_per_token", ours: "4", theirs: "5" },
    { model: "anthropic/claude-opus-5-5", what: "output_cost_per_token_priority", ours: "-", theirs: "10" },
    { model: "anthropic/claude-opus-5-5", what: "multiplier fast", ours: "2", theirs: "6" },
    { model: "anthropic/claude-opus-5-5", what: "multiplier us", ours: "1.1", theirs: "-" },
    { model: "anthropic/claude-opus-5-5", what: "max_output_tokens", ours: "128000", theirs: "64000" },
  ]);
});

test("tiers are compared at their own step", () => {
  const tiered = { litellm_provider: "openai", input_cost_per_token_above_272k_tokens: 5e-6, input_cost_per_token_above_200k_tokens: 5e-6 };

  expect(comparePrices({ "gpt-5.4": tiered }, NOW).differences).toContainEqual({
    model: "openai/gpt-5.4",
    what: "input_cost_per_token_above_200k_tokens",
    ours: "-",
    theirs: "5",
  });
  expect(comparePrices({ "gpt-5.4": tiered }, NOW).differences.map(({ what }) => what)).not.toContain(
    "input_cost_per_token_above_272k_tokens",
  );
});

test("the committed comparison says of each difference what decides it", () => {
  const text = readFileSync(new URL("../packages/metering/src/pricing/comparison.md", import.meta.url), "utf8");
  const rows = text.split("\n").filter((line) => /^\| (anthropic|openai)\//.test(line));

  expect(rows.length).toBe(Number(/(\d+) differences/.exec(text)?.[1]));
  for (const row of rows) expect(row.split("|").at(-2)?.trim()).not.toBe("");
});

const folder = process.env["LITELLM_PRICES_FOLDER"];
test.runIf(folder !== undefined)("the committed comparison is that with the LiteLLM of LITELLM_PRICES_FOLDER", () => {
  const map = JSON.parse(readFileSync(`${folder}/model_prices_and_context_window_backup.json`, "utf8")) as Record<
    string,
    Record<string, unknown>
  >;

  expect(reportOf(comparePrices(map, new Date()), "1.104.0")).toBe(
    readFileSync(new URL("../packages/metering/src/pricing/comparison.md", import.meta.url), "utf8"),
  );
});
