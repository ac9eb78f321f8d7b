import fc from "fast-check";
import { expect, test } from "vitest";
import { readRequestBody } from "./request-body.ts";
import { bodyForProvider } from "../data-plane/body-for-provider.ts";
import { ScanTurns } from "./scan-turns.ts";
import { DIALECT, factsOf, scanBody } from "./test-scan.ts";

const forProvider = (json: string, dialect: "anthropic" | "openai", model: string) => {
  const { bytes, dropUsageChunk } = bodyForProvider(scanBody(json, dialect), DIALECT[dialect], { upstreamModel: model, provider: {} });
  return { text: bytes.toString(), dropUsageChunk };
};

test("a provider whose streams count unasked is not asked", () => {
  const body = scanBody('{"model":"m","stream":true}', "openai");

  expect(bodyForProvider(body, DIALECT.openai, { upstreamModel: "m", provider: { countsUnasked: true } })).toEqual({
    bytes: body.bytes,
    dropUsageChunk: false,
  });
});

test("a body that needs no change is the same buffer", () => {
  const body = scanBody('{"model":"m"}', "anthropic");

  expect(bodyForProvider(body, DIALECT.anthropic, { upstreamModel: "m", provider: {} }).bytes).toBe(body.bytes);
});

test.each([
  ['{"model":"m","stream":true}', '{"model":"m","stream":true,"stream_options":{"include_usage":true}}', true],
  [
    '{"model":"m","stream":true,"stream_options":{"x":1}}',
    '{"model":"m","stream":true,"stream_options":{"x":1,"include_usage":true}}',
    true,
  ],
  ['{"model":"m","stream":true,"stream_options":{ }}', '{"model":"m","stream":true,"stream_options":{ "include_usage":true}}', true],
  [
    '{"model":"m","stream":true,"stream_options":{"include_usage":"true","x":[{}]}}',
    '{"model":"m","stream":true,"stream_options":{"include_usage":true,"x":[{}]}}',
    true,
  ],
  [
    '{"model":"m","stream":true,"stream_options":{"include_usage":{"a":[1]}}}',
    '{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    true,
  ],
  [
    '{"stream_options":{"include\\u005fusage":null},"model":"m","stream":true}',
    '{"stream_options":{"include\\u005fusage":true},"model":"m","stream":true}',
    true,
  ],
  [
    '{"model":"m","stream_options":{"include_usage":false},"stream":true} ',
    '{"model":"m","stream_options":{"include_usage":true},"stream":true} ',
    true,
  ],
  ['{"model":"m","stream":true,"stream_options":null}', '{"model":"m","stream":true,"stream_options":{"include_usage":true}}', true],
  [
    '{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    '{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    false,
  ],
  ['{"model":"m","stream":false}', '{"model":"m","stream":false}', false],
])("an OpenAI stream always asks for its usage: %s", (json, expected, dropUsageChunk) => {
  expect(forProvider(json, "openai", "m")).toEqual({ text: expected, dropUsageChunk });
});

test("the name and the usage are put in together", () => {
  expect(forProvider('{"stream":true,"model":"alias"}', "openai", "m").text).toBe(
    '{"stream":true,"model":"m","stream_options":{"include_usage":true}}',
  );
});

test.each([
  ["anthropic", '{"model":"m","max_tokens":7}', 7],
  ["anthropic", '{"model":"m","max_tokens":"many"}', undefined],
  ["openai", '{"model":"m","max_completion_tokens":7,"max_tokens":9}', 9],
  ["openai", '{"model":"m","max_tokens":9,"n":3}', 9],
  ["openai", '{"model":"m"}', undefined],
] as const)("hostile 11: %s %s limits each answer to %s, the larger of two limits", (dialect, json, expected) => {
  expect(factsOf(json, dialect).maxOutputTokens).toBe(expected);
});

test.each([
  ['{"model":"m","n":128}', 128],
  ['{"model":"m","n":2,"best_of":5}', 5],
  ['{"model":"m","n":0}', 1],
  ['{"model":"m"}', 1],
])("hostile 11: %s has %d answers, with a limit or without", (json, expected) => {
  expect(factsOf(json, "openai").choices).toBe(expected);
});

test.each([
  ["anthropic", '{"model":"m","metadata":{"user_id":"u"}}'],
  ["openai", '{"model":"m","user":"u"}'],
] as const)("%s names its user in %s", (dialect, json) => {
  expect(factsOf(json, dialect).endUser).toBe("u");
});

test("a body is changed in its own memory where there is room behind it, and says the same", () => {
  const json = '{"model":"alias","stream":true,"messages":[{"role":"user","content":"é"}]}';
  const memory = Buffer.alloc(2_000);
  const length = memory.write(json);
  const body = scanBody(json, "openai");
  const inPlace = bodyForProvider({ ...body, bytes: memory.subarray(0, length), room: 2_000 - length }, DIALECT.openai, {
    upstreamModel: "a-longer-name",
    provider: {},
  });

  expect(inPlace.bytes.buffer).toBe(memory.buffer);
  expect(inPlace.bytes.toString()).toBe(
    bodyForProvider(body, DIALECT.openai, { upstreamModel: "a-longer-name", provider: {} }).bytes.toString(),
  );
  expect(body.bytes.toString()).toBe(json);
});

test("hostile 16: deep options of a stream pass as they came, only the usage is asked for", () => {
  const deep = `${"[".repeat(400)}${"]".repeat(400)}`;

  expect(forProvider(`{"model":"m","stream":true,"stream_options":{"a":${deep}}}`, "openai", "m").text).toBe(
    `{"model":"m","stream":true,"stream_options":{"a":${deep},"include_usage":true}}`,
  );
});

test.each(['"x"', "1", "[]", "true"])("stream_options that are no object are refused: %s", (options) => {
  expect(() => factsOf(`{"model":"m","stream_options":${options}}`, "openai")).toThrow(
    expect.objectContaining({ code: "invalid_request", param: "stream_options" }),
  );
});

test("for any body, the provider reads what the caller wrote, but for the model's name and the wish for usage", () => {
  const fields = fc.dictionary(
    fc.string({ unit: "grapheme" }).map((name) => `x-${name}`),
    fc.jsonValue(),
    { maxKeys: 4 },
  );
  const options = fc.option(fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue(), { maxKeys: 3 }));
  fc.assert(
    fc.property(fields, options, fc.boolean(), fc.constantFrom(undefined, 1, "\t"), (others, streamOptions, stream, indent) => {
      const body = { ...others, model: "alias", stream, stream_options: streamOptions };
      const { text } = forProvider(` ${JSON.stringify(body, null, indent)}\n`, "openai", 'm"\\');
      const expected = { ...body, model: 'm"\\', ...(stream && { stream_options: { ...streamOptions, include_usage: true } }) };
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(expected)));
    }),
  );
});

test.each([
  ['{"model":"m","n":"128"}', "n"],
  ['{"model":"m","best_of":true}', "best_of"],
  ['{"model":"m","service_tier":["priority"]}', "service_tier"],
  ['{"model":"m","speed":{}}', "speed"],
  ['{"model":"m","inference_geo":7}', "inference_geo"],
  ['{"model":"m","stream":"true"}', "stream"],
  ['{"model":["m"]}', "model"],
  ['{"model":""}', "model"],
  ["{}", "model"],
])("hostile 02: what decides a price must be readable: %s", (json, param) => {
  expect(() => factsOf(json, "openai")).toThrow(expect.objectContaining({ code: "invalid_request", param }));
});

test("hostile 05: a large body is read in slices, between which everything else gets its turn", async () => {
  const turns = new ScanTurns();
  const large = Buffer.from(`{"model":"m","messages":[${"[],".repeat(600_000)}[]]}`);
  const order: string[] = [];
  const done = Promise.all(
    [1, 2].map(async (name) =>
      readRequestBody({ bytes: large, room: 0 }, DIALECT.anthropic.body, turns).then(() => order.push(`large ${name}`)),
    ),
  );
  const hardlyLarge = readRequestBody(
    { bytes: Buffer.from(`{"model":"m","system":"${"x".repeat(300_000)}"}`), room: 0 },
    DIALECT.anthropic.body,
    turns,
  ).then(() => order.push("hardly large"));
  let others = 0;
  const tick = (): void => {
    others += 1;
    if (order.length < 3) setImmediate(tick);
  };
  tick();
  await Promise.all([done, hardlyLarge]);

  // A body of 1.8 MB is seven slices: of two of them, fourteen turns, none of which is followed by another at once.
  expect(others).toBeGreaterThanOrEqual(12);
  expect(order).toEqual(["hardly large", "large 1", "large 2"]);
});

test("a large body that is wrong at its end is refused, and the next one is read", async () => {
  const turns = new ScanTurns();
  const wrong = readRequestBody(
    { bytes: Buffer.from(`{"model":"m","system":"${"x".repeat(600_000)}"`), room: 0 },
    DIALECT.anthropic.body,
    turns,
  );
  const right = readRequestBody(
    { bytes: Buffer.from(`{"model":"m","system":"${"x".repeat(600_000)}"}`), room: 0 },
    DIALECT.anthropic.body,
    turns,
  );

  await expect(wrong).rejects.toMatchObject({ code: "invalid_json" });
  expect((await right).facts.model).toBe("m");
});
