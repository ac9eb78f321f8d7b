import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAutumnSink } from "../billing/autumn.ts";
import { createAutumnBalances } from "./autumn-balances.ts";

let autumn: AutumnEmulator;
beforeAll(async () => {
  autumn = await startAutumnEmulator({ secretKey: "am_sk_test" });
});
afterAll(() => autumn.stop());

const settings = (change: object = {}) => ({ secretKey: "am_sk_test", serverUrl: autumn.url, apiVersion: "2.3.0", featureId: "credits", timeoutMs: 1_000, ...change });
const read = (orgId: string, change: object = {}) => createAutumnBalances(settings(change)).readBalance(orgId);
let batches = 0;
const deduct = (orgId: string, credits: string) => createAutumnSink(settings()).deliver({ batchId: `b${(batches += 1)}`, idempotencyKey: `pb:b${batches}`, orgId, credits, eventCount: 1 });

test("a balance is read exactly, under the org's name in Autumn's alphabet", async () => {
  autumn.grant("enc:acme_2Eio", "1000.5");
  await deduct("acme.io", "0.123456789");
  expect(await read("acme.io")).toEqual({ kind: "known", grantedCredits: "1000.5", remainingCredits: "1000.376543211", forgivenCredits: "0", nextResetAt: null, subscription: null });
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
  await expect(read("org_over", { secretKey: "am_sk_wrong" })).rejects.toMatchObject({ code: "autumn_rejected", message: expect.not.stringContaining("am_sk") });
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
