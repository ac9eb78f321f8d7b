import { afterEach, expect, test, vi } from "vitest";
import { seededRandom } from "./test-random.ts";

const said = vi.spyOn(console, "info").mockImplementation(() => undefined);
afterEach(() => {
  vi.unstubAllEnvs();
  said.mockClear();
});

const draw = (): readonly number[] => {
  const random = seededRandom("a test");
  return Array.from({ length: 50 }, random);
};

test("the seed that a run printed makes the same choices again, and the next run others", () => {
  vi.stubEnv("PROPERTY_SEED", "random");
  const first = draw();
  const seed = /PROPERTY_SEED=(\d+)/.exec(String(said.mock.calls[0]?.[0]))?.[1] ?? "";
  const other = draw();
  vi.stubEnv("PROPERTY_SEED", seed);

  expect(draw()).toEqual(first);
  expect(other).not.toEqual(first);
});

test("numbers are spread from 0 up to 1", () => {
  vi.stubEnv("PROPERTY_SEED", "7");
  const drawn = draw();

  expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...drawn)).toBeLessThan(1);
  expect(new Set(drawn.map((number) => Math.floor(number * 4))).size).toBe(4);
});
