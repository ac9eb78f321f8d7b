import fc from "fast-check";
import { expect, test } from "vitest";
import { SMALL_BODY_BYTES, UploadMemory } from "./upload-memory.ts";

const MB = 1024 * 1024;
const LIMITS = { largeBytes: 8 * MB, largeBytesPerKey: 4 * MB, smallBytes: 2 * MB, smallBytesPerKey: MB };
const codeOf = (hold: () => unknown): unknown => {
  try {
    hold();
    return undefined;
  } catch (error) {
    return { code: (error as { code?: unknown }).code, retryAfterSeconds: (error as { retryAfterSeconds?: unknown }).retryAfterSeconds };
  }
};

test("hostile 04: a key has its share, all keys together theirs, and both are told to come back", () => {
  const memory = new UploadMemory(LIMITS);
  memory.hold("a", {}, 3 * MB);

  expect(codeOf(() => memory.hold("a", {}, 2 * MB))).toEqual({ code: "too_many_at_once", retryAfterSeconds: 1 });
  memory.hold("b", {}, 4 * MB);
  expect(codeOf(() => memory.hold("c", {}, 2 * MB))).toEqual({ code: "gateway_busy", retryAfterSeconds: 1 });
  memory.hold("c", {}, MB);
  expect(memory.held).toBe(8 * MB);
});

test("hostile 04: large bodies cannot take the place of small ones", () => {
  const memory = new UploadMemory(LIMITS);
  for (const key of ["a", "b"]) memory.hold(key, {}, 4 * MB);

  expect(codeOf(() => memory.hold("c", {}, SMALL_BODY_BYTES))).toBeUndefined();
  expect(codeOf(() => memory.hold("c", {}, SMALL_BODY_BYTES + 1))).toMatchObject({ code: "gateway_busy" });
});

test("code 5b: one connection has a share, whatever keys it shows", () => {
  const memory = new UploadMemory(LIMITS);
  const connection = {};
  memory.hold("a", connection, 3 * MB);

  expect(codeOf(() => memory.hold("b", connection, 2 * MB))).toMatchObject({ code: "too_many_at_once" });
  expect(codeOf(() => memory.hold("b", {}, 2 * MB))).toBeUndefined();
});

test("a body that grows beyond what is free keeps what it had until it is released", () => {
  const memory = new UploadMemory(LIMITS);
  const growing = memory.hold("a", {}, 64 * 1024);
  growing.grow(SMALL_BODY_BYTES);
  growing.grow(3 * MB);

  expect(codeOf(() => growing.grow(5 * MB))).toMatchObject({ code: "too_many_at_once" });
  expect(memory.held).toBe(3 * MB);
  growing.release();
  growing.release();
  expect(memory.held).toBe(0);
});

test("whatever is held, grown and released: no limit is passed, and at the end nothing is held", () => {
  const step = fc.record({
    key: fc.constantFrom("a", "b", "c"),
    connection: fc.nat(2),
    what: fc.constantFrom("hold", "grow", "release"),
    bytes: fc.integer({ min: 1, max: 5 * MB }),
    which: fc.nat(20),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const memory = new UploadMemory(LIMITS);
      const connections = [{}, {}, {}];
      const held: { readonly key: string; bytes: number; readonly memory: ReturnType<UploadMemory["hold"]> }[] = [];
      for (const { key, connection, what, bytes, which } of steps) {
        const chosen = held[which % (held.length || 1)];
        if (
          what === "hold" &&
          codeOf(() => held.push({ key, bytes, memory: memory.hold(key, connections[connection] ?? {}, bytes) })) !== undefined
        )
          continue;
        if (what === "grow" && chosen && codeOf(() => chosen.memory.grow(bytes)) === undefined)
          chosen.bytes = Math.max(chosen.bytes, bytes);
        if (what === "release" && chosen) held.splice(held.indexOf(chosen), 1)[0]?.memory.release();
        const sum = (isSmall: boolean, ofKey?: string): number =>
          held
            .filter((entry) => entry.bytes <= SMALL_BODY_BYTES === isSmall && (ofKey ?? entry.key) === entry.key)
            .reduce((total, entry) => total + entry.bytes, 0);
        expect(memory.held).toBe(sum(true) + sum(false));
        expect(sum(false)).toBeLessThanOrEqual(LIMITS.largeBytes);
        expect(sum(true)).toBeLessThanOrEqual(LIMITS.smallBytes);
        for (const owner of ["a", "b", "c"])
          expect([sum(false, owner) <= LIMITS.largeBytesPerKey, sum(true, owner) <= LIMITS.smallBytesPerKey]).toEqual([true, true]);
      }
      for (const entry of held) entry.memory.release();
      expect(memory.held).toBe(0);
    }),
  );
});
