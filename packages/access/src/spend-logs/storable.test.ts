import { expect, test } from "vitest";
import { MOST_COLUMN_TOKENS, storableCount, storableJson, storableText } from "./storable.ts";

test("text loses NUL and half surrogates, keeps whole ones, and is bounded", () => {
  expect(storableText("a\u0000b\uD800c😀")).toBe("a\uFFFDb\uFFFDc😀");
  expect(storableText("x".repeat(300))).toHaveLength(256);
  // Cutting through a pair leaves no half of it.
  expect(storableText("😀", 1)).toBe("\uFFFD");
});

test("counts are clamped to what an integer column takes", () => {
  expect([1e15, -1e15, 7.9].map(storableCount)).toEqual([MOST_COLUMN_TOKENS, -MOST_COLUMN_TOKENS, 7]);
});

test("JSON is made storable in keys, texts and depth", () => {
  expect(storableJson({ "k\u0000": ["\uDC00", 1, null, true] })).toEqual({ "k\uFFFD": ["\uFFFD", 1, null, true] });
  expect(storableJson([[["deep"]]], 2)).toEqual([[null]]);
});
