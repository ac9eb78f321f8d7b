import fc from "fast-check";
import { expect, test } from "vitest";
import { TopLevelFields } from "./top-level-fields.ts";

function read(text: string | Buffer, cuts: readonly number[] = []): unknown {
  const bytes = Buffer.from(text);
  const fields = new TopLevelFields();
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  edges.slice(1).forEach((end, index) => fields.push(bytes.subarray(edges[index], end)));
  const json = fields.text();
  return json === undefined ? undefined : JSON.parse(json);
}

test("a small object is read as it is, however its bytes are cut", () => {
  const cuts = fc.array(fc.nat(10_000), { maxLength: 12 });
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), cuts, fc.constantFrom(0, 2), (value, at, indent) => {
      expect(read(JSON.stringify(value, null, indent), at)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
    { numRuns: 500 },
  );
});

test("hostile 7: a large member costs no memory, and what stands around it is read", () => {
  const large = JSON.stringify({
    id: "m",
    content: [{ text: '"usage":{"input_tokens":1}\\'.repeat(100_000) }],
    meta: { a: "x".repeat(50_000) },
    note: "y".repeat(40_000),
    usage: { input_tokens: 7 },
  });

  expect(read(large, [3, 1_000, 900_000, 2_000_000])).toEqual({
    id: "m",
    content: [null],
    meta: { _: 0 },
    note: "…",
    usage: { input_tokens: 7 },
  });
});

test.each(["", "   ", "[1]", '"text"', "<html>", '{"a":1', '{"a":{"b":1}', "7"])("%j is no whole object", (text) => {
  expect(read(text)).toBeUndefined();
});

test("hostile 9: a hundred thousand levels are no stack", () => {
  const depth = 100_000;

  expect(read(`{"a":${"[".repeat(depth)}${"]".repeat(depth)},"id":"m"}`)).toEqual({ a: [null], id: "m" });
});
