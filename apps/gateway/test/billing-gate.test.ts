import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { requestReconcile } from "@proliferate/services/balance";
import { changeOrgSettings } from "@proliferate/services/billing-gate";
import { createSessionAdmission } from "@proliferate/services/key-budgets";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { until } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Answer, serveGateway, type TestGateway } from "./test-gateway.ts";

/** The gate as it works in production: gateway, our engine and a worker as processes, before Autumn and a provider. */

const MASTER_KEY = "sk-master-of-the-gate-tests";
const PROVIDER_KEY = "sk-provider-key-of-the-tests";

let database: TestDatabase;
let provider: Awaited<ReturnType<typeof startProviderStandIn>>;
let autumn: AutumnEmulator;
let gateway: Pick<TestGateway, "call" | "stop">;
const children: ChildProcess[] = [];

async function startProcess(path: string, env: Readonly<Record<string, string>>): Promise<Record<string, number>> {
  const child = fork(new URL(path, import.meta.url), [], {
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    env: { DATABASE_URL: database.connectionString, ...env },
  });
  children.push(child);
  const [message] = (await once(child, "message")) as [{ ports: Record<string, number> }];
  return message.ports;
}

beforeAll(async () => {
  database = await createTestDatabase();
  provider = await startProviderStandIn({ apiKey: PROVIDER_KEY });
  autumn = await startAutumnEmulator();
  const ports = await startProcess("../../llm-proxy/src/main.ts", {
    LITELLM_MASTER_KEY: MASTER_KEY,
    LLM_PROXY_PORT: "0",
    LLM_PROXY_ADMIN_PORT: "0",
    DRAIN_MS: "1000",
    ANTHROPIC_API_KEY: PROVIDER_KEY,
    ANTHROPIC_API_BASE: provider.url,
  });
  const url = `http://127.0.0.1:${ports["dataPlane"]}`;
  const adminUrl = `http://127.0.0.1:${ports["management"]}`;
  await startProcess("../../worker/src/main.ts", {
    AUTUMN_API_KEY: "am_sk_test",
    AUTUMN_API_URL: autumn.url,
    LLM_PROXY_URL: url,
    LLM_PROXY_ADMIN_URL: adminUrl,
    LLM_PROXY_MASTER_KEY: MASTER_KEY,
    LLM_SYNC_INTERVAL_MS: "200",
    OUTBOX_INTERVAL_MS: "200",
    GATE_INTERVAL_MS: "200",
    BALANCE_INTERVAL_MS: "200",
    WORKER_PORT: "0",
  });
  gateway = await serveGateway(
    database.db,
    { url, adminUrl, baseUrl: `${url}/v1`, masterKey: MASTER_KEY },
    createSessionAdmission(database.db),
  );
});
afterAll(async () => {
  await gateway.stop();
  for (const child of children.toReversed()) {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  }
  await autumn.stop();
  await provider.stop();
  await database.drop();
});

/** The columns that a spend row needs and this test does not care for. */
const NO_TOKENS = {
  call_type: "anthropic_messages",
  api_key: "another",
  user: "another",
  model: "claude-sonnet-4-5",
  total_tokens: 0,
  prompt_tokens: 0,
  completion_tokens: 0,
  metadata: "{}",
  request_tags: "[]",
};

const start = (orgId: string, sessionId: string): Promise<Answer> =>
  gateway.call("POST", "/v1/sessions", { session_id: sessionId, org_id: orgId, model: "claude-sonnet-4-5" });

const ask = async (environment: Readonly<Record<string, string>>): Promise<number> => {
  const answer = await fetch(`${environment["ANTHROPIC_BASE_URL"]}/messages`, {
    method: "POST",
    headers: {
      "x-api-key": environment["ANTHROPIC_API_KEY"] ?? "",
      "anthropic-version": "2023-06-01",
      "content-type": "application/json",
      "connection": "close",
    },
    body: JSON.stringify({ model: "claude-sonnet-4-5", max_tokens: 64, messages: [{ role: "user", content: "hello" }] }),
  });
  await answer.arrayBuffer();
  return answer.status;
};

const budgetOf = async (sessionId: string): Promise<number> => {
  const key = await database.db
    .selectFrom("LiteLLM_VerificationToken")
    .select("max_budget")
    .where("user_id", "=", sessionId)
    .executeTakeFirst();
  return Number(key?.max_budget);
};

test("an org's first session waits for its first balance, and its key gets a share of what that is worth", async () => {
  autumn.grant("org_first", "3000");
  const started = await start("org_first", "first_1");
  expect(started.status).toBe(201);
  expect(await ask(started.body.environment)).toBe(200);
  // 3000 credits are 10 USD: half of what is left is the only key's, on top of what it spent; half is kept for the next session.
  await until(
    () => budgetOf("first_1"),
    (budget) => budget >= 5 && budget < 5.01,
  );
});

test("an org that Autumn does not know is refused with what has to be done, and leaves no session", async () => {
  const refused = await start("org_nobody", "nobody_1");
  expect([refused.status, refused.body.error.code]).toEqual([409, "billing_not_configured"]);
  expect(refused.body.error.message).toContain("customer org_nobody");
  expect((await gateway.call("GET", "/v1/sessions/nobody_1")).status).toBe(404);
});

test("a key is blocked when its org has used up its credits and its overdraft, and works again once there are credits", async () => {
  autumn.grant("org_spent", "3000");
  const started = await start("org_spent", "spent_1");
  const { environment } = started.body;
  expect(await ask(environment)).toBe(200);

  const now = new Date();
  await database.db
    .insertInto("LiteLLM_SpendLogs")
    .values({ ...NO_TOKENS, request_id: "spent_much", team_id: "org_spent", spend: "20", startTime: now, endTime: now })
    .execute();
  await until(
    () => ask(environment),
    (status) => status === 401,
  );
  const refused = await start("org_spent", "spent_2");
  expect([refused.status, refused.body.error.code]).toEqual([402, "no_credits"]);

  autumn.grant("org_spent", "10000");
  await requestReconcile(database.db, "org_spent");
  await until(
    () => ask(environment),
    (status) => status === 200,
  );
});

test("an extended budget reaches the key as far as the org can afford it, and more time at once", async () => {
  autumn.grant("org_extended", "3000");
  await gateway.call("POST", "/v1/sessions", {
    session_id: "extended_1",
    org_id: "org_extended",
    model: "claude-sonnet-4-5",
    max_budget_usd: "1",
    duration: "1h",
  });
  const before = await budgetOf("extended_1");
  const extended = await gateway.call("POST", "/v1/sessions/extended_1/extend", { max_budget_usd: "3", duration: "2h" });
  // 3000 credits are 10 USD, of which the only key may have half.
  await until(
    () => budgetOf("extended_1"),
    (budget) => budget === 3,
  );
  const tooMuch = await gateway.call("POST", "/v1/sessions/extended_1/extend", { max_budget_usd: "100" });
  await until(
    () => budgetOf("extended_1"),
    (budget) => budget === 5,
  );
  const less = await gateway.call("POST", "/v1/sessions/extended_1/extend", { max_budget_usd: "0.5" });
  await until(
    () => budgetOf("extended_1"),
    (budget) => budget === 0.5,
  );

  expect([before, extended.status, extended.body.max_budget_usd, tooMuch.body.max_budget_usd, less.body.max_budget_usd]).toEqual([
    1,
    200,
    "3",
    "100",
    "0.5",
  ]);
  expect(Date.parse(extended.body.expires_at) - Date.now()).toBeGreaterThan(110 * 60_000);
});

test("twenty starts at once stay within the limit of sessions, and ending one makes room for another", async () => {
  autumn.grant("org_limited", "30000");
  await changeOrgSettings(database.db, "org_limited", { maxSessions: 3 });
  await start("org_limited", "limited_0");
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => start("org_limited", `limited_${n + 1}`)));
  expect(answers.filter((answer) => answer.status === 201)).toHaveLength(2);
  expect(answers.filter((answer) => answer.body.error?.code === "concurrent_session_limit")).toHaveLength(18);

  await gateway.call("DELETE", "/v1/sessions/limited_0");
  expect((await start("org_limited", "limited_99")).status).toBe(201);
});
