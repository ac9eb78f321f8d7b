import fc from "fast-check";
import { expect, test } from "vitest";
import { TopLevelFields } from "./top-level-fields.ts";

function read(text: string | Buffer, cuts: readonly number[] = [], listName?: string): unknown {
  const bytes = Buffer.from(text);
  const fields = new TopLevelFields(listName);
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

test("clients F2: of one list that is too large each object is kept with its small members, wherever its bytes are cut", () => {
  const call = { id: "a", type: "web_search_call", action: { type: "search", queries: ["{", "]"] } };
  const message = { type: "message", content: [{ text: '"]}{"type":"web_search_call"}'.repeat(2_000) }] };
  const kept = { output: [call, { type: "message", content: [null] }, call], other: [null], usage: { a: [{ b: 1 }] } };
  const text = JSON.stringify({ output: [call, message, call, "text", 5], other: [message], usage: { a: [{ b: 1 }] } }, null, 1);

  expect(read(text, [], "output")).toEqual(kept);
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 12 }), (cuts) => {
      expect(read(text, cuts, "output")).toEqual(kept);
    }),
    { numRuns: 200 },
  );
  // Around the list's own beginning, where each byte decides.
  for (let cut = 1; cut < 200; cut += 1) expect(read(text, [cut], "output")).toEqual(kept);
  expect(read(JSON.stringify({ output: [call, call] }), [], "output")).toEqual({ output: [call, call] });
});

test("clients F2: a list of more elements than are kept says so, and costs no more memory", () => {
  const many = JSON.stringify({ output: Array.from({ length: 20_000 }, (_, index) => ({ type: "web_search_call", id: `ws_${index}` })) });

  const { output } = read(many, [], "output") as { readonly output: readonly unknown[] };

  expect(output.at(-1)).toBeNull();
  expect(JSON.stringify(output).length).toBeLessThan(160 * 1024);
});
