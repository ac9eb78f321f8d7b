import { expect, test } from "vitest";
import { findCodec } from "../src/codecs.ts";
import type { JsonObject } from "../src/json.ts";
import { translateRequest } from "../src/translate.ts";

/** What Google's and OpenAI's clients send by default must not make Claude refuse the request. */

interface Sampling {
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
}

function sampledBy(model: string, sampling: Sampling, thinkingConfig?: object): readonly [Sampling, readonly string[]] {
  const body = { contents: [{ parts: [{ text: "hello" }] }], generationConfig: { ...sampling, thinkingConfig } };
  const translated = translateRequest(
    JSON.stringify(body),
    findCodec("gemini"),
    findCodec("anthropic-messages"),
    { model, maxOutputTokens: 64_000 },
    { model, isStream: false },
  );
  const { temperature, top_p: topP, top_k: topK } = JSON.parse(translated.body) as JsonObject;
  const dropped = translated.droppedFields.map((path) => path.replace("generationConfig.", ""));
  return [JSON.parse(JSON.stringify({ temperature, topP, topK })) as Sampling, [...dropped, ...translated.changedFields]];
}

const ALL = { temperature: 0.5, topP: 0.9, topK: 64 };
const WARM = { temperature: 1, topP: 0.95, topK: 64 };
const THINKING = { thinkingBudget: 4_000 };

test.each<[string, Sampling, object | undefined, Sampling, readonly string[]]>([
  ["claude-3-5-haiku", ALL, undefined, ALL, []],
  ["claude-sonnet-4-5", ALL, undefined, { temperature: 0.5, topK: 64 }, ["topP"]],
  ["claude-sonnet-4-5", { topP: 0.9 }, undefined, { topP: 0.9 }, []],
  ["claude-sonnet-4-5", WARM, THINKING, { temperature: 1 }, ["topK", "topP"]],
  ["claude-sonnet-4-5", ALL, THINKING, {}, ["temperature", "topK", "topP"]],
  ["claude-sonnet-4-5", { topP: 0.97 }, THINKING, { topP: 0.97 }, []],
  ["claude-opus-4-8", ALL, undefined, {}, ["temperature", "topK", "topP"]],
  ["claude-opus-5-5", WARM, undefined, { temperature: 1 }, ["topK", "topP"]],
  ["claude-3-5-haiku", { temperature: 2 }, undefined, { temperature: 1 }, ["generationConfig.temperature"]],
])("%s takes of %j, thinking with %j, %j", (model, asked, thinking, taken, told) => {
  expect(sampledBy(model, asked, thinking)).toEqual([taken, told]);
});
