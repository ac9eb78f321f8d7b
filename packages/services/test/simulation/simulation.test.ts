import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MUTATIONS, NO_MUTATION } from "./mutations.ts";
import { createSchedule, describeMoves } from "./schedule.ts";
import { shrink } from "./shrink.ts";
import { simulate } from "./simulation.ts";
import { openSimulationDatabase, type SimulationDatabase } from "./simulation-database.ts";

/** For each run of the suite, which has ten minutes; the full run is `./scripts/simulate-billing.sh --seeds 10000`. */
const SEEDS = 100;
const LANES = 3;
/** Seeds within which every planted defect must be found. */
const MUTATION_SEEDS = 150;

const tests: TestDatabase[] = [];
const databases: SimulationDatabase[] = [];
beforeAll(async () => {
  for (let lane = 0; lane < LANES; lane += 1) {
    const test = await createTestDatabase();
    tests.push(test);
    databases.push(await openSimulationDatabase(test.connectionString));
  }
});
afterAll(async () => {
  await Promise.all(databases.map((database) => database.close()));
  await Promise.all(tests.map((test) => test.drop()));
});

/** The first seed that fails, run on all databases at once; undefined when all pass. */
async function findFailure(
  seeds: number,
  mutation = NO_MUTATION,
): Promise<{ readonly seed: number; readonly violation: string } | undefined> {
  let next = 1;
  const failures: { readonly seed: number; readonly violation: string }[] = [];
  const lane = async (database: SimulationDatabase): Promise<void> => {
    while (next <= seeds && failures.length === 0) {
      const seed = next;
      next += 1;
      const { violation } = await simulate(database, createSchedule(seed, mutation.oftener), mutation);
      if (violation !== undefined) failures.push({ seed, violation });
    }
  };
  await Promise.all(databases.map(lane));
  return failures.toSorted((a, b) => a.seed - b.seed)[0];
}

it(
  `${SEEDS} seeds of crashes, faults, clocks and late rows leave every sum right after every step`,
  { timeout: patience(240_000) },
  async () => {
    const failure = await findFailure(SEEDS);

    expect(failure, `./scripts/simulate-billing.sh --seed ${failure?.seed} shrinks and shows it`).toBeUndefined();
  },
);

it("the same seed makes the same steps, so a failure can be replayed", async () => {
  const [first, second] = databases as [SimulationDatabase, SimulationDatabase];
  for (const seed of [3, 17, 55]) {
    const [one, other] = await Promise.all([simulate(first, createSchedule(seed)), simulate(second, createSchedule(seed))]);

    expect(one.trace.length).toBeGreaterThan(50);
    expect(one.trace).toEqual(other.trace);
  }
});

describe("a planted defect is found", () => {
  it.each(Object.entries(MUTATIONS))("%s", async (_name, mutation) => {
    const failure = await findFailure(MUTATION_SEEDS, mutation);

    // A statement that the mutation made unreadable proves nothing.
    expect(failure?.violation).not.toMatch(/^a worker failed/);
    expect(failure).toBeDefined();
  });
});

it("a failing schedule is shrunk to a few moves that still fail", async () => {
  const mutation = MUTATIONS["the carry is skipped"] ?? NO_MUTATION;
  const [database] = databases as [SimulationDatabase];
  const failure = await findFailure(MUTATION_SEEDS, mutation);
  const schedule = createSchedule(failure?.seed ?? 0);

  const shortest = await shrink(schedule, async (candidate) => (await simulate(database, candidate, mutation)).violation !== undefined, 60);

  expect(shortest.moves.length).toBeLessThan(schedule.moves.length / 2);
  expect((await simulate(database, shortest, mutation)).violation).toBeDefined();
  expect(describeMoves(shortest.moves)).toContain('"kind"');
});
