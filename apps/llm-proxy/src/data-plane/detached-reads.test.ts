import { expect, onTestFinished, test } from "vitest";
import { type DetachedRead, DetachedReads } from "./detached-reads.ts";

const SETTINGS = { ms: 60_000, bytes: 1_000, atOnce: 8 };
const QUARTER = 2;

/** Begins one, which ends with the test. */
function begin(reads: DetachedReads, key: string, stop: () => void = () => undefined): DetachedRead | undefined {
  const read = reads.begin(key, stop);
  onTestFinished(() => read?.end());
  return read;
}

test("answers that are read on are a quarter of one key's at most, so that who leaves again and again leaves room for others", () => {
  const reads = new DetachedReads(SETTINGS);
  const own = Array.from({ length: SETTINGS.atOnce }, () => begin(reads, "leaver"));
  expect(own.filter(Boolean)).toHaveLength(QUARTER);
  const others = ["a", "b", "c", "d"].flatMap((key) => [begin(reads, key), begin(reads, key)]);
  expect(others.filter(Boolean)).toHaveLength(SETTINGS.atOnce - QUARTER);
  own[0]?.end();
  // Ended twice, it gives its place back once.
  own[0]?.end();
  expect(begin(reads, "leaver")).toBeDefined();
  expect(begin(reads, "leaver")).toBeUndefined();
});

test("an answer that is read on is stopped at its bytes; without a time none is read on, and one place is one key's", () => {
  let stops = 0;
  const read = begin(new DetachedReads(SETTINGS), "key", () => (stops += 1));
  read?.count(SETTINGS.bytes);
  expect(stops).toBe(0);
  read?.count(1);
  expect(stops).toBe(1);
  expect(begin(new DetachedReads({ ...SETTINGS, ms: 0 }), "key")).toBeUndefined();
  expect(begin(new DetachedReads({ ...SETTINGS, atOnce: 1 }), "key")).toBeDefined();
});
