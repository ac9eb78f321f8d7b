import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Autumn } from "autumn-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keepAmount, stateAmount } from "./decimal.ts";
import { type AutumnEmulator, type AutumnEmulatorOptions, startAutumnEmulator } from "./server.ts";

const KEY = "am_sk_test_emulator";
const HOUR_MS = 3_600_000;
let nowMs: number;
let emulator: AutumnEmulator;
let autumn: Autumn;

async function start(options: AutumnEmulatorOptions = {}): Promise<void> {
  emulator = await startAutumnEmulator({ secretKey: KEY, now: () => nowMs, ...options });
  autumn = new Autumn({ secretKey: KEY, serverURL: emulator.url, xApiVersion: "2.3.0", failOpen: false, timeoutMs: 5_000 });
}

beforeEach(async () => {
  nowMs = Date.parse("2026-11-21T10:00:00Z");
  await start();
  emulator.grant("org_a", "1000");
});

afterEach(async () => emulator.stop());

type TrackParams = Parameters<Autumn["track"]>[0];

async function track(value: number, key?: string, more: Partial<TrackParams> = {}, timeoutMs = 5_000): ReturnType<Autumn["track"]> {
  const params = { customerId: "org_a", featureId: "credits", value, overageBehavior: "overflow", ...more } as const;
  return autumn.track(params, { timeoutMs, ...(key === undefined ? {} : { headers: { "Idempotency-Key": key } }) });
}

const refusal = (statusCode: number, code: string): unknown =>
  expect.objectContaining({ statusCode, body: expect.stringContaining(`"code":"${code}"`) });

test("a track states what it took and what is left", async () => {
  const answer = await track(9.5, "k1", { properties: { batch_id: "b1" } });

  expect(answer).toMatchObject({
    customerId: "org_a",
    value: 9.5,
    balance: { granted: 1_000, remaining: 990.5, usage: 9.5 },
    deductions: [{ featureId: "credits", value: 9.5 }],
  });
  expect(emulator.deducted("org_a")).toBe("9.5");
  expect(emulator.events[0]).toMatchObject({ idempotencyKey: "k1", properties: { batch_id: "b1" } });
});

test("a repeated key is a conflict, not a second deduction, and not the first answer again", async () => {
  await track(5, "k1");

  await expect(track(5, "k1")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
  expect(emulator.deducted("org_a")).toBe("5");
  expect(emulator.countKey("k1")).toEqual({ sent: 2, applied: 1 });
});

test("of many calls with one key at once, one deducts", async () => {
  const results = await Promise.allSettled(Array.from({ length: 20 }, async () => track(1, "same")));

  expect(results.filter((result) => result.status === "fulfilled").length).toBe(1);
  expect(emulator.deducted("org_a")).toBe("1");
});

test("a key belongs to the whole organization: another customer or another route finds it taken", async () => {
  emulator.grant("org_b", "10");
  await track(1, "k1");

  await expect(track(1, "k1", { customerId: "org_b" })).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
  await expect(autumn.check({ customerId: "org_a", featureId: "credits" }, { headers: { "Idempotency-Key": "k1" } })).rejects.toEqual(
    refusal(409, "duplicate_idempotency_key"),
  );
});

test("a key is forgotten after 24 hours, and a repeat does not prolong it", async () => {
  await track(1, "k1");
  nowMs += 23 * HOUR_MS;
  await expect(track(1, "k1")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
  nowMs += HOUR_MS;

  await track(1, "k1");

  expect(emulator.deducted("org_a")).toBe("2");
});

test("a refused call gives its key back", async () => {
  await expect(track(1, "k1", { customerId: "org_unknown" })).rejects.toEqual(refusal(404, "customer_not_found"));

  await track(1, "k1");

  expect(emulator.countKey("k1")).toEqual({ sent: 2, applied: 1 });
});

test("a key in the body is another key than the same one in the header", async () => {
  const post = async (headers: Record<string, string>, body: unknown): Promise<number> =>
    (
      await fetch(`${emulator.url}/v1/balances.track`, {
        method: "POST",
        headers: { "authorization": `Bearer ${KEY}`, "x-api-version": "2.3.0", ...headers },
        body: JSON.stringify(body),
      })
    ).status;
  const body = { customer_id: "org_a", feature_id: "credits", value: 1 };

  const statuses = [
    await post({}, { ...body, idempotency_key: "k" }),
    await post({ "idempotency-key": "k" }, body),
    await post({}, { ...body, idempotency_key: "k" }),
  ];

  expect(statuses).toEqual([200, 200, 409]);
  expect(emulator.deducted("org_a")).toBe("2");
});

test("by default a track takes only what is left and still answers 200", async () => {
  const answers = [await track(5_000, "k1", { overageBehavior: "cap" }), await track(10, "k2", { overageBehavior: "cap" })];

  expect(answers.map((answer) => [answer.value, answer.deductions?.[0]?.value])).toEqual([
    [5_000, 1_000],
    [10, undefined],
  ]);
});

test("an overflow takes all of it and shows nothing left", async () => {
  const answer = await track(1_234.5, "k1");

  expect(answer).toMatchObject({ balance: { granted: 1_000, remaining: 0, usage: 1_234.5 }, deductions: [{ value: 1_234.5 }] });
  expect((await autumn.check({ customerId: "org_a", featureId: "credits" })).allowed).toBe(false);
});

test("a reject takes nothing when the balance is short", async () => {
  const body = { customer_id: "org_a", feature_id: "credits", value: 1_001, overage_behavior: "reject" };
  const response = await fetch(`${emulator.url}/v1/balances.track`, {
    method: "POST",
    headers: { "authorization": `Bearer ${KEY}`, "x-api-version": "2.3.0" },
    body: JSON.stringify(body),
  });

  expect([response.status, await response.json()]).toEqual([400, expect.objectContaining({ code: "insufficient_balance" })]);
  expect(emulator.deducted("org_a")).toBe("0");
});

test("within a cap a refund gives back no more than was used, and zero does nothing", async () => {
  await track(100, "k1");

  const refund = await track(-5_000, "k2", { overageBehavior: "cap" });
  const nothing = await track(0, "k3");

  expect(refund).toMatchObject({ balance: { remaining: 1_000 }, deductions: [{ value: -100 }] });
  expect(nothing.deductions).toEqual([]);
});

test("a customer without the feature loses nothing, silently; an unknown feature is refused", async () => {
  emulator.createCustomer("org_empty");

  const answer = await track(5, "k1", { customerId: "org_empty" });

  expect(answer).toMatchObject({ balance: null, deductions: [] });
  await expect(track(5, "k2", { featureId: "tokens" })).rejects.toEqual(refusal(404, "feature_not_found"));
});

test("balances are exact decimals to the tenth place; what is smaller vanishes", async () => {
  for (let index = 0; index < 10; index += 1) await track(0.1, `k${index}`);
  const before = emulator.remaining("org_a");
  await track(4e-11, "small");

  expect(before).toBe("999");
  expect(emulator.remaining("org_a")).toBe("999");
  expect([keepAmount("0.00000000004"), keepAmount("0.00000000005"), keepAmount("-0.00000000005"), keepAmount("12.34")]).toEqual([
    "0",
    "0.0000000001",
    "-0.0000000001",
    "12.34",
  ]);
  expect([
    stateAmount("10000.0000000007"),
    stateAmount("99999.9999999999"),
    stateAmount("0.000012345678901234567"),
    stateAmount("-123456789012345678"),
  ]).toEqual(["10000.000000001", "100000", "0.000012345678901235", "-123456789012350000"]);
});

test("illegal input is refused: timestamps in the future", async () => {
  await expect(track(1, "k2", { timestamp: nowMs + 1_000 })).rejects.toEqual(refusal(400, "invalid_inputs"));
});

test("keys and API versions are checked, and the versions before 2.1 create customers and answer otherwise", async () => {
  const call = async (headers: Record<string, string>): Promise<Response> =>
    fetch(`${emulator.url}/v1/track`, {
      method: "POST",
      headers,
      body: JSON.stringify({ customer_id: "org_new", feature_id: "credits", value: 1 }),
    });
  const authorization = `Bearer ${KEY}`;

  expect((await call({})).status).toBe(401);
  expect(await (await call({ authorization: "Bearer am_other" })).json()).toMatchObject({ code: "invalid_secret_key" });
  expect(await (await call({ authorization, "x-api-version": "9.0.0" })).json()).toMatchObject({ code: "invalid_api_version" });
  expect((await call({ authorization, "x-api-version": "2.1.0" })).status).toBe(404);
  expect(await (await call({ authorization, "x-api-version": "1.2" })).json()).toMatchObject({ code: "event_received" });
  expect(emulator.remaining("org_new")).toBeUndefined();
});

test("customers, balances and events can be read and changed as in Autumn", async () => {
  const created = await autumn.customers.getOrCreate({ customerId: "org_c" });
  await track(3, "k1");
  await track(4, "k2");
  await autumn.balances.update({ customerId: "org_a", featureId: "credits", addToBalance: 50 });

  const customer = await autumn.customers.get({ customerId: "org_a" });
  const page = await autumn.events.list({ customerId: "org_a", limit: 1 });

  expect(created.balances).toEqual({});
  expect(customer.balances["credits"]).toMatchObject({ granted: 1_050, remaining: 1_043 });
  expect(page.list.map((event) => event.value)).toEqual([4]);
  expect(page.nextCursor).toBe("1");
});

test("failures before the deduction leave nothing behind but what their kind keeps", async () => {
  emulator.failNext(
    { kind: "status", status: 500 },
    { kind: "status", status: 429, code: "rate_limit_exceeded", retryAfterSeconds: 3 },
    { kind: "reset_before_apply" },
  );

  await expect(track(1, "k1")).rejects.toEqual(refusal(500, "internal_error"));
  const limited = await track(1, "k1").catch((error: unknown) => error as { statusCode: number; headers: Headers });
  expect([limited, "headers" in limited && limited.headers.get("retry-after")]).toEqual([refusal(429, "rate_limit_exceeded"), "3"]);
  await expect(track(1, "k1")).rejects.toMatchObject({ name: "ConnectionError" });
  await expect(track(1, "k1")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
  expect(emulator.deducted("org_a")).toBe("0");
});

test("an answer lost after the deduction keeps the key, an error after it does not: then a repeat deducts twice", async () => {
  emulator.failNext({ kind: "reset_after_apply" });
  await expect(track(1, "lost")).rejects.toMatchObject({ name: "ConnectionError" });
  await expect(track(1, "lost")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));

  emulator.failNext({ kind: "status_after_apply", status: 500 });
  await expect(track(10, "failed")).rejects.toEqual(refusal(500, "internal_error"));
  await track(10, "failed");

  expect([emulator.countKey("lost").applied, emulator.countKey("failed").applied]).toEqual([1, 2]);
  expect(emulator.deducted("org_a")).toBe("21");
});

test("a hanging call times out, applied or not", async () => {
  emulator.failNext({ kind: "hang", applied: true }, { kind: "hang", applied: false });

  const results = await Promise.allSettled([track(1, "k1", {}, 400), track(2, "k2", {}, 400)]);

  expect(results.map((result) => result.status === "rejected" && (result.reason as Error).name)).toEqual([
    "RequestTimeoutError",
    "RequestTimeoutError",
  ]);
  expect(emulator.calls.map((call) => call.status)).toEqual([undefined, undefined]);
  expect(emulator.events.length).toBe(1);
});

test("202 promises a deduction that comes later, or never", async () => {
  emulator.failNext({ kind: "accept" }, { kind: "accept" });
  const accepted = await track(1, "k1");
  const before = emulator.deducted("org_a");
  emulator.drainQueue();
  const drained = emulator.deducted("org_a");
  await track(2, "k2");
  emulator.dropQueue();

  expect(accepted).toMatchObject({ balance: null });
  expect([before, drained, emulator.deducted("org_a")]).toEqual(["0", "1", "1"]);
  await expect(track(2, "k2")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
});

test("while the key store is down, a repeat deducts again", async () => {
  emulator.failNext({ kind: "key_store_down" }, { kind: "key_store_down" });
  await track(1, "k1");
  await track(1, "k1");

  expect(emulator.countKey("k1")).toEqual({ sent: 2, applied: 2 });
});

test("a rule spoils the calls that match it, until it is taken away", async () => {
  emulator.grant("org_b", "10");
  const remove = emulator.fail((call) => call.customerId === "org_b", { kind: "status", status: 503 });

  await track(1, "k1");
  await expect(track(1, "k2", { customerId: "org_b" })).rejects.toMatchObject({ statusCode: 503 });
  remove();
  await track(1, "k2", { customerId: "org_b" });

  expect(emulator.deducted("org_b")).toBe("1");
});

test("with a state file, balances, events and keys outlive kill -9, and a line cut off by it does not matter", async () => {
  const folder = await mkdtemp(join(tmpdir(), "autumn-emulator-"));
  const stateFile = join(folder, "state.jsonl");
  const environment = { AUTUMN_EMULATOR_SECRET_KEY: KEY, AUTUMN_EMULATOR_STATE_FILE: stateFile, AUTUMN_EMULATOR_CUSTOMERS: "org_a=1000" };
  const child = spawn(process.execPath, [new URL("main.ts", import.meta.url).pathname], {
    env: environment,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const [ready] = (await once(child, "message")) as [{ ports: { autumn: number } }];
  await emulator.stop();
  autumn = new Autumn({ secretKey: KEY, serverURL: `http://127.0.0.1:${ready.ports.autumn}`, xApiVersion: "2.3.0", failOpen: false });
  await track(12.5, "k1");
  child.kill("SIGKILL");
  await once(child, "exit");
  await appendFile(stateFile, '{"type":"track","event":{"id"');

  nowMs = Date.now();
  await start({ stateFile });

  expect([emulator.deducted("org_a"), emulator.remaining("org_a")]).toEqual(["12.5", "987.5"]);
  await expect(track(12.5, "k1")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
  await rm(folder, { recursive: true });
});

test("autumn M2: a balance of a plan stays at nothing and is full again when its period begins anew, its overdraft forgotten", async () => {
  emulator.grantPlan("org_plan", { planId: "pro", granted: "3", resetsAtMs: nowMs + HOUR_MS, periodMs: HOUR_MS });
  await track(3, "k1", { customerId: "org_plan" });
  const empty = await autumn.customers.get({ customerId: "org_plan" });
  await track(3, "k2", { customerId: "org_plan" });
  nowMs += HOUR_MS;
  const anew = await autumn.customers.get({ customerId: "org_plan" });

  expect(empty.balances["credits"]).toMatchObject({ remaining: 0, usage: 3, breakdown: [{ planId: "pro" }] });
  expect(anew.balances["credits"]).toMatchObject({ remaining: 3, usage: 0, nextResetAt: nowMs + HOUR_MS });
});

test("autumn H2: its list and its balances can lose what the other has", async () => {
  await track(6, "k1");
  await track(4, "k2");
  emulator.loseEvents("org_a", 1);
  emulator.loseDeductions("org_a", "6");

  expect((await autumn.events.list({ customerId: "org_a", limit: 10 })).list.map((event) => event.value)).toEqual([6]);
  expect((await autumn.customers.get({ customerId: "org_a" })).balances["credits"]).toMatchObject({ usage: 4 });
});

test("autumn M1: the open server without its analytics store refuses to list events with a 500", async () => {
  emulator.refuseLists("no_analytics");

  await expect(autumn.events.list({ customerId: "org_a", limit: 10 })).rejects.toMatchObject({
    statusCode: 500,
    body: expect.stringContaining("Tinybird is not configured"),
  });
});

test("an answer goes wrong on its way in every manner, after the deduction, and its key is kept", async () => {
  const read = async (how: Parameters<AutumnEmulator["spoil"]>[1]): Promise<string> => {
    emulator.failNext({ kind: "transport", how });
    const response = await fetch(`${emulator.url}/v1/balances.track`, {
      method: "POST",
      headers: { "authorization": `Bearer ${KEY}`, "x-api-version": "2.3.0", "idempotency-key": how.kind },
      body: JSON.stringify({ customer_id: "org_a", feature_id: "credits", value: 1 }),
      signal: AbortSignal.timeout(300),
    });
    return response.text();
  };

  await expect(read({ kind: "silent" })).rejects.toMatchObject({ name: "TimeoutError" });
  await expect(read({ kind: "reset" })).rejects.toMatchObject({ message: "fetch failed" });
  await expect(read({ kind: "cut_body" })).rejects.toMatchObject({ message: "terminated" });
  await expect(read({ kind: "stall_body" })).rejects.toMatchObject({ name: "TimeoutError" });
  await expect(read({ kind: "drip", everyMs: 5 })).rejects.toMatchObject({ name: "TimeoutError" });
  expect(await read({ kind: "slow", afterMs: 20 })).toContain("deductions");
  expect(await read({ kind: "page", status: 502 })).toContain("Bad gateway");

  expect(emulator.deducted("org_a")).toBe("7");
  await expect(track(1, "cut_body")).rejects.toEqual(refusal(409, "duplicate_idempotency_key"));
});

test("reads are spoiled, too, until that is taken back", async () => {
  const restore = emulator.spoil((call) => call.path === "/v1/customers.get", { kind: "cut_body" });
  const get = async (): Promise<string> =>
    (
      await fetch(`${emulator.url}/v1/customers.get`, {
        method: "POST",
        headers: { "authorization": `Bearer ${KEY}`, "x-api-version": "2.3.0" },
        body: JSON.stringify({ customer_id: "org_a" }),
      })
    ).text();

  await expect(get()).rejects.toMatchObject({ message: "terminated" });
  restore();
  expect(await get()).toContain("org_a");
});

test("a state file from before a feature had several balances is read", async () => {
  await emulator.stop();
  const folder = await mkdtemp(join(tmpdir(), "autumn-emulator-"));
  const stateFile = join(folder, "state.jsonl");
  await appendFile(
    stateFile,
    `${[
      { type: "customer", customerId: "org_old", atMs: 1 },
      { type: "balance", customerId: "org_old", featureId: "credits", granted: "10", usage: "1" },
      {
        type: "track",
        event: { id: "e", timestampMs: 1, customerId: "org_old", featureId: "credits", value: "2", deducted: "2", properties: {} },
      },
    ]
      .map((line) => JSON.stringify(line))
      .join("\n")}\n`,
  );

  await start({ stateFile });

  expect([emulator.remaining("org_old"), emulator.deducted("org_old")]).toEqual(["7", "2"]);
  await rm(folder, { recursive: true });
});
