import { describe, expect, it } from "vitest";
import { measurePatience, patienceFor } from "../src/measured-patience.ts";
import { patience, until } from "../src/test-patience.ts";

describe("users 09: the limits of the tests", () => {
  it.each([
    [0.2, 1],
    [1, 1],
    [1.4, 1],
    [1.6, 2],
    [9.7, 10],
    [300, 20],
  ])("grow with the machine's slowness %d to the factor %d", (slowness, factor) => {
    expect(patienceFor(slowness)).toBe(factor);
  });

  it("have a factor that was measured, and every test process knows it", () => {
    const measured = measurePatience();

    expect(measured).toSatisfy((factor: number) => Number.isInteger(factor) && factor >= 1 && factor <= 20);
    expect(patience(1_000)).toBe(1_000 * Number(process.env["TEST_PATIENCE"]));
  });

  it("follow a condition: what becomes so is the value, and what never does is an error", async () => {
    let looks = 0;

    expect(
      await until(
        () => (looks += 1),
        (count) => count === 3,
        1,
      ),
    ).toBe(3);
    await expect(until(() => Promise.reject(new Error("the reader's own")))).rejects.toThrow("the reader's own");
  });
});
