import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Laboratory } from "./laboratory.ts";
import { runLibraries } from "./libraries.ts";
import type { Outcome } from "./outcomes.ts";
import { readSection, refusalTable } from "./page.ts";
import { SITUATIONS } from "./situations.ts";

/** Every major of the libraries that agents and apps are made of, unmodified, against one proxy: docs/clients.md says what they do. */
let database: TestDatabase;
let laboratory: Laboratory;
let outcomes: readonly Outcome[];
beforeAll(async () => {
  database = await createTestDatabase();
  laboratory = await Laboratory.start(database.connectionString);
  outcomes = await runLibraries(laboratory);
});
afterAll(async () => {
  await laboratory.stop();
  await database.drop();
});

describe.each(SITUATIONS)("clients 4: $name", (situation) => {
  test("every library stops or recovers, and what is on record is what was served", () => {
    const met = outcomes.filter((outcome) => outcome.situation === situation);

    expect(met.length).toBeGreaterThan(10);
    expect(met.filter(({ wrong }) => wrong.length > 0)).toEqual([]);
  });
});

test("clients 4: the table of docs/clients.md says how often each asks, and what its user is told", async () => {
  // ./scripts/prove-clients.sh --only libraries --write writes it.
  expect(refusalTable(outcomes)).toBe(await readSection("libraries"));
});
