import { expect, test } from "vitest";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import { readCheckpoint } from "./checkpoint.ts";

test("a checkpoint of today and one of an older process are read", () => {
  const report = reportOf({ ...NO_USAGE, inputTokens: 7, outputTokens: 3 });
  const today = { usage: {}, report, isFinal: true, providerResponseId: "msg_1", firstByteAt: "2026-11-27T10:00:00.000Z" };

  expect(readCheckpoint(JSON.parse(JSON.stringify(today)))).toMatchObject({
    ...today,
    report: JSON.parse(JSON.stringify(report)) as object,
  });
  expect(readCheckpoint({ usage: { inputTokens: 7, outputTokens: 3 }, providerResponseId: null, firstByteAt: null })?.report).toEqual(
    report,
  );
});

test.each([
  null,
  undefined,
  7,
  "text",
  [],
  {},
  { usage: "x" },
  { usage: { inputTokens: 1e300 } },
  { usage: { inputTokens: "7" } },
  { report: { parts: 7 } },
  { report: { parts: [{}] } },
  { report: { parts: [{ usage: [] }] } },
])("code 2: %j says nothing that can be billed, and is no error", (stored) => {
  expect(readCheckpoint(stored)).toBeUndefined();
});

test("code 2: wrong neighbours of good counts are left out", () => {
  const stored = {
    report: {
      parts: [{ usage: { inputTokens: 7 }, model: 7, modifiers: { speed: 1, serviceTier: "flex" } }],
      uses: { webSearch: -1 },
      unknown: [7, "a"],
      raw: 7,
    },
    providerResponseId: 7,
    firstByteAt: "never",
  };

  expect(readCheckpoint(stored)).toMatchObject({
    report: {
      parts: [{ model: undefined, usage: { inputTokens: 7 }, modifiers: { serviceTier: "flex" } }],
      uses: {},
      unknown: ["a"],
      raw: undefined,
    },
    isFinal: false,
    providerResponseId: null,
    firstByteAt: null,
  });
});
