import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { outcomeOf, requestOf } from "../../test/test-requests.ts";
import { type MintedKey, mintKey } from "../keys/keys.ts";
import type { LimitOwner } from "../principals/principal.ts";
import { admitAttempt } from "../requests/admit.ts";
import type { AdmittedAttempt } from "../requests/db.ts";
import { settleAttempt } from "../requests/settle.ts";
import { deleteLimit, upsertLimit } from "./limits-db.ts";
import { readTiers, writeTier } from "./tiers-db.ts";

/** Limits that are set once for many users, on a real database. */

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const newName = (): string => `tier-or-user-${randomUUID()}`;
const admit = async (key: MintedKey): Promise<AdmittedAttempt> => admitAttempt(database.db, await requestOf(database.db, key.row.token));
const setRequests = (principal: LimitOwner, window: string, amount: string) =>
  upsertLimit(database.db, { principal, meter: "requests", window, amount, model: "", enforce: "refuse" });

test("a limit of a tier holds for each of its users by itself, over all of the user's keys, in the user's counter", async () => {
  const [tier, first, second, other] = [newName(), newName(), newName(), newName()];
  const keys = await Promise.all([first, first, second, other].map((userId) => mintKey(database.db, { userId })));
  const [one, two, three, stranger] = keys as [MintedKey, MintedKey, MintedKey, MintedKey];
  await setRequests({ kind: "tier", id: tier }, "day", "2");
  await writeTier(database.db, [second, first, first], tier);

  await admit(one);
  await admit(two);
  await admit(three);

  await expect(admit(one)).rejects.toMatchObject({ code: "limit_exceeded" });
  await expect(admit(two)).rejects.toMatchObject({ code: "limit_exceeded" });
  await expect(admit(three)).resolves.toMatchObject({ user_id: second });
  for (let n = 0; n < 3; n += 1) await expect(admit(stranger)).resolves.toMatchObject({ user_id: other });
  const counted = await sql`
    select trim_scale(used)::text as used, trim_scale(reserved)::text as reserved from limit_counters
     where principal_kind = 'user' and principal_id = ${first} and meter = 'requests'`.execute(database.db);
  expect(counted.rows).toEqual([{ used: "0", reserved: "2" }]);
  expect(await readTiers(database.db, [first, second, other])).toEqual(new Map([first, second].map((id) => [id, tier])));
});

test.each([
  ["less", "1", 1],
  ["more", "9", 3],
])(
  "of a tier's limit and the user's own, which allows %s, the one that refuses sooner holds; in another tier that one's",
  async (_, own, fits) => {
    const [tier, richer, userId] = [newName(), newName(), newName()];
    const key = await mintKey(database.db, { userId });
    await setRequests({ kind: "tier", id: tier }, "month", "3");
    await setRequests({ kind: "tier", id: richer }, "month", "5");
    await setRequests({ kind: "user", id: userId }, "month", own);
    await writeTier(database.db, [userId], tier);

    for (let n = 0; n < fits; n += 1) await settleAttempt(database.db, await admit(key), outcomeOf("0.001"));
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });

    await deleteLimit(database.db, { principal: { kind: "user", id: userId }, meter: "requests", window: "month", model: "" });
    await writeTier(database.db, [userId], richer);
    for (let n = fits; n < 5; n += 1) await settleAttempt(database.db, await admit(key), outcomeOf("0.001"));
    await expect(admit(key)).rejects.toMatchObject({ code: "limit_exceeded" });
    await writeTier(database.db, [userId], null);
    await expect(admit(key)).resolves.toMatchObject({ user_id: userId });
  },
);
