import { syncSpend } from "@proliferate/services/billing";
import { compareDecimals, multiplyDecimals } from "@proliferate/shared/money";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Engine, startEngine } from "./engine.ts";
import { serveGateway, type TestGateway } from "./test-gateway.ts";

/** The gateway before our own engine: a process of its own, on the same database, as in the development stack. */

let engine: Engine;
let database: Engine["database"];
let provider: Engine["provider"];
let gateway: Pick<TestGateway, "call" | "stop">;
beforeAll(async () => {
  engine = await startEngine();
  ({ database, provider } = engine);
  gateway = await serveGateway(database.db, engine.settings);
});
afterAll(async () => {
  await gateway.stop();
  await engine.stop();
});

const ask = (environment: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Response> =>
  fetch(`${environment["ANTHROPIC_BASE_URL"]}/messages`, {
    method: "POST",
    headers: {
      "x-api-key": environment["ANTHROPIC_API_KEY"] ?? "",
      "anthropic-version": "2023-06-01",
      "content-type": "application/json",
      "connection": "close",
    },
    body: JSON.stringify({ model: "claude-sonnet-4-5", max_tokens: 64, messages: [{ role: "user", content: "hello" }] }),
    ...(signal && { signal }),
  });

test("a session's sandbox reaches a model with what it was given, its spend shows at once, and its end refuses it", async () => {
  const started = await gateway.call("POST", "/v1/sessions", {
    session_id: "s1",
    org_id: "org_a",
    model: "claude-sonnet-4-5",
    max_budget_usd: "1",
  });
  const answered = await ask(started.body.environment);
  await answered.arrayBuffer();
  const { body: session } = await gateway.call("GET", "/v1/sessions/s1");
  await gateway.call("DELETE", "/v1/sessions/s1");
  const refused = await ask(started.body.environment);

  expect([started.status, answered.status]).toEqual([201, 200]);
  expect(compareDecimals(session.unbilled_spend_usd, "0")).toBe(1);
  expect([refused.status, ((await refused.json()) as { type: string }).type]).toEqual([401, "error"]);
  expect(provider.requests).toHaveLength(1);
});

test("spend moves from unbilled to billed in one step, and the credits are exactly spend x markup x 100", async () => {
  const { body } = await gateway.call("POST", "/v1/sessions", { session_id: "s4", org_id: "org_billed" });
  await (await ask(body.environment)).arrayBuffer();
  const before = (await gateway.call("GET", "/v1/sessions/s4")).body;
  await syncSpend(database.db, { rate: { markup: "3", creditsPerUsd: "100" } });
  const after = (await gateway.call("GET", "/v1/sessions/s4")).body;
  const usage = (await gateway.call("GET", "/v1/orgs/org_billed/usage")).body;

  expect([before.billed.spend_usd, after.unbilled_spend_usd]).toEqual(["0", "0"]);
  expect(after.billed).toMatchObject({
    requests: 1,
    spend_usd: before.unbilled_spend_usd,
    credits: multiplyDecimals(before.unbilled_spend_usd, "300"),
  });
  expect(usage.totals).toEqual(after.billed);
});

test("a resumed session works with its new key alone, inside what is left of its budget", async () => {
  const first = await gateway.call("POST", "/v1/sessions", { session_id: "s2", org_id: "org_a", max_budget_usd: "0.05" });
  await (await ask(first.body.environment)).arrayBuffer();
  const second = await gateway.call("POST", "/v1/sessions", { session_id: "s2", org_id: "org_a" });
  const [old, current] = [await ask(first.body.environment), await ask(second.body.environment)];
  const key = await database.db
    .selectFrom("LiteLLM_VerificationToken")
    .select("max_budget")
    .where("user_id", "=", "s2")
    .executeTakeFirstOrThrow();

  expect([second.body.resumed, old.status, current.status]).toEqual([true, 401, 200]);
  expect(compareDecimals(key.max_budget ?? "", "0.05")).toBe(-1);
});

test("a session that may use one model only is refused another by the proxy", async () => {
  const { body } = await gateway.call("POST", "/v1/sessions", {
    org_id: "org_a",
    model: "claude-haiku-4-5",
    models: ["anthropic/claude-haiku-4-5"],
  });
  const refused = await ask(body.environment);

  expect(refused.status).toBe(403);
});

test("what a session costs is told by model while a call is under way: what was spent, and what it may still cost", async () => {
  const { body } = await gateway.call("POST", "/v1/sessions", { session_id: "s5", org_id: "org_a", model: "claude-sonnet-4-5" });
  await (await ask(body.environment)).arrayBuffer();
  const spent = (await gateway.call("GET", "/v1/sessions/s5")).body.unbilled_spend_usd;
  provider.scriptNext({ headersDelayMs: 60_000 });
  const leave = new AbortController();
  const underWay = ask(body.environment, leave.signal).catch(() => undefined);
  await provider.waitFor(({ outcome }) => outcome === "pending");
  const during = (await gateway.call("GET", "/v1/sessions/s5/cost")).body;
  leave.abort();
  await underWay;
  await expect.poll(async () => (await gateway.call("GET", "/v1/sessions/s5/cost")).body.reserved_usd).toBe("0");

  expect(during).toMatchObject({
    requests: 1,
    spend_usd: spent,
    by_model: [{ requests: 1, spend_usd: spent, reserved_usd: during.reserved_usd }],
  });
  expect(compareDecimals(during.reserved_usd, "0")).toBe(1);
});

test("a model that the proxy does not serve is refused when the session starts, and leaves neither session nor key", async () => {
  const { status, body } = await gateway.call("POST", "/v1/sessions", { session_id: "s3", org_id: "org_a", model: "claude-opus-0-9" });
  const keys = await database.db.selectFrom("LiteLLM_VerificationToken").select("token").where("user_id", "=", "s3").execute();

  expect([status, body.error.code, body.error.param]).toEqual([404, "model_not_found", "model"]);
  expect(keys).toEqual([]);
  expect((await gateway.call("GET", "/v1/sessions/s3")).status).toBe(404);
});

test("OpenCode is told every model that the session's key may call", async () => {
  const all = await gateway.call("POST", "/v1/sessions", { org_id: "org_a" });
  const one = await gateway.call("POST", "/v1/sessions", { org_id: "org_a", model: "claude-haiku-4-5", models: ["claude-haiku-4-5"] });

  const modelsOf = (answer: typeof all): string[] => Object.keys(answer.body.opencode_config.provider.anthropic.models);
  expect(modelsOf(all)).toEqual(expect.arrayContaining(["claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5"]));
  expect(modelsOf(one)).toEqual(["claude-haiku-4-5"]);
});

test("the gateway is ready before our engine, too", async () => {
  expect((await gateway.call("GET", "/readyz")).status).toBe(200);
});
