import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findCaller } from "./callers-db.ts";
import { listKeys } from "./db.ts";
import { intervalFromDuration } from "../limits/duration.ts";
import { readClock } from "../requests/db.ts";
import { changeKey, mintKey, requireKey, revokeKeys } from "./keys.ts";
import { CALLER_KINDS, type CallerKind } from "../principals/index.ts";
import { hashKey } from "./virtual-key.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test("a key is stored as its hash only", async () => {
  const { key, row } = await mintKey(database.db, { userId: "s" });

  expect(key).toMatch(/^sk-[\w-]{43}$/);
  expect(row.token).toBe(hashKey(key));
  expect(JSON.stringify(await requireKey(database.db, key))).not.toContain(key);
});

test("minting a chosen key twice changes nothing the second time", async () => {
  const chosen = "sk-chosen-by-the-caller";
  const first = await mintKey(database.db, { keyAlias: "chosen", maxBudgetUsd: "1" }, { chosenKey: chosen });
  const second = await mintKey(database.db, { keyAlias: "chosen", maxBudgetUsd: "100" }, { chosenKey: chosen });

  expect([first.created, second.created]).toEqual([true, false]);
  expect(second.row.max_budget).toBe("1");
});

test("of many that ask for one alias at once, one gets it", async () => {
  const results = await Promise.allSettled(Array.from({ length: 12 }, () => mintKey(database.db, { keyAlias: "contested" })));

  expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
  const refusals = results.flatMap((result) => (result.status === "rejected" ? [result.reason.code] : []));
  expect(new Set(refusals)).toEqual(new Set(["key_alias_taken"]));
});

test("litellm 12: an alias of one letter is taken", async () => {
  await expect(mintKey(database.db, { keyAlias: "x" })).resolves.toMatchObject({ created: true, row: { key_alias: "x" } });
});

test("an alias is free again after its key was revoked, and a key can be revoked by its alias", async () => {
  const first = await mintKey(database.db, { keyAlias: "reused" });

  expect(await revokeKeys(database.db, [], ["reused"])).toEqual([first.row.token]);

  await expect(mintKey(database.db, { keyAlias: "reused" })).resolves.toMatchObject({ created: true });
  await expect(revokeKeys(database.db, [first.key], [])).rejects.toMatchObject({ code: "key_not_found" });
});

test("an update changes what it names, and null clears a limit", async () => {
  const { key } = await mintKey(database.db, { maxBudgetUsd: "5", models: ["a"], metadata: { kept: true } });

  await changeKey(database.db, key, { maxBudgetUsd: null, models: ["b"] });

  expect(await requireKey(database.db, key)).toMatchObject({ max_budget: null, models: ["b"], metadata: { kept: true } });
  await expect(changeKey(database.db, "sk-nobody-has-it", {})).rejects.toMatchObject({ code: "key_not_found" });
});

test("a key of a kind whose users are named after it gets no other user, neither when it is minted nor later", async () => {
  const kind: CallerKind = { name: "build_server", prefix: "bld_", opens: ["answer"], userPrefix: "build:" };
  const kinds = CALLER_KINDS as unknown as CallerKind[];
  kinds.push(kind);
  try {
    const refused = { code: "invalid_request", param: "user_id" };
    await expect(mintKey(database.db, { userId: "someone" }, { kind })).rejects.toMatchObject(refused);
    const { key } = await mintKey(database.db, { userId: "build:1" }, { kind });

    await expect(changeKey(database.db, key, { userId: "someone", blocked: true })).rejects.toMatchObject(refused);

    expect(await requireKey(database.db, key)).toMatchObject({ user_id: "build:1", blocked: null });
    await expect(changeKey(database.db, key, { userId: "build:2" })).resolves.toMatchObject({ user_id: "build:2" });
  } finally {
    kinds.pop();
  }
});

test("expiry is judged by the database's clock, in UTC", async () => {
  const before = (await readClock(database.db)).getTime();
  const { row: live } = await mintKey(database.db, { life: intervalFromDuration("1h") });
  const { row: dead } = await mintKey(database.db, { life: "-1 second" });
  const after = (await readClock(database.db)).getTime();

  expect(await findCaller(database.db, live.token)).toMatchObject({ expired: false });
  expect(await findCaller(database.db, dead.token)).toMatchObject({ expired: true });
  const mintedAt = (live.expires?.getTime() ?? 0) - 3_600_000;
  // To the millisecond, to which the column rounds.
  expect([mintedAt >= before, mintedAt <= after + 1]).toEqual([true, true]);
});

test("a list is filtered and paged, newest first", async () => {
  for (const keyAlias of ["list-1", "list-2", "list-3"]) await mintKey(database.db, { keyAlias, teamId: "list-team" });

  const page = await listKeys(database.db, { teamId: "list-team" }, 2, 2);

  expect(page).toMatchObject({ total: 3, rows: [{ key_alias: "list-1" }] });
});

test.each(["30min", "1y", "", "-5m", "0h", "999999999w", "24 h"])("duration %j is refused", (duration) => {
  expect(() => intervalFromDuration(duration)).toThrow(expect.objectContaining({ code: "invalid_request" }));
});

test("the key of a malformed name is refused", async () => {
  await expect(mintKey(database.db, {}, { chosenKey: "not-a-key" })).rejects.toMatchObject({ code: "invalid_request", param: "key" });
  await expect(mintKey(database.db, { keyAlias: "-x" })).rejects.toMatchObject({ code: "invalid_request", param: "key_alias" });
});
