import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { findPrice } from "@proliferate/metering/test/find-price";
import { priceUsage } from "@proliferate/metering/pricing";
import { addDecimals, decimalFromPicoUsd, normalizeDecimal } from "@proliferate/shared/money";
import { until } from "@proliferate/testing/test-patience";
import { sql } from "kysely";
import { describe, expect, test, type TestContext } from "vitest";
import { outcomeOfOrphan } from "../src/data-plane/outcome.ts";
import { Replay } from "../src/grace/replay.ts";
import { Spool } from "../src/grace/spool.ts";
import { manage, MASTER_KEY, mintKey, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

/** What PostgreSQL's absence means where `STORE_ABSENCE=grace`: a real proxy whose way to the database is cut and mended. */

interface GraceStack extends TestStack {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
}

async function graceStack(
  { onTestFinished }: Pick<TestContext, "onTestFinished">,
  settings: Record<string, string> = {},
): Promise<GraceStack> {
  const folder = await mkdtemp(join(tmpdir(), "llm-proxy-grace-"));
  const environment = { STORE_ABSENCE: "grace", STORE_SPOOL_DIR: join(folder, "spool"), STORE_GRACE_MS: "600000", ...settings };
  const started = await startTestStack(environment);
  onTestFinished(async () => {
    await started.stop();
    await rm(folder, { recursive: true, force: true });
  });
  return { ...started, folder: environment.STORE_SPOOL_DIR, environment };
}

async function gauge({ proxy }: { readonly proxy: ProxyProcess }, name: string): Promise<number> {
  const page = await fetch(`${proxy.adminUrl}/metrics`, { headers: { authorization: `Bearer ${MASTER_KEY}` } });
  return Number(new RegExp(`^llm_gateway_proxy_${name}(?:{[^}]*})? (.*)$`, "m").exec(await page.text())?.[1]);
}

/** Serves the key once by the store, and waits until the proxy knows what its limits say. */
async function makeKnown(stack: GraceStack, keys = 1): Promise<void> {
  expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(200);
  await until(async () => (await gauge(stack, "known_keys")) >= keys);
}

/** Cuts the way to the store and waits until the proxy knows it. */
async function takeStoreAway(stack: GraceStack): Promise<void> {
  await stack.store.cut();
  await post(stack, "/v1/messages", { model: "nothing-of-that-name" });
  await until(async () => (await gauge(stack, "store_absent")) === 1);
}

const spoolFiles = async ({ folder }: GraceStack): Promise<readonly string[]> => (await readdir(folder)).toSorted();
const isRecorded = async (stack: GraceStack): Promise<void> => {
  await until(async () => (await gauge(stack, "spool_requests")) === 0);
  await until(async () => (await spoolFiles(stack)).length === 0);
};

const untilNothingIsInFlight = (stack: GraceStack): Promise<unknown> =>
  until(
    () => inFlight(stack),
    (found) => isDeepStrictEqual(found, NOTHING_IN_FLIGHT),
  );

/** Every request that a provider served has one row at its price; counters and LiteLLM's columns are the sum of the rows; nothing is reserved. */
async function requireExactSums(stack: GraceStack): Promise<void> {
  const { db } = stack.database;
  await untilNothingIsInFlight(stack);
  const rows = await db.selectFrom("LiteLLM_SpendLogs").selectAll().execute();
  const price = findPrice("anthropic", "claude-haiku-4-5-20251001", new Date());
  if (!price) throw new Error("the model of this test has no price");
  const succeeded = rows.filter((row) => row.status === "success" && row.model.includes("claude"));
  const served = stack.provider.requests.filter(({ responseId }) =>
    succeeded.some((row) => row.metadata["provider_response_id"] === responseId),
  );
  expect(served.map(({ responseId }) => responseId).toSorted()).toEqual(
    succeeded.map((row) => row.metadata["provider_response_id"] as string).toSorted(),
  );
  expect(
    served.map(({ responseId }) =>
      succeeded.filter((row) => row.metadata["provider_response_id"] === responseId).map((row) => normalizeDecimal(row.spend)),
    ),
  ).toEqual(served.map(({ usage }) => [usage && decimalFromPicoUsd(priceUsage(price, usage))]));
  const total = addDecimals("0", ...rows.map((row) => row.spend));
  const counters = await db
    .selectFrom("limit_counters")
    .selectAll()
    .where("principal_kind", "=", "key")
    .where("meter", "=", "usd")
    .execute();
  expect(addDecimals("0", ...counters.map(({ used }) => used))).toBe(total);
  const keys = await sql<{ spend: string }>`select spend::text::numeric::text as spend from "LiteLLM_VerificationToken"`.execute(db);
  expect(Number(addDecimals("0", ...keys.rows.map(({ spend }) => spend)))).toBeCloseTo(Number(total), 12);
}

/** The next one, with the same folder, on the store itself. */
async function next(context: Pick<TestContext, "onTestFinished">, stack: GraceStack): Promise<GraceStack> {
  const proxy = await startProxyProcess({
    connectionString: stack.database.connectionString,
    providerUrl: stack.provider.url,
    environment: stack.environment,
  });
  context.onTestFinished(async () => void (await proxy.stop()));
  return { ...stack, proxy };
}

/** What another process does that finds the folder and a free lock: puts all on record, what runs at an estimate. Answers the ids of what it did. */
async function takeOver({ folder, database: { db } }: GraceStack): Promise<readonly string[]> {
  const taken: string[] = [];
  const logger = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;
  const other = new Replay({
    db,
    folder,
    logger,
    instanceId: 2_000_000_000,
    spool: new Spool({ folder, logger, instanceId: 2_000_000_000, mostBytes: 1 }),
    isStoreAbsent: () => false,
    onFailure: () => undefined,
    onRecorded: () => undefined,
    metrics: { spoolReplayed: () => undefined },
    outcomeOfDead: (attempt) => {
      taken.push(attempt.attempt_id);
      return outcomeOfOrphan({ ...attempt, checkpoint: null, checkpointed_at: null }, undefined);
    },
  });
  await other.left();
  await other.stop();
  return taken;
}

describe.concurrent("while the store is away", () => {
  test("a known key is served in both dialects, streamed and not; afterwards each request has its row, once, and sums are exact", async (context) => {
    const stack = await graceStack(context);
    expect((await post(stack, "/v1/chat/completions", CHAT)).status).toBe(200);
    expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(200);
    await until(async () => (await gauge(stack, "known_paths")) === 2);
    await takeStoreAway(stack);

    const answers = [
      await post(stack, "/v1/messages", MESSAGE),
      await post(stack, "/v1/messages", { ...MESSAGE, stream: true }),
      await post(stack, "/v1/chat/completions", CHAT),
    ];
    const texts = await Promise.all(answers.map((answer) => answer.text()));
    const ids = answers.map((answer) => answer.headers.get("request-id") ?? "");
    const readiness = await fetch(`${stack.proxy.url}/health/readiness`);

    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(texts[1]).toContain("message_stop");
    expect([readiness.status, await readiness.json()]).toEqual([200, { status: "grace", db: "disconnected" }]);
    expect(await gauge(stack, "spool_requests")).toBe(3);
    const [file = ""] = await spoolFiles(stack);
    const spooled = await readFile(join(stack.folder, file), "utf8");
    for (const id of ids) expect(spooled.split(id).length - 1).toBeGreaterThanOrEqual(2);
    expect(spooled).not.toContain(stack.key);
    expect(spooled).not.toContain("Say something");

    await stack.store.mend();
    await isRecorded(stack);

    for (const id of ids)
      expect(await spendLogOf(stack, id)).toMatchObject({ status: "success", metadata: { estimated: false, recovered: false } });
    await requireExactSums(stack);
    expect(await gauge(stack, "store_absent")).toBe(0);
    expect(await gauge(stack, "grace_admissions_total")).toBe(3);
    expect(stack.proxy.log()).toMatch(/store\.absent[^]*store\.returned/);
    expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(200);
  });

  test("a key that was never seen here is a 503 that may be tried again, never a 401; a key that was revoked before is not served", async (context) => {
    const stack = await graceStack(context);
    const stranger = await mintKey(stack.proxy);
    const revoked = await mintKey(stack.proxy);
    await makeKnown(stack);
    expect((await post({ ...stack, key: revoked.key }, "/v1/messages", MESSAGE)).status).toBe(200);
    await until(async () => (await gauge(stack, "known_keys")) === 2);
    await manage(stack.proxy, "/key/delete", { keys: [revoked.key] });
    await until(async () => (await gauge(stack, "known_keys")) === 1);
    await takeStoreAway(stack);

    const answers = [
      await post({ ...stack, key: stranger.key }, "/v1/messages", MESSAGE),
      await post({ ...stack, key: revoked.key }, "/v1/messages", MESSAGE),
      await post({ ...stack, key: "sk-nobody-has-this-key" }, "/v1/messages", MESSAGE),
      await post({ ...stack, key: stranger.key }, "/v1/chat/completions", CHAT),
    ];

    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503, 503]);
    expect(await answers[0]?.json()).toMatchObject({
      type: "error",
      error: { type: "api_error", message: expect.stringContaining("not seen here lately") },
    });
    expect(answers[0]?.headers.get("x-should-retry")).toBeNull();
    expect(stack.provider.requests).toHaveLength(2);
  });

  test("a key has no more open than its cap, and no limit is passed that was known: of ten requests a month as many go as were left", async (context) => {
    const stack = await graceStack(context, { STORE_GRACE_USD: "0.0025" });
    await manage(stack.proxy, "/limit/set", {
      principal_kind: "key",
      principal_id: stack.key,
      meter: "requests",
      window: "month",
      amount: 4,
    });
    await makeKnown(stack);
    const poor = await mintKey(stack.proxy, {});
    expect((await post({ ...stack, key: poor.key }, "/v1/messages", MESSAGE)).status).toBe(200);
    await until(async () => (await gauge(stack, "known_keys")) === 2);
    await takeStoreAway(stack);
    const before = stack.provider.requests.length;

    // Its worst case is about a tenth of a cent: 200 tokens of output at 5 USD a million.
    const limited = await Promise.all(Array.from({ length: 8 }, () => post(stack, "/v1/messages", { ...MESSAGE, max_tokens: 1 })));
    const capped = await Promise.all(
      Array.from({ length: 8 }, () => post({ ...stack, key: poor.key }, "/v1/messages", { ...MESSAGE, max_tokens: 400 })),
    );

    expect(limited.map(({ status }) => status).toSorted()).toEqual([200, 200, 200, 503, 503, 503, 503, 503]);
    expect(capped.map(({ status }) => status).toSorted()).toEqual([200, 503, 503, 503, 503, 503, 503, 503]);
    expect(stack.provider.requests.length - before).toBe(4);
    await stack.store.mend();
    await isRecorded(stack);
    await requireExactSums(stack);
    const counters = await stack.database.db.selectFrom("limit_counters").selectAll().where("meter", "=", "requests").execute();
    expect(counters.map(({ used, reserved }) => [used, reserved])).toEqual([["4", "0"]]);
    expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(429);
  });

  test("a disk that takes nothing ends grace, and what is over already is not lost", async (context) => {
    const stack = await graceStack(context);
    await makeKnown(stack);
    await takeStoreAway(stack);
    const id = (await post(stack, "/v1/messages", MESSAGE)).headers.get("request-id") ?? "";

    await rm(stack.folder, { recursive: true });
    const refused = await post(stack, "/v1/messages", MESSAGE);
    await mkdir(stack.folder);
    const taken = await post(stack, "/v1/messages", MESSAGE);

    expect([refused.status, taken.status]).toEqual([503, 200]);
    await stack.store.mend();
    await isRecorded(stack);
    expect(await spendLogOf(stack, id)).toMatchObject({ status: "success", metadata: { estimated: false } });
    await requireExactSums(stack);
  });

  test("for longer than grace lasts, everybody is a 503, and readiness says so", async (context) => {
    const stack = await graceStack(context, { STORE_GRACE_MS: "1000" });
    await makeKnown(stack);
    await takeStoreAway(stack);

    await until(async () => (await post(stack, "/v1/messages", MESSAGE)).status === 503);
    expect((await fetch(`${stack.proxy.url}/health/readiness`)).status).toBe(503);
    await stack.store.mend();
    await isRecorded(stack);

    await requireExactSums(stack);
    await until(async () => (await post(stack, "/v1/messages", MESSAGE)).status === 200);
  });
});

describe.concurrent("a proxy that is killed", () => {
  test("in the middle of grace leaves its spool to the next one: what was over costs what it cost, what ran its estimate", async (context) => {
    const stack = await graceStack(context);
    await makeKnown(stack);
    await takeStoreAway(stack);
    const whole = await post(stack, "/v1/messages", MESSAGE);
    stack.provider.scriptNext({ fault: { kind: "hang_before_headers" } });
    const before = stack.provider.requests.length;
    const running = post(stack, "/v1/messages", MESSAGE).catch(() => undefined);
    await until(() => stack.provider.requests.length > before);

    await stack.proxy.kill();
    await running;
    await stack.store.mend();
    const second = await next(context, stack);

    expect(await spendLogOf(second, whole.headers.get("request-id") ?? "")).toMatchObject({
      status: "success",
      metadata: { estimated: false },
    });
    const rows = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().orderBy("startTime").execute();
    expect(rows.map((row) => [row.status, row.metadata["recovered"], Number(row.spend) > 0])).toEqual([
      ["success", false, true],
      ["success", false, true],
      ["failure", true, true],
    ]);
    expect(await spoolFiles(stack)).toEqual([]);
    await requireExactSums(second);
  });

  test("in the middle of a replay leaves the rest to the next one, and nothing is billed twice", async (context) => {
    const stack = await graceStack(context);
    await makeKnown(stack);
    await takeStoreAway(stack);
    const ids = [];
    for (let count = 0; count < 12; count += 1) ids.push((await post(stack, "/v1/messages", MESSAGE)).headers.get("request-id") ?? "");
    const { db } = stack.database;
    // The replay stands still at one request, which holds the counter of the key: four are replayed at once, so three are on record at least.
    await sql`create function stand_still() returns trigger language plpgsql as
      $$ begin if new.request_id = '${sql.raw(ids[6] ?? "")}' then perform pg_sleep(600); end if; return new; end $$`.execute(db);
    await sql`create trigger stand_still before insert on "LiteLLM_SpendLogs" for each row execute function stand_still()`.execute(db);

    await stack.store.mend();
    await until(async () => (await db.selectFrom("LiteLLM_SpendLogs").select("request_id").execute()).length > 3);
    await until(async () => (await sql`select from pg_stat_activity where wait_event = 'PgSleep'`.execute(db)).rows.length > 0);
    await stack.proxy.kill();
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'`.execute(db);
    await sql`drop trigger stand_still on "LiteLLM_SpendLogs"`.execute(db);
    const second = await next(context, stack);

    const rows = await db.selectFrom("LiteLLM_SpendLogs").selectAll().execute();
    expect(rows.map((row) => row.request_id)).toEqual(expect.arrayContaining(ids));
    expect(rows).toHaveLength(13);
    expect(rows.every((row) => row.status === "success" && row.metadata["recovered"] === false)).toBe(true);
    expect(await spoolFiles(stack)).toEqual([]);
    await requireExactSums(second);
  });

  test("and only thought to be dead loses nothing: the truth corrects what another one estimated", async (context) => {
    const stack = await graceStack(context);
    await makeKnown(stack);
    await takeStoreAway(stack);
    stack.provider.scriptNext({ answerBytes: 3_000, frameGapMs: 50 });
    const response = await post(stack, "/v1/messages", { ...MESSAGE, stream: true });
    const id = response.headers.get("request-id") ?? "";
    // Its way to the store is cut, so its lock becomes free.
    await until(
      () => takeOver(stack),
      ({ length }) => length > 0,
    );
    expect(await spendLogOf(stack, id)).toMatchObject({ metadata: { recovered: true } });
    const later = await post(stack, "/v1/messages", MESSAGE);

    await response.text();
    await stack.store.mend();
    await isRecorded(stack);

    const [estimate, correction] = [await spendLogOf(stack, id), await spendLogOf(stack, `${id}:correction`)];
    const served = stack.provider.requests.find(({ responseId }) => responseId === correction.metadata["provider_response_id"])?.usage;
    expect(estimate.completion_tokens + correction.completion_tokens).toBe(served?.outputTokens);
    expect(await spendLogOf(stack, later.headers.get("request-id") ?? "")).toMatchObject({
      status: "success",
      metadata: { recovered: false },
    });
    await untilNothingIsInFlight(stack);
  });
});

const startWithoutStore = (environment: Record<string, string>): Promise<ProxyProcess> =>
  startProxyProcess({ connectionString: "postgres://nobody@127.0.0.1:1/none", providerUrl: "http://127.0.0.1:1", environment });

test("a proxy does not start with grace and no folder, or one in which nothing can be kept", async () => {
  await expect(startWithoutStore({ STORE_ABSENCE: "grace" })).rejects.toThrow("STORE_SPOOL_DIR");
  await expect(startWithoutStore({ STORE_ABSENCE: "open" })).rejects.toThrow("STORE_ABSENCE");
  await expect(startWithoutStore({ STORE_ABSENCE: "grace", STORE_SPOOL_DIR: "/tmp", STORE_GRACE_USD: "-1" })).rejects.toThrow(
    "STORE_GRACE_USD",
  );
});
