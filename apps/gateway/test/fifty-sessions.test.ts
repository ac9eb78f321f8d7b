import { addDecimals, compareDecimals } from "@proliferate/shared/money";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Engine, startEngine } from "./engine.ts";
import { serveSandboxes, type ServedSandboxes, untilNothingIsLeft } from "./sandbox-gateway.ts";

/** What the provider counts for each call: 350 millionths of a dollar for claude-haiku-4-5. */
const USAGE = { inputTokens: 100, outputTokens: 50 };
const CALLS = 4;
/** Every fifth session has a budget for two of the four calls that its agent wants to make. */
const sessions = Array.from({ length: 50 }, (_, index) => ({
  sessionId: `s${index + 1}`,
  orgId: `org_${index % 5}`,
  budgetUsd: index % 5 === 0 ? "0.0007" : "0.5",
  calls: index % 5 === 0 ? 2 : CALLS,
}));
const expectedCalls = sessions.reduce((sum, { calls }) => sum + calls, 0);

let engine: Engine;
let gateway: ServedSandboxes;
beforeAll(async () => {
  engine = await startEngine();
  engine.provider.script(() => true, { usage: USAGE });
  gateway = await serveSandboxes(engine.database.db, engine.settings);
  gateway.agentArguments = ["--ask", String(CALLS)];
});
afterAll(async () => {
  await gateway.stop();
  await engine.stop();
});

/** Status of each call, in order. */
async function askedBy(sessionId: string): Promise<readonly number[]> {
  const file = await (await gateway.provider.find(sessionId)).readFile("asked.jsonl").catch(() => new Uint8Array());
  return Buffer.from(file)
    .toString()
    .split("\n")
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { status: number }).status);
}

/** Settled, USD. */
async function spendBy(column: "user" | "team_id"): Promise<Readonly<Record<string, string>>> {
  const rows = await engine.database.db.selectFrom("LiteLLM_SpendLogs").select([column, "spend"]).execute();
  const sums: Record<string, string> = {};
  for (const { spend, ...row } of rows) {
    const owner = Object.values(row)[0] ?? "";
    sums[owner] = addDecimals(sums[owner] ?? "0", spend);
  }
  return sums;
}

test("fifty agents start at once and call a model through the engine: all are ready, none spends more than its budget, and all end without a trace", async () => {
  const started = await Promise.all(
    sessions.map(({ sessionId, orgId, budgetUsd }) =>
      gateway.call("POST", "/v1/sessions?wait=true", {
        session_id: sessionId,
        org_id: orgId,
        model: "claude-haiku-4-5",
        launcher: "local",
        max_budget_usd: budgetUsd,
      }),
    ),
  );
  expect(started.map(({ status, body }) => `${status} ${body.sandbox?.state ?? body.error?.message}`)).toEqual(
    sessions.map(() => "201 ready"),
  );
  const addresses = new Set(started.map(({ body }) => body.agent.url));
  const passwords = new Set(started.map(({ body }) => body.agent.password));
  expect([(await gateway.provider.list()).length, addresses.size, passwords.size]).toEqual([50, 50, 50]);

  const isDone = ({ calls }: (typeof sessions)[number], asked: readonly number[]): boolean => asked.length === Math.min(calls + 1, CALLS);
  await until(async () =>
    (await Promise.all(sessions.map(async (session) => isDone(session, await askedBy(session.sessionId))))).every(Boolean),
  );
  const asked = await Promise.all(sessions.map(({ sessionId }) => askedBy(sessionId)));
  expect(asked).toEqual(sessions.map(({ calls }) => (calls === CALLS ? [200, 200, 200, 200] : [200, 200, 402])));

  const ended = await Promise.all(sessions.map(({ sessionId }) => gateway.call("DELETE", `/v1/sessions/${sessionId}`)));
  // On a slow machine fifty ends at once take longer than an answer waits for one; they go on by themselves.
  expect(
    ended.map(({ status, body }) => `${status} ${body.state}`).filter((answer) => answer !== "200 ended" && answer !== "202 ending"),
  ).toEqual([]);
  await until(async () =>
    (await Promise.all(sessions.map(async ({ sessionId }) => (await gateway.call("GET", `/v1/sessions/${sessionId}`)).body.state))).every(
      (state) => state === "ended",
    ),
  );

  const bySession = await spendBy("user");
  expect(sessions.filter(({ sessionId, budgetUsd }) => compareDecimals(bySession[sessionId] ?? "", budgetUsd) > 0)).toEqual([]);
  expect(await spendBy("team_id")).toEqual({ org_0: "0.007", org_1: "0.014", org_2: "0.014", org_3: "0.014", org_4: "0.014" });
  expect(engine.provider.requests.filter(({ route }) => route === "messages")).toHaveLength(expectedCalls);

  const keys = await engine.database.db.selectFrom("LiteLLM_VerificationToken").select("token").execute();
  const attempts = await engine.database.db.selectFrom("request_attempts").select("attempt_id").execute();
  expect([keys, attempts, await gateway.provider.list()]).toEqual([[], [], []]);
  await untilNothingIsLeft(gateway.rootFolder);
});
