import { createHash } from "node:crypto";
import { onServer } from "@proliferate/db/test-database";
import { multiplyDecimals } from "@proliferate/shared/money";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startTestGateway, type TestGateway } from "./test-gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
});
beforeEach(async () => {
  gateway.proxy.reset();
  // Rows of the ledger cannot be deleted one by one.
  await onServer(
    gateway.database.connectionString,
    'truncate llm_gateway.gateway_sessions, llm_gateway.billing_events, litellm."LiteLLM_SpendLogs" cascade',
  );
});
afterAll(() => gateway.stop());

const start = (body: object) => gateway.call("POST", "/v1/sessions", body);
const livingKeys = (): readonly string[] => [...gateway.proxy.keys.keys()];
const hashOf = (key: string): string => createHash("sha256").update(key).digest("hex");
const minted = () => gateway.proxy.requests.filter(({ path }) => path === "/key/generate").map(({ body }) => body);
const PROXY_CLIENT_TRIES = 3;
/** More faults than the proxy client has tries. */
const always = <Fault>(fault: Fault): Fault[] => Array.from({ length: 20 }, () => fault);

async function bill(sessionId: string, spendUsd: string): Promise<void> {
  const event = await gateway.database.db
    .insertInto("billing_events")
    .values({
      idempotency_key: "llm:billed",
      org_id: "org_a",
      request_id: "billed",
      session_id: sessionId,
      model: "claude-sonnet-4-5",
      prompt_tokens: 100,
      completion_tokens: 20,
      spend_usd: spendUsd,
      markup: "3",
      credits_per_usd: "100",
      credits: multiplyDecimals(spendUsd, "300"),
      occurred_at: new Date(),
    })
    .returning(["event_id", "recorded_at"])
    .executeTakeFirstOrThrow();
  await gateway.database.db
    .insertInto("billing_event_keys")
    .values({ idempotency_key: "llm:billed", ...event })
    .execute();
}

async function spend(sessionId: string, requestId: string, spendUsd: string): Promise<void> {
  const now = new Date().toISOString();
  await gateway.database.db
    .insertInto("LiteLLM_SpendLogs")
    .values({
      request_id: requestId,
      call_type: "anthropic_messages",
      spend: spendUsd,
      startTime: now,
      endTime: now,
      team_id: "org_a",
      user: sessionId,
    } as never)
    .execute();
}

test("a new session answers with a working key and all that a sandbox needs", async () => {
  const { status, body } = await start({
    session_id: "s1",
    org_id: "org_a",
    user_id: "ann",
    model: "claude-opus-4-5",
    max_budget_usd: "2.50",
    duration: "2h",
  });

  expect(status).toBe(201);
  expect(body).toMatchObject({
    session_id: "s1",
    org_id: "org_a",
    state: "active",
    resumed: false,
    model: "claude-opus-4-5",
    base_url: "https://llm.example.com/v1",
  });
  expect(gateway.proxy.accepts(body.api_key)).toBe(true);
  expect(minted()).toMatchObject([
    { team_id: "org_a", user_id: "s1", duration: "2h", max_budget: 2.5, metadata: { session_id: "s1", org_id: "org_a" } },
  ]);
  expect(Date.parse(body.expires_at) - Date.now()).toBeGreaterThan(7_000_000);
  expect(body.environment).toMatchObject({
    SESSION_ID: "s1",
    ANTHROPIC_API_KEY: body.api_key,
    ANTHROPIC_BASE_URL: "https://llm.example.com/v1",
  });
  expect(body.opencode_config).toMatchObject({ model: "anthropic/claude-opus-4-5", small_model: "anthropic/claude-haiku-4-5" });
  expect(body.opencode_config_path).toBe(".config/opencode/opencode.json");
});

test("without a session id and a model the gateway chooses both", async () => {
  const { body } = await start({ org_id: "org_a" });

  expect(body.session_id).toMatch(/^ses_[0-9a-f-]{36}$/);
  expect(body.model).toBe("claude-sonnet-4-5");
});

test("the answer holds no master key, and the database holds no key at all", async () => {
  const { body } = await start({ org_id: "org_a" });
  const rows = JSON.stringify(await gateway.database.db.selectFrom("gateway_sessions").selectAll().execute());

  expect(JSON.stringify(body)).not.toContain(gateway.proxy.masterKey);
  expect(rows).toContain(hashOf(body.api_key));
  expect(rows).not.toContain(body.api_key);
});

test("a third provider's model is asked for by its own name, in OpenAI's dialect, and a pattern allows no more than it says", async () => {
  const { body } = await start({ org_id: "org_a", model: "mistral/codestral", models: ["mistral/codestral", "anthropic/*"] });

  expect(minted()[0]?.["models"]).toEqual(["mistral/codestral", "anthropic/*"]);
  expect(body.opencode_config).toMatchObject({
    model: "openai-proxy/mistral/codestral",
    small_model: "openai-proxy/mistral/codestral",
    enabled_providers: ["openai-proxy"],
    provider: { "openai-proxy": { models: { "mistral/codestral": { name: "mistral/codestral" } } } },
  });
});

test("an allow list allows both names of its models, and the agent's titles stay inside it", async () => {
  const { body } = await start({ org_id: "org_a", model: "anthropic/claude-opus-4-5", models: ["claude-opus-4-5"] });

  expect(minted()[0]?.["models"]).toEqual(["claude-opus-4-5", "anthropic/claude-opus-4-5"]);
  expect(body.opencode_config.small_model).toBe("anthropic/claude-opus-4-5");
});

test("a model outside the allow list is refused and leaves nothing", async () => {
  const { status, body } = await start({ session_id: "s1", org_id: "org_a", model: "gpt-4o", models: ["claude-opus-4-5"] });

  expect(status).toBe(400);
  expect(body.error).toMatchObject({ code: "invalid_request", param: "model" });
  expect(minted()).toEqual([]);
  expect((await gateway.call("GET", "/v1/sessions/s1")).status).toBe(404);
});

test("a resume makes the new key before it revokes the old one", async () => {
  const first = await start({ session_id: "s1", org_id: "org_a", model: "claude-opus-4-5" });
  const second = await start({ session_id: "s1", org_id: "org_a" });

  expect(second.body).toMatchObject({ resumed: true, model: "claude-opus-4-5" });
  expect(livingKeys()).toEqual([hashOf(second.body.api_key)]);
  expect(gateway.proxy.accepts(first.body.api_key)).toBe(false);
  const order = gateway.proxy.requests.map(({ path }) => path);
  expect(order.lastIndexOf("/key/generate")).toBeLessThan(order.indexOf("/key/delete"));
});

test("a session of another org is neither resumed nor touched", async () => {
  const first = await start({ session_id: "s1", org_id: "org_a" });
  const { status, body } = await start({ session_id: "s1", org_id: "org_b" });

  expect([status, body.error.code]).toEqual([409, "session_conflict"]);
  expect(minted()).toHaveLength(1);
  expect(gateway.proxy.accepts(first.body.api_key)).toBe(true);
});

test("the budget of a session covers all its keys, spend that is not billed yet included", async () => {
  await start({ session_id: "s1", org_id: "org_a", max_budget_usd: "1" });
  await bill("s1", "0.25");
  await spend("s1", "billed", "0.25");
  await spend("s1", "fresh", "0.1");
  const resumed = await start({ session_id: "s1", org_id: "org_a" });

  expect(resumed.status).toBe(201);
  expect(minted().map((request) => request["max_budget"])).toEqual([1, 0.65]);
});

test("a session that has spent its budget is not resumed, and goes on with a larger one", async () => {
  const first = await start({ session_id: "s1", org_id: "org_a", max_budget_usd: "0.25" });
  await bill("s1", "0.25");
  const refused = await start({ session_id: "s1", org_id: "org_a" });
  const enlarged = await start({ session_id: "s1", org_id: "org_a", max_budget_usd: "0.3" });

  expect([refused.status, refused.body.error.code, refused.body.error.param]).toEqual([402, "budget_exceeded", "max_budget_usd"]);
  expect(enlarged.status).toBe(201);
  expect(gateway.proxy.accepts(first.body.api_key)).toBe(false);
  expect(minted().at(-1)?.["max_budget"]).toBe(0.05);
});

test("the end revokes every key of the session, is final, and may be repeated", async () => {
  const { body } = await start({ session_id: "s1", org_id: "org_a" });
  const first = await gateway.call("DELETE", "/v1/sessions/s1");
  const again = await gateway.call("DELETE", "/v1/sessions/s1");
  const restart = await start({ session_id: "s1", org_id: "org_a" });

  expect(first.body).toMatchObject({ session_id: "s1", state: "ended" });
  expect(again.body).toEqual(first.body);
  expect(gateway.proxy.accepts(body.api_key)).toBe(false);
  expect([restart.status, restart.body.error.code]).toEqual([409, "session_conflict"]);
});

test("of several starts at once, exactly the recorded key is alive", async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => start({ session_id: "s1", org_id: "org_a" })));

  const { body } = await gateway.call("GET", "/v1/sessions/s1");
  expect(answers.map(({ status }) => status)).toContain(201);
  expect(answers.every(({ status }) => status === 201 || status === 409)).toBe(true);
  expect(livingKeys()).toEqual([body.key_hash]);
});

test("an end at the same time as starts leaves no key alive", async () => {
  await start({ session_id: "s1", org_id: "org_a" });
  await Promise.all([
    start({ session_id: "s1", org_id: "org_a" }),
    gateway.call("DELETE", "/v1/sessions/s1"),
    start({ session_id: "s1", org_id: "org_a" }),
  ]);

  expect((await gateway.call("GET", "/v1/sessions/s1")).body.state).toBe("ended");
  expect(livingKeys()).toEqual([]);
});

test("a key whose minting was never confirmed is revoked by ending its session", async () => {
  gateway.proxy.failNext("/key/generate", ...always({ kind: "reset", applied: true } as const));
  const { status, body } = await start({ session_id: "s1", org_id: "org_a" });

  expect([status, body.error.code]).toEqual([502, "llm_proxy_failed"]);
  expect(livingKeys()).toHaveLength(1);
  expect((await gateway.call("GET", "/v1/sessions/s1")).body.state).toBe("starting");
  expect((await gateway.call("DELETE", "/v1/sessions/s1")).body.state).toBe("ended");
  expect(livingKeys()).toEqual([]);
});

test("a key whose minting was never confirmed is revoked by starting its session again", async () => {
  gateway.proxy.failNext("/key/generate", ...always({ kind: "reset", applied: true } as const).slice(0, PROXY_CLIENT_TRIES));
  const lost = await start({ session_id: "s1", org_id: "org_a" });
  const again = await start({ session_id: "s1", org_id: "org_a" });

  expect(lost.status).toBe(502);
  expect([again.status, again.body.state]).toEqual([201, "active"]);
  expect(livingKeys()).toEqual([hashOf(again.body.api_key)]);
});

test("a key that the proxy refuses leaves no session", async () => {
  gateway.proxy.failNext("/key/generate", {
    kind: "answer",
    status: 400,
    body: { error: { message: "no", type: "bad_request_error", param: "None", code: "400" } },
  });
  const { status, body } = await start({ session_id: "s1", org_id: "org_a" });

  expect([status, body.error.code]).toEqual([502, "llm_proxy_failed"]);
  expect((await gateway.call("GET", "/v1/sessions/s1")).status).toBe(404);
});

test("a resume that fails leaves the session on its old key and its old settings", async () => {
  const first = await start({ session_id: "s1", org_id: "org_a", model: "claude-opus-4-5" });
  gateway.proxy.failNext("/key/generate", ...always({ kind: "reset" } as const));
  const failed = await start({ session_id: "s1", org_id: "org_a", model: "claude-haiku-4-5" });

  expect(failed.status).toBe(502);
  expect(gateway.proxy.accepts(first.body.api_key)).toBe(true);
  expect((await gateway.call("GET", "/v1/sessions/s1")).body).toMatchObject({
    state: "active",
    model: "claude-opus-4-5",
    key_hash: hashOf(first.body.api_key),
  });
});

test("an end that cannot reach the proxy is not called ended, and goes on when repeated", async () => {
  await start({ session_id: "s1", org_id: "org_a" });
  gateway.proxy.failNext("/key/delete", ...always({ kind: "reset" } as const).slice(0, PROXY_CLIENT_TRIES));
  const failed = await gateway.call("DELETE", "/v1/sessions/s1");
  const state = (await gateway.call("GET", "/v1/sessions/s1")).body.state;

  expect([failed.status, state]).toEqual([502, "ending"]);
  expect((await gateway.call("DELETE", "/v1/sessions/s1")).body.state).toBe("ended");
});

test("a session shows what it has spent, exactly, and never its key", async () => {
  const { body: started } = await start({ session_id: "s1", org_id: "org_a", metadata: { repo: "x/y" } });
  await bill("s1", "0.0003");
  await spend("s1", "billed", "0.0003");
  await spend("s1", "a", "0.1");
  await spend("s1", "b", "0.2");
  await spend("other", "c", "5");

  const { body } = await gateway.call("GET", "/v1/sessions/s1");

  expect(body.billed).toEqual({ requests: 1, prompt_tokens: 100, completion_tokens: 20, spend_usd: "0.0003", credits: "0.09" });
  expect(body.unbilled_spend_usd).toBe("0.3");
  expect(body.metadata).toEqual({ repo: "x/y" });
  expect(JSON.stringify(body)).not.toContain(started.api_key);
});

test("a listing shows one org newest first, and sessions that start meanwhile do not move its pages", async () => {
  for (const id of ["s1", "s2", "s3"]) await start({ session_id: id, org_id: "org_a" });
  await start({ session_id: "foreign", org_id: "org_b" });

  const first = await gateway.call("GET", "/v1/sessions?org_id=org_a&limit=2");
  await start({ session_id: "s4", org_id: "org_a" });
  const second = await gateway.call("GET", `/v1/sessions?org_id=org_a&limit=2&cursor=${first.body.next_cursor}`);

  const ids = (answer: typeof first): string[] => answer.body.sessions.map((session: { session_id: string }) => session.session_id);
  expect([ids(first), ids(second)]).toEqual([["s3", "s2"], ["s1"]]);
  expect(second.body.next_cursor).toBeNull();
});
