import { expect, test } from "vitest";
import { bodyForProvider, parseRequestBody } from "./request-body.ts";

const forProvider = (json: string, dialect: "anthropic" | "openai", model: string) => {
  const { bytes, dropUsageChunk } = bodyForProvider(parseRequestBody(Buffer.from(json), dialect), dialect, model);
  return { text: bytes.toString(), dropUsageChunk };
};

test("a body that needs no change is the same buffer", () => {
  const bytes = Buffer.from('{"model":"m"}');

  expect(bodyForProvider(parseRequestBody(bytes, "anthropic"), "anthropic", "m").bytes).toBe(bytes);
});

test.each([
  ['{"model":"m","stream":true}', '{"model":"m","stream":true,"stream_options":{"include_usage":true}}', true],
  ['{"model":"m","stream":true,"stream_options":{"x":1}}', '{"model":"m","stream":true,"stream_options":{"x":1,"include_usage":true}}', true],
  ['{"model":"m","stream_options":{"include_usage":false},"stream":true} ', '{"model":"m","stream_options":{"include_usage":true},"stream":true} ', true],
  ['{"model":"m","stream":true,"stream_options":null}', '{"model":"m","stream":true,"stream_options":{"include_usage":true}}', true],
  ['{"model":"m","stream":true,"stream_options":{"include_usage":true}}', '{"model":"m","stream":true,"stream_options":{"include_usage":true}}', false],
  ['{"model":"m","stream":false}', '{"model":"m","stream":false}', false],
])("an OpenAI stream always asks for its usage: %s", (json, expected, dropUsageChunk) => {
  expect(forProvider(json, "openai", "m")).toEqual({ text: expected, dropUsageChunk });
});

test("the name and the usage are put in together", () => {
  expect(forProvider('{"stream":true,"model":"alias"}', "openai", "m").text).toBe('{"stream":true,"model":"m","stream_options":{"include_usage":true}}');
});

test.each([
  ["anthropic", '{"model":"m","max_tokens":7}', 7],
  ["anthropic", '{"model":"m","max_tokens":"many"}', undefined],
  ["openai", '{"model":"m","max_completion_tokens":7,"max_tokens":9}', 9],
  ["openai", '{"model":"m","max_tokens":9,"n":3}', 9],
  ["openai", '{"model":"m"}', undefined],
] as const)("hostile 11: %s %s limits each answer to %s, the larger of two limits", (dialect, json, expected) => {
  expect(parseRequestBody(Buffer.from(json), dialect).facts.maxOutputTokens).toBe(expected);
});

test.each([
  ['{"model":"m","n":128}', 128],
  ['{"model":"m","n":2,"best_of":5}', 5],
  ['{"model":"m","n":0}', 1],
  ['{"model":"m"}', 1],
])("hostile 11: %s has %d answers, with a limit or without", (json, expected) => {
  expect(parseRequestBody(Buffer.from(json), "openai").facts.choices).toBe(expected);
});

test.each([
  ["anthropic", '{"model":"m","metadata":{"user_id":"u"}}'],
  ["openai", '{"model":"m","user":"u"}'],
] as const)("%s names its user in %s", (dialect, json) => {
  expect(parseRequestBody(Buffer.from(json), dialect).facts.endUser).toBe("u");
});
