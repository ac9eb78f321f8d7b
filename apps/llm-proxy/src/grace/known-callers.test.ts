import { findCaller, hashKey, mintKey, regenerateKey, revokeKeys } from "@proliferate/access/keys";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { createLogger } from "@proliferate/runtime";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KnownCallers } from "./known-callers.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test("a key that is deleted between two looks at it is forgotten when its limits are read, and not known as one without limits", async () => {
  const { db } = database;
  const { key, row } = await mintKey(db, { maxBudgetUsd: "1" });
  const caller = await findCaller(db, row.token);
  if (!caller) throw new Error("the key is not there");
  const known = new KnownCallers({ db, logger: createLogger("test", "silent"), knownMs: 60_000, isStoreAbsent: () => false });
  // Its rounds are this test's.
  await known.stop();
  known.seen(caller);
  known.touched(row.token, "model-1");
  await known.refresh();
  const before = [known.size, known.pathCount];

  await revokeKeys(db, [key], []);
  known.touched(row.token, "model-2");
  await known.refresh();

  expect([before, [known.size, known.pathCount]]).toEqual([
    [1, 1],
    [0, 0],
  ]);
});

test("both secrets of a key that was regenerated are known while its grace lasts, and its limits by either are read again after a request of one", async () => {
  const { db } = database;
  const { key, row } = await mintKey(db, { maxBudgetUsd: "1" });
  const renewed = await regenerateKey(db, key, { fields: {}, grace: "1 hour" });
  const known = new KnownCallers({ db, logger: createLogger("test", "silent"), knownMs: 60_000, isStoreAbsent: () => false });
  await known.stop();
  const shown = [key, renewed.key].map(hashKey);
  for (const hash of shown) {
    const caller = await findCaller(db, hash);
    if (caller) known.seen(caller);
  }
  known.touched(row.token, "model-1");
  await known.refresh();
  const both = shown.map((hash) => known.path(hash, "model-1")?.limits.map(({ principal }) => principal.id));

  await regenerateKey(db, renewed.key, { fields: {}, grace: null });
  for (let round = 0; round < 5; round += 1) await known.refresh();

  expect(both).toEqual([[row.token], [row.token]]);
  expect([known.size, ...shown.map((hash) => known.caller(hash))]).toEqual([0, undefined, undefined]);
});
