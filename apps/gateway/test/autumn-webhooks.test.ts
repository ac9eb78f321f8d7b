import { createHmac } from "node:crypto";
import { readGate } from "@proliferate/services/billing-gate";
import { checkBillingGate } from "@proliferate/services/test/internals";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestGateway, type TestGateway, WEBHOOK_SECRET } from "./test-gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(() => gateway.stop());

interface Signing {
  readonly secret?: string;
  readonly signedSecondsAgo?: number;
  readonly signature?: string;
}

/** Sends the text as Svix does; nothing of our own code signs it. */
async function send(
  text: string,
  { secret = WEBHOOK_SECRET, signedSecondsAgo = 0, signature }: Signing = {},
): Promise<{ readonly status: number; readonly body: unknown }> {
  const timestamp = String(Math.floor(Date.now() / 1_000) - signedSecondsAgo);
  const mac = createHmac("sha256", Buffer.from(secret.replace("whsec_", ""), "base64"))
    .update(`msg_1.${timestamp}.${text}`)
    .digest("base64");
  const headers = {
    "content-type": "application/json",
    "svix-id": "msg_1",
    "svix-timestamp": timestamp,
    "svix-signature": signature ?? `v1,${mac}`,
  };
  const response = await gateway.app.request("/webhooks/autumn", { method: "POST", body: text, headers });
  return { status: response.status, body: await response.json() };
}

const eventOf = (customer: object, type = "billing.updated"): string => JSON.stringify({ type, data: { object: type, ...customer } });
const isWanted = async (orgId: string): Promise<boolean> =>
  (await readGate(gateway.database.db, orgId))?.reconcile_wanted_at instanceof Date;
/** Billing learns of an org when its gate is asked. */
const meet = async (orgId: string): Promise<unknown> =>
  checkBillingGate(gateway.database.db, orgId, "session_start").catch((error: unknown) => error);

test.each([
  ["the newer events", "org_new", { customer_id: "org_new" }],
  ["the older customer.products.updated", "org_old", { customer: { id: "org_old" }, scenario: "upgrade" }],
  ["an id outside of Autumn's alphabet", "acme.io", { customer_id: "enc:acme_2Eio" }],
])("autumn 2: an event has its org's balance and plan read anew: %s", async (_name, orgId, data) => {
  await meet(orgId);
  expect(await isWanted(orgId)).toBe(false);

  expect(await send(eventOf(data))).toEqual({ status: 200, body: { outcome: "refreshing" } });

  expect(await isWanted(orgId)).toBe(true);
});

test("an event of a customer that billing does not know is taken, and makes no account", async () => {
  expect(await send(eventOf({ customer_id: "a_stranger" }))).toEqual({ status: 200, body: { outcome: "ignored" } });
  expect(await send(eventOf({ customer_id: "with a nul \u0000" }))).toEqual({ status: 200, body: { outcome: "ignored" } });
  expect(await send(eventOf({ customer_id: null }))).toEqual({ status: 200, body: { outcome: "ignored" } });

  expect(await readGate(gateway.database.db, "a_stranger")).toBeUndefined();
});

test.each<[string, Signing]>([
  ["another secret", { secret: `whsec_${Buffer.from("another-secret-of-tests").toString("base64")}` }],
  ["a signature of ten minutes ago, as a recorded call has it", { signedSecondsAgo: 600 }],
  ["a signature from the future", { signedSecondsAgo: -600 }],
  ["a signature that is none", { signature: "v1,AAAA" }],
  ["another version", { signature: "v2,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }],
  ["an empty signature", { signature: "" }],
])("an event with %s is refused before it is read", async (_name, signing) => {
  await meet("org_refused");

  expect(await send(eventOf({ customer_id: "org_refused" }), signing)).toMatchObject({
    status: 401,
    body: { error: { code: "invalid_webhook_signature" } },
  });
  expect(await send("not json", signing)).toMatchObject({ status: 401 });
  expect(await send('{"type":"x\\u0000"}', signing)).toMatchObject({ status: 401 });

  expect(await isWanted("org_refused")).toBe(false);
});

test("while a secret is rotated either signature of a call counts", async () => {
  await meet("org_rotated");
  const text = eventOf({ customer_id: "org_rotated" });
  const timestamp = String(Math.floor(Date.now() / 1_000));
  const mac = createHmac("sha256", Buffer.from(WEBHOOK_SECRET.slice(6), "base64"))
    .update(`msg_1.${timestamp}.${text}`)
    .digest("base64");
  const headers = { "svix-id": "msg_1", "svix-timestamp": timestamp, "svix-signature": `v1,${"B".repeat(43)}= v1,${mac}` };

  expect((await gateway.app.request("/webhooks/autumn", { method: "POST", body: text, headers })).status).toBe(200);

  expect(await isWanted("org_rotated")).toBe(true);
});

test.each([
  ["no JSON", "{", 400, "invalid_json"],
  ["no object", "[]", 400, "invalid_request"],
  ["no type", '{"data":{}}', 400, "invalid_request"],
  ["no data", '{"type":"x"}', 400, "invalid_request"],
  ["a customer that is no text", '{"type":"x","data":{"customer_id":7}}', 400, "invalid_request"],
  ["more than the limit", JSON.stringify({ type: "x", data: {}, pad: "x".repeat(1_100_000) }), 413, "request_too_large"],
])("a signed event with %s is refused", async (_name, text, status, code) => {
  expect(await send(text)).toMatchObject({ status, body: { error: { code } } });
});
