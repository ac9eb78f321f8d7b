import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RequestFacts } from "./request-facts.ts";
import { referenceFacts } from "./test-reference-facts.ts";
import { documentedFields, factsOf, refusalOf, scanBody } from "./test-scan.ts";

const DIALECTS = ["anthropic", "openai"] as const;

/** Names and texts that mean something somewhere, so that bodies made of them meet the rules. */
const NAMES = [
  ...[
    "type",
    "model",
    "models",
    "url",
    "data",
    "media_type",
    "file_id",
    "file_data",
    "file_url",
    "file",
    "source",
    "content",
    "input",
    "definition",
    "tool",
  ],
  ...[
    "image_url",
    "document_url",
    "input_audio",
    "audio",
    "id",
    "tool_calls",
    "max_uses",
    "max_tokens",
    "speed",
    "edits",
    "user_id",
    "name",
    "text",
    "x",
    "é",
    "input_schema",
  ],
];
const TEXTS = [
  ...[
    "",
    "text",
    "base64",
    "url",
    "file",
    "image/png",
    "application/pdf",
    "data:image/png;base64,AAAA",
    "data:text/plain,é",
    "https://e/x",
    "claude-fable-5-1",
  ],
  ...[
    "advisor_20260301",
    "web_search_20250305",
    "bash_20250124",
    "function",
    "rm_rf_20990101",
    "compact_20260112",
    "clear_thinking_20251015",
    "audio",
    "disabled",
    "document_url",
    "input_image",
    "pdf",
  ],
  ...["code_execution_output", "fast", 'a\u0001b\\"c', "日本", "😀"],
];
const scalar = fc.oneof(
  fc.constantFrom(...TEXTS),
  fc.constantFrom(null, true, false, 0, 1, 7.5, -3, 1e300),
  fc.string({ unit: "grapheme" }),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    scalar,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie("value"), { maxKeys: 6 }),
  ),
}));
/** Well-formed bodies: what the scanner refuses by rule is not in them. */
const anyBody = (dialect: (typeof DIALECTS)[number]) =>
  fc
    .tuple(
      fc.record({ model: fc.constantFrom("m", "claude-haiku-4-5"), stream: fc.constantFrom(true, false, null, undefined) }),
      fc.dictionary(fc.constantFrom(...documentedFields(dialect), "unknown", "my_model", "Über"), value, { maxKeys: 10 }),
    )
    .map(([fixed, fields]): Record<string, unknown> => {
      const texts = Object.fromEntries(
        ["service_tier", "speed", "inference_geo"].map((name) => [
          name,
          typeof fields[name] === "string" && fields[name] !== "" ? fields[name] : null,
        ]),
      );
      const numbers = Object.fromEntries(["n", "best_of"].map((name) => [name, typeof fields[name] === "number" ? fields[name] : null]));
      const options =
        typeof fields["stream_options"] === "object" && !Array.isArray(fields["stream_options"]) ? fields["stream_options"] : null;
      return JSON.parse(
        JSON.stringify({ ...fields, ...texts, ...(dialect === "openai" && { ...numbers, stream_options: options }), ...fixed }),
        (name, inner: unknown) => (name === "max_uses" && typeof inner !== "number" ? null : inner),
      ) as Record<string, unknown>;
    });

/** In any order: both read all of it, each in its own way. */
const sorted = (facts: RequestFacts): unknown =>
  Object.fromEntries(
    Object.entries(facts).map(([name, fact]) => [name, Array.isArray(fact) ? fact.map((entry) => JSON.stringify(entry)).toSorted() : fact]),
  );

test.each(DIALECTS)("the scanner finds in any %s body what a walk over its parsed tree finds", (dialect) => {
  fc.assert(
    fc.property(anyBody(dialect), (json) => {
      const bytes = Buffer.from(JSON.stringify(json));
      expect(sorted(factsOf(bytes, dialect))).toEqual(sorted(referenceFacts(json, bytes.length, dialect, documentedFields(dialect))));
    }),
    { numRuns: 1_000 },
  );
});

test.each(DIALECTS)("a body of the %s dialect says the same in slices of any size, and with other spaces", (dialect) => {
  fc.assert(
    fc.property(anyBody(dialect), fc.integer({ min: 1, max: 40 }), fc.constantFrom(undefined, 1, "\r\n\t"), (json, slice, indent) => {
      const bytes = Buffer.from(` ${JSON.stringify(json, null, indent)}\n`);
      const { slices: _, ...whole } = scanBody(bytes, dialect);
      const { slices: __, ...sliced } = scanBody(bytes, dialect, { slice });
      expect(sliced).toEqual(whole);
    }),
  );
});

/** Whether JSON.parse takes it as an object. */
function isJsonObject(text: string): boolean {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null && !Array.isArray(json);
  } catch {
    return false;
  }
}

test("what JSON.parse refuses is invalid_json, what it takes is not: after any change to the bytes", () => {
  const change = fc.tuple(
    fc.nat(),
    fc.constantFrom(...'{}[]:,"\\ \t\n\u0000\u001f0123456789-+.eEtrufalsn/bx\u00e9'),
    fc.constantFrom("put", "replace", "drop", "cut"),
  );
  fc.assert(
    fc.property(anyBody("anthropic"), fc.array(change, { minLength: 1, maxLength: 3 }), (json, changes) => {
      let text = JSON.stringify(json);
      for (const [at, letter, how] of changes) {
        const position = at % (text.length + 1);
        if (how === "cut") text = text.slice(0, position);
        else text = text.slice(0, position) + (how === "drop" ? "" : letter) + text.slice(how === "put" ? position : position + 1);
      }
      const bytes = Buffer.from(text);
      fc.pre(isUtf8(bytes) && text.isWellFormed());
      const refusal = refusalOf(bytes, "anthropic");
      // What breaks a rule (a field given twice, a model without a name) may stand before what is no JSON: then it is refused for that.
      if (refusal === "invalid_request") return;
      expect(refusal).toBe(isJsonObject(text) ? undefined : "invalid_json");
    }),
    { numRuns: 3_000 },
  );
});

test.each([
  "",
  " ",
  "null",
  "1",
  '"x"',
  "[]",
  "{",
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  "{,}",
  "{'a':1}",
  '{"a":01}',
  '{"a":1.}',
  '{"a":.5}',
  '{"a":+1}',
  '{"a":1e}',
  '{"a":-}',
  '{"a":tru}',
  '{"a":nul}',
  '{"a":NaN}',
  '{"a":Infinity}',
  '{"a":"\t"}',
  '{"a":"\\x"}',
  '{"a":"\\u12g4"}',
  '{"a":"\\u12',
  '{"a":"',
  '{"a":[1,]}',
  '{"a":[}',
  '{"a":1}}',
  '{"a":1} x',
  "{}{}",
  '\uFEFF{"model":"m"}',
  '{"a":1 "b":2}',
  '{"a" 1}',
  '{"a":\u00a01}',
])("hostile 16: %j is invalid_json", (text) => {
  expect(refusalOf(text, "openai")).toBe("invalid_json");
});

test("bytes that are no UTF-8 are invalid_json", () => {
  expect(refusalOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), "openai")).toBe("invalid_json");
  expect(refusalOf(Buffer.from('{"model":"m"}', "utf16le"), "openai")).toBe("invalid_json");
});

test("a body is never quoted", () => {
  expect(() => scanBody('{"secret":sk-123}', "openai")).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining("sk-123") }),
  );
});

test.each([
  ['{"model":"a","model":"b"}', "model"],
  ['{"model":"a","mod\\u0065l":"b"}', "model"],
  ['{"model":"a","\\u006dodel":"b"}', "model"],
  ['{"model":"a","whatever":1,"whatever":2}', "whatever"],
  ['{"model":"a","tools":[{"type":"advisor_20260301","model":"b","model":"c"}]}', "tools[0].model"],
  ['{"model":"a","tools":[{"type":"custom","type":"advisor_20260301"}]}', "tools[0].type"],
  ['{"model":"a","fallbacks":[{"model":"b","m\\u006fdel":"c"}]}', "fallbacks[0].model"],
  ['{"model":"a","messages":[{"content":[{"source":{"type":"text","type":"url"}}]}]}', "messages[0].content[0].source.type"],
])("public bug 50: a field that counts and is given twice is refused: %s", (json, param) => {
  expect(() => scanBody(json, "anthropic")).toThrow(expect.objectContaining({ code: "invalid_request", param }));
});

test("public bug 1: a field that nobody documents is reported, and one that is named after a model cannot be judged, however it is spelled", () => {
  const { unknownFields, unjudged } = factsOf(
    '{"model":"m","novelty":1,"judge_m\\u006fdel":"big","plan":{"steps":[{"model":"big"}]}}',
    "anthropic",
  );

  expect(unknownFields).toEqual(["novelty", "judge_model", "plan"]);
  expect(unjudged).toEqual([
    { path: "judge_model", why: "unknown_field_names_model" },
    { path: "plan.steps[0]", why: "unknown_field_names_model" },
  ]);
});

test("a field twice where nothing is read is the provider's business", () => {
  expect(
    refusalOf(
      '{"model":"a","tools":[{"input_schema":{"a":1,"a":2}}],"messages":[{"content":[{"type":"tool_use","input":{"a":1,"a":2}}]}]}',
      "anthropic",
    ),
  ).toBeUndefined();
});

const deep = (depth: number): string => `{"model":"m","messages":${"[".repeat(depth)}${"]".repeat(depth)}}`;

test("hostile 16: 512 values may stand in each other, not one more, wherever they are", () => {
  expect(refusalOf(deep(511), "anthropic")).toBeUndefined();
  for (const body of [
    deep(512),
    deep(100_000),
    `{"model":"m","stream":true,"stream_options":{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}}`,
  ]) {
    expect([refusalOf(body, "anthropic"), refusalOf(body, "openai")]).toEqual(["invalid_request", "invalid_request"]);
  }
});

test.each([
  ["values", `{"model":"m","messages":[${"[],".repeat(1_000_000)}[]]}`],
  ["fields", `{${Array.from({ length: 257 }, (_, index) => `"f${index}":1`).join(",")}}`],
  ["a name of the body", `{"model":"m","${"n".repeat(257)}":1}`],
  ["a number", `{"model":"m","x":${"1".repeat(2_000)}}`],
  ["facts", `{"model":"m","messages":[${'{"file_id":"f"},'.repeat(4_097)}1]}`],
])("hostile 05: a body with too much of %s is refused", (_, body) => {
  expect(refusalOf(body, "anthropic")).toBe("invalid_request");
});

/** 31 MB bodies of the attack, smaller: whatever the bytes are, a slice is a slice. */
const HOSTILE = {
  "empty lists": (count: number) => `{"model":"m","messages":[${"[],".repeat(count)}[]]}`,
  "objects": (count: number) => `{"model":"m","messages":[${'{"type":1},'.repeat(count)}1]}`,
  "escaped quotes": (count: number) => `{"model":"m","messages":"${'\\"'.repeat(count)}"}`,
  "escaped names": (count: number) => `{"model":"m","messages":[{${'"\\u0061":1,'.repeat(count)}"b":1}]}`,
  "backslashes": (count: number) => `{"model":"m","messages":"${"\\\\".repeat(count)}"}`,
  "spaces": (count: number) => `{"model":"m",${" ".repeat(count)}"messages":1}`,
  "nesting": (count: number) => `{"model":"m","messages":[${`${"[".repeat(400)}${"]".repeat(400)},`.repeat(count / 800)}1]}`,
};

test.each(Object.entries(HOSTILE))("hostile 05: %s take a number of steps in proportion to their bytes", (_, make) => {
  const [small, large] = [make(20_000), make(40_000)].map((text) => {
    const { slices, bytes } = scanBody(text, "anthropic", { slice: 1 });
    expect(slices).toBeLessThanOrEqual(bytes.length + 1);
    return slices / bytes.length;
  });

  expect(large).toBeCloseTo(small ?? 0, 2);
});
