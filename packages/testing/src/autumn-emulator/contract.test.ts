import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type AutumnEmulator, startAutumnEmulator } from "./server.ts";

/**
 * What settlement relies on, as the real server was seen to do it, over HTTP alone. By default against the emulator; against a
 * real Autumn with AUTUMN_CONTRACT_URL and AUTUMN_CONTRACT_KEY (a test key of an organization of its own that has a consumable
 * feature AUTUMN_CONTRACT_FEATURE, default `credits`, and an analytics store). It makes customers of its own and takes none away.
 */
const REAL = process.env["AUTUMN_CONTRACT_URL"];
const FEATURE = process.env["AUTUMN_CONTRACT_FEATURE"] ?? "credits";
const KEY = process.env["AUTUMN_CONTRACT_KEY"] ?? "am_sk_test_contract";

let emulator: AutumnEmulator | undefined;
let url: string;
let customer: string;
beforeAll(async () => {
  if (REAL === undefined) emulator = await startAutumnEmulator({ secretKey: KEY, features: [FEATURE] });
  url = REAL ?? emulator?.url ?? "";
});
afterAll(() => emulator?.stop());
beforeEach(async () => {
  customer = `contract_${randomUUID()}`;
  await post("customers.get_or_create", { customer_id: customer });
});

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function post(
  operation: string,
  body: object,
  { key = KEY, version = "2.3.0", idempotencyKey = undefined as string | undefined } = {},
): Promise<Answer> {
  const response = await fetch(`${url}/v1/${operation}`, {
    method: "POST",
    headers: {
      "authorization": `Bearer ${key}`,
      "content-type": "application/json",
      "x-api-version": version,
      ...(idempotencyKey !== undefined && { "idempotency-key": idempotencyKey }),
    },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const grant = async (credits: number): Promise<Answer> =>
  post("balances.create", { customer_id: customer, feature_id: FEATURE, included_grant: credits });
const track = async (value: unknown, more: object = {}, options: { idempotencyKey?: string } = {}): Promise<Answer> =>
  post("balances.track", { customer_id: customer, feature_id: FEATURE, value, overage_behavior: "overflow", ...more }, options);
const deductions = ({ body }: Answer): unknown => (body["deductions"] as { value: number }[] | null)?.map((one) => one.value);
const balance = async (): Promise<Record<string, unknown> | undefined> =>
  ((await post("customers.get", { customer_id: customer })).body["balances"] as Record<string, Record<string, unknown>>)[FEATURE];

/** Events are written a moment after their answer. */
async function events(count: number): Promise<readonly { value: number; deductions: unknown }[]> {
  for (let round = 0; ; round += 1) {
    const { body } = await post("events.list", { customer_id: customer, feature_id: FEATURE, start_cursor: "", limit: 100 });
    const list = (body["list"] ?? []) as { value: number; deductions: unknown }[];
    if (list.length >= count || round >= 50) return list;
    await delay(200);
  }
}

describe("an amount", () => {
  it.each([
    [10_000.0000000007, 10_000.000000001],
    [12_345.6790123456, 12_345.679012346],
    [99_999.9999999999, 100_000],
    [10_050.0000000002, 10_050],
    [37_037.0367036002, 37_037.0367036],
  ])("autumn H3: of %f is stated with 14 digits, as %f", async (asked, stated) => {
    await grant(1_000_000);

    expect(deductions(await track(asked))).toEqual([stated]);
  });

  it.each([
    [1e5, 0.74074074],
    [1e7, 0.740742],
    [1e9, 0.741],
  ])("autumn H3: is kept with 14 digits of what is left: from %f, 60 times 0.0123456789 is a usage of %f", async (granted, usage) => {
    await grant(granted);
    for (let call = 0; call < 60; call += 1) await track(0.0123456789);

    expect((await balance())?.["usage"]).toBe(usage);
  });

  it("below the tenth decimal is stated, and moves nothing", async () => {
    await grant(10);

    expect(deductions(await track(4e-11))).toEqual([4e-11]);
    expect(await balance()).toMatchObject({ remaining: 10, usage: 0 });
  });

  it("of null is malformed, and one that is left out is 1", async () => {
    await grant(10);

    expect((await track(null)).status).toBe(400);
    expect(deductions(await track(undefined))).toEqual([1]);
  });
});

describe("nothing to take from", () => {
  it("autumn H1: is answered with success and an empty list, and listed as an event whose deductions are null", async () => {
    const answer = await track(3);

    expect(answer).toMatchObject({ status: 200, body: { balance: null, deductions: [] } });
    expect(await events(1)).toMatchObject([{ value: 3, deductions: null }]);
  });

  it("autumn M2: is what is left of a balance without a plan that was used up to exactly nothing", async () => {
    await grant(3);
    await track(3);

    expect(await balance()).toBeUndefined();
    expect(await track(3)).toMatchObject({ status: 200, body: { balance: null, deductions: [] } });
  });

  it("under a cap comes after the last part of it", async () => {
    await grant(5);
    const answers = [
      await track(3.99999999, { overage_behavior: "cap" }),
      await track(3.99999999, { overage_behavior: "cap" }),
      await track(3.99999999, { overage_behavior: "cap" }),
    ];

    expect(answers.map(deductions)).toEqual([[3.99999999], [1.00000001], []]);
    expect(answers[2]?.body["balance"]).toBeNull();
  });
});

describe("several balances", () => {
  it("autumn M3: are one sum, and an overdraft of one is not taken from another", async () => {
    await grant(50);
    await track(84);
    await grant(100);

    expect(await balance()).toMatchObject({ granted: 150, usage: 84, remaining: 100 });
    await track(10);
    expect(await balance()).toMatchObject({ granted: 150, usage: 94, remaining: 90 });
    expect((await balance())?.["breakdown"]).toHaveLength(2);
  });
});

describe("a refund", () => {
  it("is bounded by the usage within a cap, and not bounded with overflow", async () => {
    await grant(100);
    await track(1);

    expect(deductions(await track(-5_000, { overage_behavior: "cap" }))).toEqual([-1]);
    expect(deductions(await track(-5_000))).toEqual([-5_000]);
  });
});

describe("a key", () => {
  it("deducts once and is refused with 409 afterwards, of 20 calls at once, too", async () => {
    await grant(100);
    const idempotencyKey = `pb:${randomUUID()}`;

    const answers = await Promise.all(Array.from({ length: 20 }, async () => track(1, {}, { idempotencyKey })));

    expect(answers.map((answer) => answer.status).toSorted()).toEqual([200, ...Array.from({ length: 19 }, () => 409)]);
    expect(answers.find((answer) => answer.status === 409)?.body).toMatchObject({ code: "duplicate_idempotency_key" });
    expect(await balance()).toMatchObject({ usage: 1 });
  });

  it("of a refused call is free again", async () => {
    const idempotencyKey = `pb:${randomUUID()}`;
    await track(1, { customer_id: `missing_${randomUUID()}` }, { idempotencyKey });
    await grant(1);

    expect((await track(1, {}, { idempotencyKey })).status).toBe(200);
  });
});

describe("a refusal", () => {
  it.each([
    [
      "of a track for an id with a dot",
      "balances.track",
      { customer_id: "acme.io", feature_id: FEATURE, value: 1 },
      404,
      "customer_not_found",
    ],
    [
      "of a track for an id with a blank",
      "balances.track",
      { customer_id: "a b", feature_id: FEATURE, value: 1 },
      404,
      "customer_not_found",
    ],
    ["of a customer whose id has a dot", "customers.get", { customer_id: "acme.io" }, 400, "invalid_inputs"],
    ["of a customer that is not there", "customers.get", { customer_id: "nobody_is_called_so" }, 404, "customer_not_found"],
    ["of a list from a cursor that is none", "events.list", { customer_id: "any", start_cursor: "x!", limit: 10 }, 400, "invalid_cursor"],
    ["of a route that is not there", "nothing.here", {}, 401, "no_auth_header"],
  ] as const)("%s has its own status and code", async (_, operation, body, status, code) => {
    expect(await post(operation, body)).toMatchObject({ status, body: { code } });
  });

  it("of an unknown feature and of an unknown event differ", async () => {
    expect(await track(1, { feature_id: "nothing_such" })).toMatchObject({ status: 404, body: { code: "feature_not_found" } });
    expect(await track(1, { feature_id: undefined, event_name: "nothing_such" })).toMatchObject({
      status: 404,
      body: { code: "invalid_request" },
    });
  });

  it("of a key that does not begin with am_, and of one that is not known, differ", async () => {
    expect(await post("customers.get", { customer_id: customer }, { key: "sk_1" })).toMatchObject({
      status: 401,
      body: { code: "invalid_request" },
    });
    expect(await post("customers.get", { customer_id: customer }, { key: "am_sk_test_nobody" })).toMatchObject({
      status: 401,
      body: { code: "invalid_secret_key" },
    });
  });

  it.each([["2.4.1"], ["9.0"], ["junk"]])("of the API version %s names it", async (version) => {
    expect(await post("customers.get", { customer_id: customer }, { version })).toMatchObject({
      status: 400,
      body: { code: "invalid_api_version" },
    });
  });
});

it.each([[300], [1_000]])("autumn ids: one of %i characters is a customer like any other", async (length) => {
  customer = customer.padEnd(length, "x");
  expect((await post("customers.get_or_create", { customer_id: customer })).status).toBe(200);
  await grant(10);

  expect(deductions(await track(3))).toEqual([3]);
});

it("an unlimited balance shows nothing left and gives what is asked", async () => {
  await post("balances.create", { customer_id: customer, feature_id: FEATURE, unlimited: true });

  expect(deductions(await track(3))).toEqual([3]);
  expect(await balance()).toMatchObject({ unlimited: true, remaining: 0 });
});
