import { describe, expect, test } from "vitest";
import { FindingSeal, MOST_SEALED_BYTES } from "./finding-seal.ts";
import type { Finding } from "./finding.ts";
import { findingOf, limitOf } from "./test-findings.ts";

const seal = new FindingSeal({ masterKey: "sk-master", database: "postgresql://app@db/app" });
const NAME = seal.nameOf("k".repeat(64));
const sealed = (finding: unknown): Buffer => seal.seal(NAME, finding as Finding) ?? expect.unreachable();

test("what is sealed is opened under its name, by every proxy of the database", () => {
  const another = new FindingSeal({ masterKey: "sk-master", database: "postgresql://app@db/app" });

  expect(another.nameOf("k".repeat(64))).toBe(NAME);
  expect(another.open(NAME, sealed(findingOf()))).toEqual(findingOf());
});

test("neither names nor what stands under them tell of whom they are, or of amounts", () => {
  const whole = NAME + sealed(findingOf()).toString("latin1");

  for (const secret of ["kkkk", "user-of-findings", "sk-master", "requests", "total"]) expect(whole).not.toContain(secret);
});

describe("whoever can write to Redis can make nobody refused:", () => {
  test("a bit that was changed, a byte that is missing or more, another name, another proxy's key, another database", () => {
    const good = sealed(findingOf());
    for (let index = 0; index < good.length; index += 1) {
      const bad = Buffer.from(good);
      bad.writeUInt8(bad.readUInt8(index) ^ 1, index);
      expect(seal.open(NAME, bad)).toBeUndefined();
      expect(seal.open(NAME, good.subarray(0, index))).toBeUndefined();
    }
    expect(seal.open(NAME, Buffer.concat([good, Buffer.from([0])]))).toBeUndefined();
    expect(seal.open(seal.nameOf("other"), good)).toBeUndefined();
    for (const change of [{ masterKey: "sk-other" }, { database: "postgresql://app@db/other" }]) {
      const other = new FindingSeal({ masterKey: "sk-master", database: "postgresql://app@db/app", ...change });
      expect([other.open(NAME, good), other.nameOf("k".repeat(64)) === NAME]).toEqual([undefined, false]);
    }
  });

  test.each(["", "{}", JSON.stringify(findingOf()), "\u0000".repeat(64), "x".repeat(MOST_SEALED_BYTES + 1)])(
    "plain text: %.20s",
    (text) => {
      expect(seal.open(NAME, Buffer.from(text))).toBeUndefined();
    },
  );
});

const limit = (change: object): unknown => ({ ...findingOf(), limits: [{ ...limitOf(), ...change }] });

test.each<readonly [string, unknown]>([
  ["nothing", null],
  ["no limits", findingOf({ limits: [] })],
  ["a field more", { ...findingOf(), more: 1 }],
  ["a state that is no hash", findingOf({ callerState: "k" })],
  ["a moment that is no number", { ...findingOf(), storeMs: "1" }],
  ["a moment between milliseconds", findingOf({ storeMs: 0.5 })],
  ["a limit's field more", limit({ more: 1 })],
  ["a limit without one", { ...findingOf(), limits: [{ ...limitOf(), secondsLeft: undefined }] }],
  ["a meter that this version does not know", limit({ meter: "images" })],
  ["a meter that every object has", limit({ meter: "constructor" })],
  ["a limit that only counts", limit({ enforce: "count" })],
  ["a limit without an amount", limit({ amount: null })],
  ["an amount that is no decimal", limit({ amount: "1e9" })],
  ["an amount without an end", limit({ used: "9".repeat(41) })],
  ["a principal of another kind", limit({ principal: { kind: "world", id: "" } })],
  ["seconds below none", limit({ secondsLeft: -1 })],
  ["a window's end that is no moment", limit({ windowEnd: "soon" })],
])("%s, sealed by our own key, as another version might: not opened", (_, finding) => {
  expect(seal.open(NAME, sealed(finding))).toBeUndefined();
});

test("what has too many bytes is not sealed", () => {
  const long = findingOf({ limits: Array.from({ length: 40 }, () => limitOf({ principal: { kind: "user", id: "u".repeat(500) } })) });

  expect(seal.seal(NAME, long)).toBeUndefined();
});
