import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { createAutumnSink } from "../sinks/autumn/autumn.ts";
import { createAutumnBalances } from "./autumn-balances.ts";

let autumn: AutumnEmulator;
beforeAll(async () => {
  autumn = await startAutumnEmulator({ secretKey: "am_sk_test" });
});
afterAll(() => autumn.stop());

const settings = (change: object = {}) => ({
  secretKey: "am_sk_test",
  serverUrl: autumn.url,
  apiVersion: "2.3.0",
  featureId: "credits",
  timeoutMs: 1_000,
  ...change,
});
const read = (orgId: string, change: object = {}) => createAutumnBalances(settings(change)).readBalance(orgId);
let batches = 0;
const deduct = (orgId: string, credits: string) =>
  createAutumnSink(settings()).deliver({ batchId: `b${(batches += 1)}`, idempotencyKey: `pb:b${batches}`, orgId, credits, eventCount: 1 });

test("a balance is read exactly, under the org's name in Autumn's alphabet", async () => {
  autumn.grant("enc:acme_2Eio", "1000.5");
  await deduct("acme.io", "0.123456789");
  expect(await read("acme.io")).toEqual({
    kind: "known",
    grantedCredits: "1000.5",
    remainingCredits: "1000.376543211",
    forgivenCredits: "0",
    nextResetAt: null,
    subscription: null,
  });
});

test("an overdrawn balance is negative, although Autumn says that nothing is left", async () => {
  autumn.grant("org_over", "10");
  await deduct("org_over", "35");
  expect(autumn.remaining("org_over")).toBe("0");
  expect(await read("org_over")).toMatchObject({ remainingCredits: "-25", grantedCredits: "10" });
});

test("an unknown customer, and one without the feature, are no balance of zero", async () => {
  autumn.createCustomer("org_bare");
  expect(await read("org_nobody")).toMatchObject({ kind: "unknown", problem: expect.stringContaining("does not know this customer") });
  expect(await read("org_bare")).toMatchObject({ kind: "unknown", problem: expect.stringContaining("attach a plan") });
});

test("a wrong key and a server that is not there are told apart, and no key is in the message", async () => {
  await expect(read("org_over", { secretKey: "am_sk_wrong" })).rejects.toMatchObject({
    code: "autumn_rejected",
    message: expect.not.stringContaining("am_sk"),
  });
  await expect(read("org_over", { serverUrl: "http://127.0.0.1:1" })).rejects.toMatchObject({ code: "autumn_unavailable" });
});

test("autumn M3: credits that come after an overdraft are left whole, and what is gone of the debt is told", async () => {
  autumn.grantPlan("org_debt", { planId: "base", granted: "50" });
  await deduct("org_debt", "84");
  expect(await read("org_debt")).toMatchObject({ remainingCredits: "-34", forgivenCredits: "0" });

  autumn.grantPlan("org_debt", { planId: "pack", granted: "100" });

  expect(await read("org_debt")).toMatchObject({ grantedCredits: "150", remainingCredits: "100", forgivenCredits: "34" });
});

test("the plan that counts runs and is no add-on; of several, one that is paid for", async () => {
  const trialEndsAtMs = 1_900_000_000_000;
  autumn.grant("org_plans", "10");
  const subscribedTo = async (...plans: Parameters<AutumnEmulator["subscribe"]>[1][]): Promise<unknown> => {
    autumn.subscribe("org_plans", ...plans);
    const balance = await read("org_plans");
    return balance.kind === "known" ? balance.subscription : undefined;
  };

  expect(await subscribedTo({ planId: "pro", trialEndsAtMs })).toEqual({ planId: "pro", trialEndsAt: new Date(trialEndsAtMs) });
  expect(await subscribedTo({ planId: "pro", trialEndsAtMs }, { planId: "team" })).toEqual({ planId: "team", trialEndsAt: null });
  expect(await subscribedTo({ planId: "later", status: "scheduled" }, { planId: "extra", isAddOn: true })).toBeNull();
});

const BALANCE = {
  feature_id: "credits",
  granted: 100,
  remaining: 70,
  usage: 30,
  unlimited: false,
  overage_allowed: false,
  max_purchase: null,
  next_reset_at: null,
};
const SUBSCRIPTION = {
  id: "sub_1",
  plan_id: "pro",
  auto_enable: false,
  add_on: false,
  status: "active",
  past_due: false,
  canceled_at: null,
  expires_at: null,
  trial_ends_at: null,
  started_at: 1,
  current_period_start: null,
  current_period_end: null,
  quantity: 1,
};

/** What is read of a customer whom Autumn describes like this, as JSON. */
async function readFrom(client: "autumn-js" | "http", balance: string, subscription: string): Promise<unknown> {
  const customer = `{"id":"org_a","name":null,"email":null,"created_at":1,"fingerprint":null,"stripe_id":null,"env":"sandbox","metadata":{},"send_email_receipts":false,"billing_controls":{},"subscriptions":[${subscription}],"purchases":[],"licenses":[],"balances":{"credits":${balance}},"flags":{}}`;
  const server = createServer((_, response) => response.writeHead(200, { "content-type": "application/json" }).end(customer)).listen(
    0,
    "127.0.0.1",
  );
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return read("org_a", { serverUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, client }).catch(
    (error: { readonly code?: unknown }) => error.code,
  );
}

test.each(
  (["autumn-js", "http"] as const).flatMap(
    (client) =>
      [
        [client, "a moment beyond every calendar", { next_reset_at: 1e20 }, {}],
        [client, "a moment before PostgreSQL's calendar", { next_reset_at: -8e15 }, {}],
        [client, "a trial that ends beyond every calendar", {}, { trial_ends_at: 1e20 }],
        [client, "a plan that no row can hold", {}, { plan_id: "pro\u0000" }],
      ] as const,
  ),
)("autumn B3: %s: %s is no reading, so that it stops nobody else's", async (client, _what, balance, subscription) => {
  expect(await readFrom(client, JSON.stringify(BALANCE), JSON.stringify(SUBSCRIPTION))).toMatchObject({
    kind: "known",
    remainingCredits: "70",
    subscription: { planId: "pro" },
  });

  expect(await readFrom(client, JSON.stringify({ ...BALANCE, ...balance }), JSON.stringify({ ...SUBSCRIPTION, ...subscription }))).toBe(
    "autumn_unavailable",
  );
});
