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
