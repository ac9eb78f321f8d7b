import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findCaller } from "../keys/callers-db.ts";
import { mintKey, revokeKeys } from "../keys/keys.ts";
import { insertMissingCounters, readLimits } from "../limits/counters-db.ts";
import { upsertLimit } from "../limits/limits-db.ts";
import { amountsOf } from "../limits/meters.ts";
import { insertTeam } from "../teams/db.ts";
import type { AttemptOutcome } from "./spend-log.ts";
import { settleSpooledAttempt, spooledAttempt } from "./spooled.ts";
import type { SpooledAttempt } from "./spooled-db.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

/** An attempt of a new key of a new team, with a limit of requests a month of its user, that began an hour ago in another month. */
async function spool(
  startedAt = new Date("2026-03-31T23:59:59.500Z"),
): Promise<{ readonly attempt: SpooledAttempt; readonly key: string }> {
  const { db } = database;
  const [teamId, userId] = [`org-${randomUUID()}`, `user-${randomUUID()}`];
  await insertTeam(db, {
    teamId,
    teamAlias: null,
    maxBudgetUsd: "100",
    budgetDuration: null,
    budgetResetAt: null,
    models: [],
    metadata: {},
    blocked: false,
    createdBy: "admin",
  });
  const { row, key } = await mintKey(db, { teamId, userId, maxBudgetUsd: "10" });
  const principal = { kind: "user", id: userId } as const;
  await upsertLimit(db, { principal, meter: "requests", window: "month", model: "", amount: "5", enforce: "refuse" });
  await upsertLimit(db, { principal, meter: "tokens", window: "day@Europe/Berlin", model: "", amount: "500", enforce: "count" });
  const caller = await findCaller(db, row.token);
  if (!caller) throw new Error("the key is not there");
  await insertMissingCounters(db, caller, "claude-haiku-4-5");
  const { limits } = await readLimits(db, caller, "claude-haiku-4-5");
  const metered = { minimumUsd: "0.001", worstCaseUsd: "0.01", estimatedInputTokens: 10, maxOutputTokens: 90 };
  const attempt = {
    attempt_id: randomUUID(),
    instance_id: 1,
    dialect: "anthropic" as const,
    call_type: "anthropic_messages",
    model_group: "claude-haiku-4-5",
    model: "anthropic/claude-haiku-4-5",
    provider: "anthropic",
    api_base: "https://provider.test",
    price_id: "anthropic/claude-haiku-4-5",
    end_user: null,
    client_session_id: null,
    requester_ip_address: "127.0.0.1",
    estimated_input_tokens: 10,
    max_output_tokens: null,
    hidden_tokens_per_second: 0,
    requested_model: null,
    request_tags: ["a, b", "c"],
  };
  return { attempt: spooledAttempt({ attempt, caller }, { limits, asked: amountsOf(metered), startedAt }), key };
}

function outcome(totalUsd: string, recovered = false): AttemptOutcome {
  return {
    report: reportOf({ ...NO_USAGE, inputTokens: 7, outputTokens: 5 }),
    cost: { inputUsd: totalUsd, outputUsd: "0", toolUsd: "0", totalUsd },
    status: recovered ? "failure" : "success",
    estimated: recovered,
    recovered,
    providerResponseId: "msg_1",
    firstByteAt: null,
    endedAt: new Date("2026-04-01T00:00:10Z"),
  };
}

/** Every counter of the attempt's path that is not empty, in the order of its limits. */
async function counters({ key_hash: key, team_id: team, user_id: user }: SpooledAttempt): Promise<readonly (readonly string[])[]> {
  const { rows } = await sql<{ kind: string; meter: string; start: string; used: string; reserved: string }>`
    select principal_kind as kind, meter, window_start::text as start, trim_scale(used)::text as used, trim_scale(reserved)::text as reserved
      from limit_counters where principal_id = any(${[key, team, user]}::text[]) and (used <> 0 or reserved <> 0)
     order by principal_kind, meter`.execute(database.db);
  return rows.map(({ kind, meter, start, used, reserved }) => [kind, meter, start, used, reserved]);
}
const rowsOf = async ({ attempt_id: id }: SpooledAttempt) =>
  (await database.db.selectFrom("LiteLLM_SpendLogs").selectAll().where("request_id", "like", `${id}%`).orderBy("request_id").execute()).map(
    ({ request_id: requestId, spend, startTime }) => ({ requestId, spend, startTime }),
  );

test("is settled once, however often and at once it is tried, in the windows in which it began", async () => {
  const { attempt } = await spool();

  const results = await Promise.all(Array.from({ length: 8 }, () => settleSpooledAttempt(database.db, attempt, outcome("0.004"))));
  results.push(await settleSpooledAttempt(database.db, attempt, outcome("0.004")));

  expect(results.toSorted()).toEqual([...Array.from({ length: 8 }, () => "repeated"), "settled"]);
  expect(await rowsOf(attempt)).toEqual([{ requestId: attempt.attempt_id, spend: "0.004", startTime: attempt.started_at }]);
  expect(await counters(attempt)).toEqual([
    ["key", "usd", "-infinity", "0.004", "0"],
    ["team", "usd", "-infinity", "0.004", "0"],
    ["user", "requests", "2026-03-01 00:00:00+00", "1", "0"],
    ["user", "tokens", "2026-03-31 22:00:00+00", "12", "0"],
  ]);
  expect(
    await database.db.selectFrom("request_attempts").select("attempt_id").where("attempt_id", "=", attempt.attempt_id).execute(),
  ).toEqual([]);
});

test("that another process settled at an estimate is corrected by the truth, once; an estimate that comes later changes nothing", async () => {
  const { attempt } = await spool();
  const settle = (totalUsd: string, recovered = false) => settleSpooledAttempt(database.db, attempt, outcome(totalUsd, recovered));

  const results = [await settle("0.001", true), await settle("0.004"), await settle("0.004"), await settle("0.001", true)];

  expect(results).toEqual(["settled", "corrected", "repeated", "repeated"]);
  expect((await rowsOf(attempt)).map(({ spend }) => spend)).toEqual(["0.001", "0.003"]);
  expect((await counters(attempt)).map(([kind, meter, , used, reserved]) => [kind, meter, used, reserved])).toEqual([
    ["key", "usd", "0.004", "0"],
    ["team", "usd", "0.004", "0"],
    ["user", "requests", "1", "0"],
    ["user", "tokens", "12", "0"],
  ]);
});

test("of a key that was deleted meanwhile is billed all the same, and brings none of the key's counters back", async () => {
  const { attempt, key } = await spool();
  await revokeKeys(database.db, [key], []);

  expect(await settleSpooledAttempt(database.db, attempt, outcome("0.004"))).toBe("settled");

  expect((await rowsOf(attempt)).map(({ spend }) => spend)).toEqual(["0.004"]);
  expect((await counters(attempt)).map(([kind]) => kind)).toEqual(["team", "user", "user"]);
});

test("whose outcome no row can hold is settled by a bare row, whole or not at all", async () => {
  const { attempt } = await spool();

  const result = await settleSpooledAttempt(database.db, attempt, { ...outcome("0.004"), firstByteAt: new Date(8_640_000_000_000_000) });

  expect(result).toBe("settled");
  expect((await rowsOf(attempt)).map(({ spend }) => spend)).toEqual(["0.004"]);
  expect((await counters(attempt)).map(([, , , , reserved]) => reserved)).toEqual(["0", "0", "0", "0"]);
});
