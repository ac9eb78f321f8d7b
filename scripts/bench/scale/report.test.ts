import { expect, test } from "vitest";
import type { Measured } from "./recorder.ts";
import { describeFigures } from "./report.ts";

const read = (rows: number, buffers: number, milliseconds: number): Measured => ({ rows, buffers, milliseconds, searches: 4, plan: "" });

/** The growth column of a statement that did so much at a tenth, and so much at all rows. */
function growth(small: Measured, large: Measured): string | undefined {
  const statement = { name: "one", caller: "a test", idleCallsAMinute: 1 };
  const statements = [{ statement, small, large, before: undefined, backlog: undefined }];
  const text = describeFigures({ spendRows: 10_000_000, fillSeconds: 1, bytes: 1, load: 0, statements });
  return text.match(/\| (\d+\.\d\d) × \|/)?.[1];
}

test("a statement that reads the same rows and pages at both sizes has not grown, however long the machine took", () => {
  expect(growth(read(2_000, 400, 10), read(2_000, 404, 40))).toBe("1.00");
  expect(growth(read(2_208, 101, 10), read(2_209, 101, 20))).toBe("1.00");
});

test("a statement that reads more has grown by the worst of rows, pages and time", () => {
  expect(growth(read(1_000, 400, 10), read(1_500, 404, 40))).toBe("4.00");
  expect(growth(read(1_000, 400, 10), read(1_000, 804, 10))).toBe("2.00");
  expect(growth(read(1_000, 400, 10), read(3_000, 404, 10))).toBe("3.00");
});
