import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { decimalFromPicoUsd } from "@proliferate/shared/money";
import fc from "fast-check";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CallerRow, findCaller } from "../keys/callers-db.ts";
import { updateKeyRow } from "../keys/db.ts";
import { mintKey, requireKey, revokeKeys } from "../keys/keys.ts";
import { hashKey } from "../keys/virtual-key.ts";
import { NO_USAGE, reportOf } from "@proliferate/metering/usage";
import { findSpendLog } from "../spend-logs/db.ts";
import type { AttemptOutcome } from "./spend-log.ts";
import { insertTeam } from "../teams/db.ts";
import { type CountedLimit, checkLimits } from "../limits/limit.ts";
import { amountsOf } from "../limits/meters.ts";
import { requireRouteAllowed } from "../principals/allowed-routes.ts";
import { requireModelAllowed } from "../principals/policy.ts";
import { type AdmissionRequest, admitAttempt, requireUsable } from "./admit.ts";
import { resetDueBudgets } from "./budget-reset.ts";
import { insertAttemptIfFits } from "./admission-db.ts";
import { type AdmittedAttempt, readClock } from "./db.ts";
import { settleAttempt } from "./settle.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const team = { teamAlias: null, budgetDuration: null, budgetResetAt: null, models: [], metadata: {}, blocked: false, createdBy: "admin" };

interface Costs {
  readonly minimumUsd?: string;
  readonly worstCaseUsd?: string;
  readonly model?: string;
  readonly requireNamedAllowed?: AdmissionRequest["requireNamedAllowed"];
}

function request(caller: CallerRow, costs: Costs = {}): AdmissionRequest {
  return {
    caller,
    runningMs: () => 0,
    requireNamedAllowed: costs.requireNamedAllowed ?? (() => undefined),
    metered: {
      minimumUsd: costs.minimumUsd ?? "0.001",
      worstCaseUsd: costs.worstCaseUsd ?? "0.01",
      estimatedInputTokens: 10,
      maxOutputTokens: null,
    },
    attempt: {
      attempt_id: randomUUID(),
      instance_id: 1,
      dialect: "anthropic",
      call_type: "anthropic_messages",
      model_group: costs.model ?? "claude-haiku-4-5",
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
      request_tags: null,
    },
  };
}

/** As the proxy does: reads who calls, then admits. */
async function admit(keyHash: string, costs: Costs = {}): Promise<AdmittedAttempt> {
  return admitAttempt(database.db, request(requireUsable(await findCaller(database.db, keyHash)), costs));
}

function outcome(totalUsd: string, recovered = false): AttemptOutcome {
  return {
    report: reportOf({ ...NO_USAGE, inputTokens: 7, cacheReadTokens: 3, outputTokens: 5 }),
    cost: { inputUsd: totalUsd, outputUsd: "0", toolUsd: "0", totalUsd },
    status: recovered ? "failure" : "success",
    estimated: recovered,
    recovered,
    providerResponseId: "msg_1",
    firstByteAt: new Date(),
    endedAt: new Date(),
  };
}

async function counter(scope: "key" | "team", id: string): Promise<{ spend: string; reserved: string } | undefined> {
  const { rows } = await sql<{ spend: string; reserved: string }>`
    select trim_scale(used)::text as spend, trim_scale(reserved)::text as reserved from limit_counters
     where principal_kind = ${scope} and principal_id = ${id} and meter = 'usd' and limit_window = 'total'`.execute(database.db);
  return rows[0];
}

async function newTeam(maxBudgetUsd: string | null): Promise<string> {
  const teamId = `org-${randomUUID()}`;
  await insertTeam(database.db, { ...team, teamId, maxBudgetUsd });
  return teamId;
}

describe("admission", () => {
  test("review 3: a request that waits for a counter starts when it was sent, not when the wait was over", async () => {
    const { row } = await mintKey(database.db, { teamId: null, userId: "session-1", maxBudgetUsd: "1" });
    await settleAttempt(database.db, await admit(row.token), outcome("0"));
    const isWaiting = async (): Promise<boolean> => {
      const { rows } = await sql<{ waits: boolean }>`
        select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock') as waits`.execute(
        database.db,
      );
      return rows[0]?.waits ?? false;
    };
    let waiting: Promise<AdmittedAttempt> | undefined;
    const seenWaitingAt = await database.db.transaction().execute(async (tx) => {
      await sql`select from limit_counters where principal_kind = 'key' and principal_id = ${row.token} for update`.execute(tx);
      waiting = admit(row.token);
      await expect.poll(isWaiting).toBe(true);
      return readClock(tx);
    });

    expect((await waiting)?.started_at.getTime()).toBeLessThanOrEqual(seenWaitingAt.getTime());
  });

  test("reserves in the counters of key and team, and settling gives it back and adds the spend", async () => {
    const teamId = await newTeam("10");
    const { row } = await mintKey(database.db, { teamId, userId: "session-1", maxBudgetUsd: "1" });

    const attempt = await admit(row.token);

    expect(await counter("key", row.token)).toEqual({ spend: "0", reserved: "0.01" });
    expect(await counter("team", teamId)).toEqual({ spend: "0", reserved: "0.01" });
    expect(await settleAttempt(database.db, attempt, outcome("0.000123"))).toBe("settled");
    expect(await counter("key", row.token)).toEqual({ spend: "0.000123", reserved: "0" });
    expect(await counter("team", teamId)).toEqual({ spend: "0.000123", reserved: "0" });
    expect(await findSpendLog(database.db, attempt.attempt_id)).toMatchObject({
      spend: "0.000123",
      api_key: row.token,
      user: "session-1",
      team_id: teamId,
      prompt_tokens: 10,
      completion_tokens: 5,
      total_tokens: 15,
      startTime: attempt.started_at,
      call_type: "anthropic_messages",
      status: "success",
      cache_hit: "False",
      organization_id: "",
    });
  });

  test("of a request whose worst case does not fit closes the budget with budget_reserved until it ends", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "0.004" });

    const first = await admit(row.token);
    const second = await admit(row.token).catch((error: unknown) => error);

    expect(await counter("key", row.token)).toEqual({ spend: "0", reserved: "0.01" });
    expect(second).toMatchObject({ code: "budget_reserved", retryAfterSeconds: 1 });
    await settleAttempt(database.db, first, outcome("0.001"));
    await expect(admit(row.token)).resolves.toMatchObject({ key_hash: row.token });
  });

  test("answers budget_exceeded when the money is spent, and when the input alone cannot fit", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "0.004" });
    await expect(admit(row.token, { minimumUsd: "0.005" })).rejects.toMatchObject({ code: "budget_exceeded" });

    await settleAttempt(database.db, await admit(row.token), outcome("0.004"));

    await expect(admit(row.token)).rejects.toMatchObject({ code: "budget_exceeded" });
  });

  test("binds two keys of a team to the budget of the team", async () => {
    const teamId = await newTeam("0.005");
    const one = await mintKey(database.db, { teamId });
    const other = await mintKey(database.db, { teamId });

    await settleAttempt(database.db, await admit(one.row.token), outcome("0.005"));

    const refused = await admit(other.row.token).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "budget_exceeded" });
    expect(String(refused)).not.toContain("0.005");
  });

  test("never lets 50 parallel requests overshoot a budget by more than one request", async () => {
    const teamId = await newTeam("0.05");
    const keys = await Promise.all([mintKey(database.db, { teamId }), mintKey(database.db, { teamId, maxBudgetUsd: "0.03" })]);
    const costUsd = "0.013";

    const results = await Promise.allSettled(
      Array.from({ length: 50 }, async (_, index) => {
        const attempt = await admit(keys[index % 2]?.row.token ?? "", { worstCaseUsd: costUsd });
        await settleAttempt(database.db, attempt, outcome(costUsd));
      }),
    );

    const spent = await counter("team", teamId);
    expect(results.some((result) => result.status === "fulfilled")).toBe(true);
    expect(Number(spent?.spend)).toBeLessThanOrEqual(0.05 + 0.013);
    expect(spent?.reserved).toBe("0");
    const refusals = results.flatMap((result) => (result.status === "rejected" ? [result.reason.code] : []));
    expect(refusals.filter((code) => code !== "budget_reserved" && code !== "budget_exceeded")).toEqual([]);
  });

  test("refuses an unknown, blocked, expired or teamless key, and a model that is not allowed, and records nothing", async () => {
    const blocked = await mintKey(database.db, { blocked: true });
    const expired = await mintKey(database.db, { life: "-1 second" });
    const orphan = await mintKey(database.db, { teamId: "no-such-team" });
    const limited = await mintKey(database.db, { models: ["gpt-4o"] });
    const revoked = await mintKey(database.db, {});
    await revokeKeys(database.db, [revoked.key], []);

    await expect(admit(hashKey("sk-unknown-key"))).rejects.toMatchObject({ code: "invalid_api_key" });
    await expect(admit(revoked.row.token)).rejects.toMatchObject({ code: "invalid_api_key" });
    await expect(admit(blocked.row.token)).rejects.toMatchObject({ code: "blocked_api_key" });
    await expect(admit(expired.row.token)).rejects.toMatchObject({ code: "expired_api_key" });
    await expect(admit(orphan.row.token)).rejects.toMatchObject({ code: "team_not_found" });
    await expect(admit(limited.row.token)).rejects.toMatchObject({ code: "model_not_allowed" });
    const hashes = [revoked, blocked, expired, orphan, limited].map((minted) => minted.row.token);
    const left = await database.db.selectFrom("request_attempts").selectAll().where("key_hash", "in", hashes).execute();
    expect(left).toEqual([]);
  });

  test("starts the counters at what LiteLLM had counted before us", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "2" });
    await sql`update "LiteLLM_VerificationToken" set spend = 2.5 where token = ${row.token}`.execute(database.db);

    await expect(admit(row.token)).rejects.toMatchObject({ code: "budget_exceeded" });
  });
});

/** Admits with what was read before `change`. */
async function admitAfter(change: (keyHash: string, teamId: string) => Promise<unknown>): Promise<AdmittedAttempt> {
  const teamId = await newTeam("10");
  const { row } = await mintKey(database.db, { teamId, maxBudgetUsd: "1" });
  await settleAttempt(database.db, await admit(row.token), outcome("0"));
  const caller = requireUsable(await findCaller(database.db, row.token));
  await change(row.token, teamId);
  return admitAttempt(database.db, request(caller));
}
const changeKey = (fields: Parameters<typeof updateKeyRow>[3]) => async (keyHash: string) =>
  updateKeyRow(database.db, keyHash, "admin", fields);

describe("a caller that was read before something changed", () => {
  test.each([
    ["the key was blocked", changeKey({ blocked: true }), "blocked_api_key"],
    ["the key expired", changeKey({ life: "-1 second" }), "expired_api_key"],
    ["the key lost the model", changeKey({ models: ["gpt-4o"] }), "model_not_allowed"],
    ["the key's budget was lowered", changeKey({ maxBudgetUsd: "0.0005" }), "budget_exceeded"],
    [
      "the key was deleted",
      async (keyHash: string) => sql`delete from "LiteLLM_VerificationToken" where token = ${keyHash}`.execute(database.db),
      "invalid_api_key",
    ],
    [
      "the team was blocked",
      async (_: string, teamId: string) =>
        sql`update "LiteLLM_TeamTable" set blocked = true where team_id = ${teamId}`.execute(database.db),
      "blocked_api_key",
    ],
    [
      "the team lost the model",
      async (_: string, teamId: string) =>
        sql`update "LiteLLM_TeamTable" set models = '{gpt-4o}' where team_id = ${teamId}`.execute(database.db),
      "model_not_allowed",
    ],
    [
      "the team's budget was lowered",
      async (_: string, teamId: string) =>
        sql`update "LiteLLM_TeamTable" set max_budget = 0.0005 where team_id = ${teamId}`.execute(database.db),
      "budget_exceeded",
    ],
    [
      "the team was deleted",
      async (_: string, teamId: string) => sql`delete from "LiteLLM_TeamTable" where team_id = ${teamId}`.execute(database.db),
      "team_not_found",
    ],
  ])("is judged by what is there now: %s", async (_, changeIt, code) => {
    await expect(admitAfter(changeIt)).rejects.toMatchObject({ code });
  });

  test("breaker 9: what the request names beside its model is judged by what is there now, too", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "1" });
    await settleAttempt(database.db, await admit(row.token), outcome("0"));
    const caller = requireUsable(await findCaller(database.db, row.token));
    await changeKey({ models: ["claude-haiku-4-5"] })(row.token);

    await expect(
      admitAttempt(
        database.db,
        request(caller, {
          requireNamedAllowed: (now) => requireModelAllowed(now, { modelName: "claude-fable-5-2", model: "anthropic/claude-fable-5-2" }),
        }),
      ),
    ).rejects.toMatchObject({ code: "model_not_allowed" });
  });

  test("a key that lost the route while its request was read is refused", async () => {
    const { row } = await mintKey(database.db, { maxBudgetUsd: "1" });
    await settleAttempt(database.db, await admit(row.token), outcome("0"));
    const caller = requireUsable(await findCaller(database.db, row.token));
    await changeKey({ allowedRoutes: ["/chat/completions"] })(row.token);

    await expect(
      admitAttempt(
        database.db,
        request(caller, { requireNamedAllowed: (now) => requireRouteAllowed(now, { path: "/messages", groups: [] }) }),
      ),
    ).rejects.toMatchObject({ code: "route_not_allowed" });
  });

  test("is admitted where the change allows more", async () => {
    await expect(admitAfter(changeKey({ models: ["claude-haiku-4-5"], maxBudgetUsd: "2" }))).resolves.toMatchObject({
      reserved_usd: "0.01",
    });
  });
});

const counted = (
  kind: "key" | "team",
  id: string,
  one: { maxUsd: string | null; spendUsd: string; reservedUsd: string },
): CountedLimit => ({
  principal: { kind, id },
  meter: "usd",
  window: "total",
  model: "",
  windowStart: "-infinity",
  windowEnd: "infinity",
  secondsLeft: null,
  enforce: "refuse",
  amount: one.maxUsd,
  used: one.spendUsd,
  reserved: one.reservedUsd,
});

test("the one statement admits exactly what the rule of limits lets through", async () => {
  const teamId = await newTeam("1");
  const { row } = await mintKey(database.db, { teamId, maxBudgetUsd: "1" });
  await admit(row.token);
  const caller = requireUsable(await findCaller(database.db, row.token));
  // Small numbers, so that amounts often meet exactly.
  const amount = fc.bigInt(0n, 6n).map(decimalFromPicoUsd);
  const budget = fc.record({ maxUsd: fc.option(amount, { nil: null }), spendUsd: amount, reservedUsd: amount });
  await fc.assert(
    fc.asyncProperty(budget, budget, amount, async (keyBudget, teamBudget, minimumUsd) => {
      for (const [scope, id, { spendUsd, reservedUsd }] of [
        ["key", row.token, keyBudget],
        ["team", teamId, teamBudget],
      ] as const) {
        await sql`update limit_counters set used = ${spendUsd}, reserved = ${reservedUsd} where principal_kind = ${scope} and principal_id = ${id}`.execute(
          database.db,
        );
      }
      await sql`update "LiteLLM_VerificationToken" set max_budget = ${keyBudget.maxUsd}::float8 where token = ${row.token}`.execute(
        database.db,
      );
      await sql`update "LiteLLM_TeamTable" set max_budget = ${teamBudget.maxUsd}::float8 where team_id = ${teamId}`.execute(database.db);
      const asked = amountsOf({ minimumUsd, worstCaseUsd: "0.000000000006", estimatedInputTokens: 1, maxOutputTokens: null });
      const verdict = checkLimits([counted("key", row.token, keyBudget), counted("team", teamId, teamBudget)], asked);

      const attempt = { ...request(caller).attempt, key_hash: row.token, team_id: teamId, user_id: null, key_alias: null };
      const admitted = await insertAttemptIfFits(database.db, attempt, caller, { asked, runningMs: 0, isLimited: false });

      expect(admitted !== undefined).toBe(verdict.kind === "fits");
      const { rows } = await sql<{ reserved: string }>`
        select trim_scale(reserved - ${keyBudget.reservedUsd}::numeric)::text as reserved from limit_counters where principal_kind = 'key' and principal_id = ${row.token}`.execute(
        database.db,
      );
      expect(rows[0]?.reserved).toBe(admitted?.reserved_usd ?? "0");
    }),
    { numRuns: 150 },
  );
});

describe("a budget with a window", () => {
  test("starts again at 0 when the window ends, once, and keeps what is reserved", async () => {
    const teamId = `org-${randomUUID()}`;
    const endedAt = new Date(Date.now() - 1_000);
    await insertTeam(database.db, { ...team, teamId, maxBudgetUsd: "0.01", budgetDuration: "1d", budgetResetAt: endedAt });
    const { row } = await mintKey(database.db, { teamId, maxBudgetUsd: "0.01", budgetDuration: "1h", budgetResetAt: endedAt });
    await settleAttempt(database.db, await admit(row.token), outcome("0.005"));
    await admit(row.token);

    const resets = await Promise.all([1, 2, 3].map(() => resetDueBudgets(database.db)));

    expect(resets.reduce((sum, count) => sum + count)).toBe(2);
    expect(await counter("key", row.token)).toEqual({ spend: "0", reserved: "0.01" });
    expect(await counter("team", teamId)).toEqual({ spend: "0", reserved: "0.01" });
    expect(await requireKey(database.db, row.token)).toMatchObject({ spend: "0" });
    expect(await resetDueBudgets(database.db)).toBe(0);
  });
});

describe("settlement", () => {
  test("repeated, changes nothing", async () => {
    const { row } = await mintKey(database.db, {});
    const attempt = await admit(row.token);
    await settleAttempt(database.db, attempt, outcome("0.002"));

    expect(await settleAttempt(database.db, attempt, outcome("0.002"))).toBe("repeated");

    expect(await counter("key", row.token)).toEqual({ spend: "0.002", reserved: "0" });
  });

  test("after another process settled it at an estimate, writes the difference once", async () => {
    const { row } = await mintKey(database.db, {});
    const attempt = await admit(row.token);
    await settleAttempt(database.db, attempt, outcome("0.0035", true));

    expect(await settleAttempt(database.db, attempt, outcome("0.002"))).toBe("corrected");
    expect(await settleAttempt(database.db, attempt, outcome("0.002"))).toBe("repeated");

    expect(await findSpendLog(database.db, `${attempt.attempt_id}:correction`)).toMatchObject({ spend: "-0.0015" });
    expect(await counter("key", row.token)).toEqual({ spend: "0.002", reserved: "0" });
  });

  test("of the same attempt by many at once writes one row", async () => {
    const { row } = await mintKey(database.db, {});
    const attempt = await admit(row.token);

    const results = await Promise.all(Array.from({ length: 8 }, () => settleAttempt(database.db, attempt, outcome("0.001"))));

    expect(results.filter((result) => result === "settled")).toHaveLength(1);
    expect(await counter("key", row.token)).toEqual({ spend: "0.001", reserved: "0" });
  });
});

test("the first requests of many keys of a new team at once do not wait for each other in a circle", async () => {
  const teamId = await newTeam(null);
  const minted = await Promise.all(Array.from({ length: 6 }, () => mintKey(database.db, { teamId })));

  const attempts = await Promise.all(Array.from({ length: 60 }, (_, index) => admit(minted[index % 6]?.row.token ?? "")));
  await Promise.all(attempts.map((attempt) => settleAttempt(database.db, attempt, outcome("0.001"))));

  expect(await counter("team", teamId)).toEqual({ spend: "0.06", reserved: "0" });
});

test("keys that are revoked while their requests settle, and settlements, do not wait for each other in a circle", async () => {
  const teamId = await newTeam(null);
  const minted = await Promise.all(Array.from({ length: 20 }, () => mintKey(database.db, { teamId })));
  const attempts = await Promise.all(minted.map(({ row }) => admit(row.token)));

  const results = await Promise.all([
    ...attempts.map((attempt) => settleAttempt(database.db, attempt, outcome("0.001"))),
    ...minted.map(({ key }) => revokeKeys(database.db, [key], [])),
  ]);

  expect(results.filter((result) => result === "settled")).toHaveLength(20);
  expect(await counter("team", teamId)).toEqual({ spend: "0.02", reserved: "0" });
});
