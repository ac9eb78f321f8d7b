import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MUTATIONS, NO_MUTATION } from "./mutations.ts";
import { createSchedule, describeMoves } from "./schedule.ts";
import { shrink } from "./shrink.ts";
import { simulate } from "./simulation.ts";
import { openSimulationDatabase, type SimulationDatabase } from "./simulation-database.ts";

/** For each run of the suite, which has ten minutes; the full run is `./scripts/simulate-billing.sh --seeds 10000`. */
const SEEDS = 60;
const LANES = 3;
/** Seeds within which every planted defect must be found. */
const MUTATION_SEEDS = 150;
/** Where a defect was found that few schedules show: its search begins there, and goes on where the schedules have changed since. */
const FOUND_AT: Readonly<Record<string, number>> = {
  "fencing is disabled": 7,
  "an org's own rate card is passed over": 14,
  "keys are used although Autumn has forgotten them": 12,
  "a success that took nothing counts as delivered": 15,
  "what the list lacks is taken for not taken, whatever the balance says": 53,
  "an event that took nothing counts as what was asked": 15,
  "an org whose balance vanished never has one again": 15,
  "what a cap did not cover stays owed": 17,
  "limits: a request is settled in the window in which it ends": 8,
};

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
  first = 1,
): Promise<{ readonly seed: number; readonly violation: string } | undefined> {
  let next = first;
  const failures: { readonly seed: number; readonly violation: string }[] = [];
  const lane = async (database: SimulationDatabase): Promise<void> => {
    while (next < first + seeds && failures.length === 0) {
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
  it.each(Object.entries(MUTATIONS))("%s", async (name, mutation) => {
    const failure = await findFailure(MUTATION_SEEDS, mutation, FOUND_AT[name]);

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
