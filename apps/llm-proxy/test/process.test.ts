import { withDeadInstance } from "@proliferate/access/requests";
import { findSpendLog } from "@proliferate/access/spend-logs";
import { addDecimals, compareDecimals } from "@proliferate/shared/money";
import { patience } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { describe, expect, test, type TestContext } from "vitest";
import { mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import {
  inFlight,
  MESSAGE,
  NOTHING_IN_FLIGHT,
  post,
  spendLogOf,
  startTestStack,
  type TestStack,
  untilNothingIsInFlight,
} from "./test-stack.ts";

type Ends = Pick<TestContext, "onTestFinished">;

/** Tests run side by side, as they mostly wait; each has a stack of its own that ends with it. */
async function stack({ onTestFinished }: Ends, environment: Readonly<Record<string, string | undefined>> = {}): Promise<TestStack> {
  const started = await startTestStack(environment);
  onTestFinished(() => started.stop());
  return started;
}

async function secondProxy({ onTestFinished }: Ends, first: TestStack): Promise<ProxyProcess> {
  const proxy = await startProxyProcess({ connectionString: first.database.connectionString, providerUrl: first.provider.url });
  onTestFinished(async () => void (await proxy.stop()));
  return proxy;
}

/** True when the server has noticed that the connection of the process lock is gone. */
async function isLockFree({ database, keyHash }: TestStack): Promise<boolean> {
  const attempt = await database.db
    .selectFrom("request_attempts")
    .select("instance_id")
    .where("key_hash", "=", keyHash)
    .executeTakeFirstOrThrow();
  return withDeadInstance(database.db, attempt.instance_id, async () => undefined);
}

const streamed = { ...MESSAGE, stream: true };

function startWithoutStore(environment: Readonly<Record<string, string | undefined>>): Promise<ProxyProcess> {
  return startProxyProcess({ connectionString: "postgres://nobody@127.0.0.1:1/none", providerUrl: "http://127.0.0.1:1", environment });
}

describe.concurrent("a proxy that does not start says what to fix", () => {
  test.each([
    [{ LITELLM_MASTER_KEY: undefined }, "LITELLM_MASTER_KEY is not set"],
    [{ LITELLM_MASTER_KEY: "sk-1234" }, "LITELLM_MASTER_KEY: must have at least 16"],
    [{ LITELLM_MASTER_KEY: "sk-local-master-key" }, "publicly known"],
    [{ DATABASE_URL: undefined }, "DATABASE_URL is not set"],
    [{ LLM_PROXY_PORT: "http" }, "LLM_PROXY_PORT"],
    [{ LITELLM_CONFIG: "/nowhere/config.yaml" }, "LITELLM_CONFIG"],
    [{}, "PostgreSQL cannot be reached"],
  ])("%j", async (environment, message) => {
    await expect(startWithoutStore(environment)).rejects.toThrow(message);
  });

  test("a port that is taken, with the variable that changes it", async (context) => {
    const { proxy } = await stack(context);

    await expect(stack(context, { LLM_PROXY_PORT: new URL(proxy.url).port })).rejects.toThrow("set LLM_PROXY_PORT to another one");
  });
});

describe.concurrent("a proxy that is told to stop", () => {
  test("ends within 5 s and records the streams that it cuts", async (context) => {
    const running = await stack(context);
    running.provider.scriptNext({ answerBytes: 10_000, frameGapMs: 50 });
    const response = await post(running, "/v1/messages", streamed);
    await response.body?.getReader().read();

    const toldAt = Date.now();
    const status = await running.proxy.stop();

    expect(status).toBe(0);
    expect(Date.now() - toldAt).toBeLessThan(patience(5_000));
    expect(await spendLogOf(running, response.headers.get("request-id") ?? "")).toMatchObject({
      metadata: { estimated: true, recovered: false },
    });
    await untilNothingIsInFlight(running);
  });
});

describe.concurrent("a proxy that was killed", () => {
  test("leaves its request to the next one, which settles it at the usage that was seen", async (context) => {
    const first = await stack(context);
    first.provider.scriptNext({ answerBytes: 100_000, frameGapMs: 20 });
    const response = await post(first, "/v1/messages", streamed);
    const reader = response.body?.getReader();
    await reader?.read();
    await context.expect
      .poll(async () => (await first.database.db.selectFrom("request_attempts").select("checkpoint").executeTakeFirst())?.checkpoint)
      .toMatchObject({ usage: { inputTokens: expect.any(Number) } });

    await first.proxy.kill();
    await reader?.cancel().catch(() => undefined);
    await secondProxy(context, first);

    const row = await spendLogOf(first, response.headers.get("request-id") ?? "");
    expect(row).toMatchObject({ status: "failure", metadata: { estimated: true, recovered: true } });
    expect(Number(row.spend)).toBeGreaterThan(0);
    await untilNothingIsInFlight(first);
  });

  test("before the provider answered leaves a request that costs its estimated input: a crash makes nothing free", async (context) => {
    const first = await stack(context);
    first.provider.scriptNext({ fault: { kind: "hang_before_headers" } });
    const answer = post(first, "/v1/messages", streamed).catch(() => undefined);
    await context.expect.poll(() => first.provider.requests.length).toBe(1);
    const { attempt_id: attemptId, estimated_input_tokens: inputTokens } = await first.database.db
      .selectFrom("request_attempts")
      .select(["attempt_id", "estimated_input_tokens"])
      .executeTakeFirstOrThrow();

    await first.proxy.kill();
    await answer;
    await secondProxy(context, first);

    const row = await spendLogOf(first, attemptId);
    expect(row).toMatchObject({
      status: "failure",
      prompt_tokens: inputTokens,
      completion_tokens: 0,
      metadata: { estimated: true, recovered: true },
    });
    expect(Number(row.spend)).toBeGreaterThan(0);
    await untilNothingIsInFlight(first);
  });

  test("is not taken for dead while it lives", async (context) => {
    const first = await stack(context);
    first.provider.scriptNext({ fault: { kind: "hang_mid_stream", afterFrames: 3 } });
    const gone = new AbortController();
    const response = await post(first, "/v1/messages", streamed, { signal: gone.signal });

    await secondProxy(context, first);

    expect(await inFlight(first)).toMatchObject({ attempts: 1 });
    gone.abort();
    expect(await spendLogOf(first, response.headers.get("request-id") ?? "")).toMatchObject({ metadata: { recovered: false } });
  });
});

describe.concurrent("a store that does not answer", () => {
  test("is a 503 that may be tried again, never a refused key, and readiness says so; then all goes on", async (context) => {
    const running = await stack(context);
    await running.store.cut();

    const answer = await post(running, "/v1/messages", MESSAGE);
    const readiness = await fetch(`${running.proxy.url}/health/readiness`);
    const liveness = await fetch(`${running.proxy.url}/health/liveness`);
    await running.store.mend();

    expect([answer.status, readiness.status, liveness.status]).toEqual([503, 503, 200]);
    expect(await answer.json()).toMatchObject({ type: "error", error: { type: "api_error" } });
    expect(answer.headers.get("x-should-retry")).toBeNull();
    expect((await post(running, "/v1/messages", MESSAGE)).status).toBe(200);
  });

  test("when an answer ends, holds its end back until the answer is recorded", async (context) => {
    const running = await stack(context);
    running.provider.scriptNext({ text: "short", frameGapMs: 60 });
    const response = await post(running, "/v1/messages", streamed);
    await running.store.cut();
    const before = running.provider.requests.length;
    await running.provider.waitFor((entry) => entry.sequence >= before && entry.outcome === "completed");
    await running.store.mend();

    const text = await response.text();

    expect(text).toContain("message_stop");
    const row = await findSpendLog(running.database.db, response.headers.get("request-id") ?? "");
    expect(row).toMatchObject({ status: "success", metadata: { estimated: false } });
  });

  test("for long does not take the end from the caller, and the answer is recorded when the store is back", async (context) => {
    const running = await stack(context);
    running.provider.scriptNext({ text: "short", frameGapMs: 20 });
    const response = await post(running, "/v1/messages", streamed);
    await running.store.cut();

    expect(await response.text()).toContain("message_stop");
    await running.store.mend();

    expect(await spendLogOf(running, response.headers.get("request-id") ?? "")).toMatchObject({
      status: "success",
      metadata: { estimated: false },
    });
    await context.expect.poll(() => inFlight(running)).toEqual(NOTHING_IN_FLIGHT);
  });

  test("for a while costs the process its lock; another may then recover, and the truth is corrected", async (context) => {
    const running = await stack(context);
    running.provider.scriptNext({ answerBytes: 400, frameGapMs: 150 });
    const response = await post(running, "/v1/messages", streamed);
    await running.store.cut();
    await context.expect.poll(() => isLockFree(running)).toBe(true);
    await secondProxy(context, running);
    await running.store.mend();

    await response.text();

    const id = response.headers.get("request-id") ?? "";
    const [estimate, correction] = [await spendLogOf(running, id), await spendLogOf(running, `${id}:correction`)];
    const served = running.provider.requests.at(-1)?.usage;
    expect(estimate.metadata).toMatchObject({ recovered: true, estimated: true });
    expect(estimate.completion_tokens + correction.completion_tokens).toBe(served?.outputTokens);
    expect(estimate.prompt_tokens + correction.prompt_tokens).toBe(served?.inputTokens);
    await untilNothingIsInFlight(running);
  });
});

describe.concurrent("a store that takes no writes", () => {
  test("hostile 12: (a primary that was demoted) is a 503 that may be tried again, in both dialects; then all goes on", async (context) => {
    const running = await stack(context);
    const { db, connectionString } = running.database;
    const database = new URL(connectionString).pathname.slice(1);
    const setReadOnly = async (isReadOnly: boolean): Promise<void> => {
      await sql`alter database ${sql.ref(database)} set default_transaction_read_only = ${sql.lit(isReadOnly ? "on" : "off")}`.execute(db);
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${database} and application_name = 'llm-proxy'`.execute(
        db,
      );
    };
    await setReadOnly(true);
    const ask = (): Promise<Response> => post(running, "/v1/messages", MESSAGE);
    // The first may meet a connection that was just ended; that is a 503, too.
    await ask();

    const answer = await ask();

    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({
      type: "error",
      error: { type: "api_error", message: expect.stringContaining("database") },
    });
    await setReadOnly(false);
    await context.expect.poll(async () => (await ask()).status).toBe(200);
  });
});

describe.concurrent("budgets", () => {
  test("hold under 50 requests at once: no more is spent than the budget and one request", async (context) => {
    const running = await stack(context);
    const { key, token } = await mintKey(running.proxy, { max_budget: 0.01 });
    running.provider.script(() => true, { headersDelayMs: 5 });

    const answers = await Promise.all(
      Array.from({ length: 50 }, () => post(running, "/v1/messages", MESSAGE, { headers: { "x-api-key": key } })),
    );

    await untilNothingIsInFlight(running);
    const rows = await running.database.db.selectFrom("LiteLLM_SpendLogs").select("spend").where("api_key", "=", token).execute();
    const most =
      rows
        .map((row) => row.spend)
        .toSorted(compareDecimals)
        .at(-1) ?? "0";
    // How many must wait, and whether any waits in vain, depends on the machine.
    const told = answers.map((answer) =>
      answer.status === 429 ? `429 retry-after ${answer.headers.get("retry-after")}` : String(answer.status),
    );
    expect(["200", "429 retry-after 1"]).toEqual(expect.arrayContaining([...new Set(told)]));
    expect(told).toContain("200");
    expect(compareDecimals(addDecimals(...rows.map((row) => row.spend)), addDecimals("0.01", most))).toBeLessThanOrEqual(0);
  });
});
