import fc from "fast-check";
import { expect, test } from "vitest";
import { applyEdits, findJsonFields } from "./json-fields.ts";

const replaceField = (json: string, name: string, value: unknown): string => {
  const bytes = Buffer.from(json);
  const field = findJsonFields(bytes).fields.get(name);
  return applyEdits(bytes, field ? [{ ...field, text: JSON.stringify(value) }] : []).toString();
};

test("the fields of any object are found where JSON.parse finds them", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue()), fc.constantFrom(undefined, 1, "\t"), (object, indent) => {
      const bytes = Buffer.from(` ${JSON.stringify(object, null, indent)}\n`);
      const { fields, closingBrace } = findJsonFields(bytes);
      expect([...fields.keys()].toSorted()).toEqual(Object.keys(object).toSorted());
      for (const [name, { start, end }] of fields) {
        expect(JSON.parse(bytes.subarray(start, end).toString())).toEqual(JSON.parse(JSON.stringify(object[name])));
      }
      expect(bytes.subarray(closingBrace).toString()).toBe("}\n");
    }),
  );
});

test("replacing a field leaves every other byte as it was", () => {
  const json = '{ "a" : "\\"model\\":1" ,\n"model":"old" , "b":{"model":"inner"}, "n":1.50e0}';

  expect(replaceField(json, "model", "new")).toBe('{ "a" : "\\"model\\":1" ,\n"model":"new" , "b":{"model":"inner"}, "n":1.50e0}');
});

test("a name that is spelled with escapes is the same name", () => {
  expect(replaceField('{"mod\\u0065l":"old"}', "model", "new")).toBe('{"mod\\u0065l":"new"}');
});

test.each(['{"model":"a","model":"b"}', '{"model":"a","mod\\u0065l":"b"}'])("a field that is given twice is refused: %s", (json) => {
  expect(() => findJsonFields(Buffer.from(json))).toThrow(expect.objectContaining({ code: "invalid_request", param: "model" }));
});

test("a field twice in a nested object is none of our business", () => {
  expect(findJsonFields(Buffer.from('{"tools":[{"a":1,"a":2}]}')).fields.size).toBe(1);
});
