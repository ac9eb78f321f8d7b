import { readFileSync } from "node:fs";
import { loadModelConfig } from "@proliferate/llm-proxy/config/load-model-config";
import { readAnthropicAnswer, readGeminiAnswer, readOpenAIAnswer, type UsageReport } from "@proliferate/metering/usage";
import { findListedModel, priceReport, requestPrices } from "@proliferate/metering/pricing";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import { expect, test } from "vitest";

const doc = readFileSync(new URL("../docs/pricing.md", import.meta.url), "utf8");
const EXAMPLE = /```price\n(\S+) (\S+) on (\S+)\n(.*)\n= ([\d.]+)(?:, flagged (.*))?\n```/g;
const examples = [...doc.matchAll(EXAMPLE)].map(([, kind = "", model = "", day = "", usage = "", cost = "", flagged = ""]) => ({
  kind,
  model,
  day,
  usage,
  cost,
  flagged,
}));
const configs = [...doc.matchAll(/```yaml\n([^]*?)```/g)].map(([, yaml = ""]) => loadModelConfig(yaml, {}).models);

function readReport(provider: string, model: string, usage: string): UsageReport {
  if (provider === "gemini")
    return readGeminiAnswer(Buffer.from(`{"modelVersion":"${model}","candidates":[{}],"usageMetadata":${usage}}`)).report;
  const answer = Buffer.from(JSON.stringify({ model, content: [{ type: "text" }], choices: [], usage: JSON.parse(usage) as unknown }));
  return (provider === "anthropic" ? readAnthropicAnswer(answer) : readOpenAIAnswer(answer)).report;
}

test("docs/pricing.md has examples, and each block of them is read", () => {
  expect(examples.length).toBeGreaterThan(10);
  expect(examples).toHaveLength(doc.split("```price").length - 1);
});

test.each(examples)("$kind $model on $day costs $cost", ({ kind, model, day, usage, cost, flagged }) => {
  const deployment = configs.map((models) => models.find(model)).find(Boolean);
  const provider = kind === "config" ? deployment?.provider.name : (kind as string);
  const upstream = kind === "config" ? deployment?.upstreamModel : model;
  const prices = kind === "config" ? deployment?.prices : findListedModel(kind as string, model)?.prices;
  if (!provider || !upstream || !prices) throw new Error(`${model} has no price`);

  const report = readReport(provider, upstream, usage);
  const priced = priceReport(requestPrices({ provider, model: upstream, prices, startedAt: new Date(`${day}T12:00:00Z`) }), report);

  expect({ cost: decimalFromPicoUsd(priced.totalPicoUsd), flagged: [...report.unknown, ...priced.unpriced].join(", ") }).toEqual({
    cost,
    flagged,
  });
});
