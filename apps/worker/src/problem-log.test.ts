import { AppError } from "@proliferate/shared/errors";
import { expect, it } from "vitest";
import { createProblemLog, errorFacts } from "./problem-log.ts";

it("writes the first problem of a kind at once, and then one line a minute with the count of the others", () => {
  const lines: { facts: object; event: string }[] = [];
  let now = 0;
  const log = createProblemLog({
    logger: { error: (facts: object, event?: string) => void lines.push({ facts, event: event ?? "" }) },
    now: () => now,
  });

  for (; now < 130_000; now += 1_000) log.report("job.failed", { job: "sync", code: "spend_source_missing" });
  log.report("job.failed", { job: "sync", code: "store_unavailable" });

  expect(lines).toEqual([
    { event: "job.failed", facts: { job: "sync", code: "spend_source_missing" } },
    { event: "job.failed", facts: { job: "sync", code: "spend_source_missing", left_out: 59 } },
    { event: "job.failed", facts: { job: "sync", code: "spend_source_missing", left_out: 59 } },
    { event: "job.failed", facts: { job: "sync", code: "store_unavailable" } },
  ]);
});

it("names an error by its code, and adds what to do about it", () => {
  expect(errorFacts(new AppError("spend_source_missing", "No table."))).toMatchObject({
    code: "spend_source_missing",
    message: expect.stringContaining("LITELLM_DB_SCHEMA"),
  });
  expect(errorFacts(Object.assign(new Error("connect"), { code: "ECONNREFUSED" }))).toMatchObject({ code: "store_unavailable" });
  expect(errorFacts("?")).toEqual({ code: "internal_error", message: "?" });
});
