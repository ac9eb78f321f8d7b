import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { patience } from "@proliferate/testing/test-patience";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { plansOf, PROFILES } from "../../test/limit-model/commands.ts";
import { DEFECTS } from "../../test/limit-model/defects.ts";
import { type ModelDatabase, openModelDatabase } from "../../test/limit-model/model-database.ts";
import { play } from "../../test/limit-model/play.ts";

/**
 * Issue 11, "what must be shown" 1: any tree of limits, any interleaving, two proxies, a crash at any await, against a reference model
 * (`test/limit-model`). A failure prints its seed and path and the shortest plan that still fails. LIMIT_MODEL_RUNS=5000 plays so many plans and tells how far
 * it is; LIMIT_MODEL_SEED=… begins elsewhere.
 */
const RUNS = Number(process.env["LIMIT_MODEL_RUNS"]) || 25;
const SEED = Number(process.env["LIMIT_MODEL_SEED"]) || 11;
const ALL = Object.keys(PROFILES) as (keyof typeof PROFILES)[];
/** Plans within which every planted defect must be found. */
const DEFECT_RUNS = 60;

let server: TestDatabase;
let database: ModelDatabase;
beforeAll(async () => {
  server = await createTestDatabase();
  database = await openModelDatabase(server);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

test(
  "limits are never passed by more than one request, never refuse while there is room, and keep nothing reserved",
  { timeout: RUNS > 100 ? 0 : patience(240_000) },
  async () => {
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(plansOf(...ALL), async (plan) => {
        runs += 1;
        if (RUNS >= 200 && runs % 100 === 0) process.stdout.write(`${runs} of ${RUNS} plans\n`);
        const { violation, trace } = await play(database, plan);
        if (violation !== undefined) throw new Error(`${violation}\n${trace.join("\n")}`);
      }),
      { numRuns: RUNS, seed: SEED },
    );

    expect(runs).toBe(RUNS);
  },
);

test("a key that is deleted between the look at it and the look at its limits is refused, and not taken for one without limits", async () => {
  const { violation } = await play(database, {
    limits: [{ principal: "payer org_a", meter: "usd", window: "total", model: "", amount: 0, enforce: "refuse" }],
    commands: [
      { kind: "begin", proxy: 0, operation: { kind: "mint", seat: 0 }, steps: 20 },
      { kind: "begin", proxy: 0, operation: { kind: "admit", seat: 0, model: "m1", least: 1, input: 1, output: 0 }, steps: 3 },
      { kind: "begin", proxy: 0, operation: { kind: "delete", seat: 0 }, steps: 0 },
      { kind: "begin", proxy: 0, operation: { kind: "checkpoint", roll: 0, output: 0 }, steps: 5 },
      { kind: "work", proxy: 0, steps: 2, roll: 0 },
      { kind: "work", proxy: 0, steps: 1, roll: 0 },
    ],
  });

  expect(violation).toBeUndefined();
});

describe("a planted defect is found", () => {
  test.each(Object.entries(DEFECTS))("%s", async (_name, { profile, rewrite }) => {
    const violations: string[] = [];
    await fc.check(
      fc.asyncProperty(plansOf(profile), async (plan) => {
        const { violation } = await play(database, plan, rewrite);
        if (violation !== undefined) violations.push(violation);
        return violation === undefined;
      }),
      { numRuns: DEFECT_RUNS, seed: SEED, endOnFailure: true },
    );

    expect(violations).toHaveLength(1);
    // A statement that the defect made unreadable proves nothing.
    expect(violations[0]).not.toMatch(/^a proxy failed/);
  });
});
