import { type AutumnEmulator, startAutumnEmulator } from "@proliferate/testing/autumn-emulator/server";
import { afterEach, describe, expect, test } from "vitest";
import { createAutumnSink, openAutumn } from "./autumn.ts";
import type { AutumnClient, AutumnFeature } from "./autumn-client.ts";
import { examineAutumn, type SinkCheck } from "./autumn-doctor.ts";
import { problemOfFeature } from "./autumn-feature.ts";

const KEY = "am_sk_test_of_the_doctor";
let autumn: AutumnEmulator | undefined;
afterEach(async () => {
  await autumn?.stop();
  autumn = undefined;
});

const start = async (options: Parameters<typeof startAutumnEmulator>[0] = {}): Promise<AutumnEmulator> =>
  (autumn = await startAutumnEmulator({ secretKey: KEY, maxApiVersion: "2.3.0", ...options }));

const metered = (id: string, change: Partial<AutumnFeature> = {}): AutumnFeature => ({
  id,
  type: "metered",
  consumable: true,
  archived: false,
  ...change,
});
const system = (id: string, ...priced: string[]): AutumnFeature => ({
  ...metered(id),
  type: "credit_system",
  creditSchema: priced.map((meteredFeatureId) => ({ meteredFeatureId })),
});

test.each<[string, readonly AutumnFeature[], string, RegExp | undefined]>([
  ["a metered, consumable feature", [metered("credits")], "credits", undefined],
  ["a credit system", [system("credits", "tokens"), metered("tokens")], "credits", undefined],
  [
    "autumn M5: the metered feature that a credit system prices",
    [system("credits", "tokens"), metered("tokens")],
    "tokens",
    /credit system "credits".*Set AUTUMN_FEATURE_ID=credits/,
  ],
  ["the same, when the system is archived", [{ ...system("credits", "tokens"), archived: true }, metered("tokens")], "tokens", undefined],
  ["a feature that is not there", [metered("messages")], "credits", /no feature "credits".*it has messages/],
  ["an account without any", [], "credits", /it has none/],
  ["an archived one", [metered("credits", { archived: true })], "credits", /archived/],
  ["seats", [metered("seats", { consumable: false })], "seats", /not used up/],
  ["a switch", [metered("credits", { type: "boolean" })], "credits", /kind boolean/],
  ["a system priced in tokens of models", [metered("credits", { type: "ai_credit_system" })], "credits", /kind ai_credit_system/],
])("%s is judged before anything is deducted from it", (_name, features, featureId, problem) => {
  expect(problemOfFeature(features, featureId) ?? "").toMatch(problem ?? /^$/);
});

describe.each(["autumn-js", "http"] as const)("through %s", (client) => {
  const settings = (change: object = {}) => ({
    secretKey: KEY,
    serverUrl: autumn?.url ?? "",
    apiVersion: "2.3.0",
    featureId: "credits",
    timeoutMs: 5_000,
    client,
    ...change,
  });
  const examine = async (
    change: object = {},
    orgs: { readonly orgIds?: readonly string[]; readonly toppedUpOrgIds?: readonly string[] } = {},
  ): Promise<Readonly<Record<string, SinkCheck>>> => {
    const options = settings(change);
    const checks = await examineAutumn(await openAutumn(options), { orgIds: [], toppedUpOrgIds: [], ...orgs, ...options });
    return Object.fromEntries(checks.map((check) => [check.name, check]));
  };

  test("a sound account passes, and the list of events waits for a customer", async () => {
    const emulator = await start();

    expect(await examine()).toMatchObject({
      key: { outcome: "ok", message: expect.stringContaining("test key") },
      account: { outcome: "ok" },
      feature: { outcome: "ok" },
      event_list: { outcome: "skipped" },
      top_up: { outcome: "ok" },
    });

    emulator.grant("org_a", "10");
    expect((await examine({}, { orgIds: ["org_unknown", "org_a"] }))["event_list"]).toMatchObject({ outcome: "ok" });
    expect(emulator.events).toEqual([]);
  });

  test.each<[string, object, RegExp]>([
    ["a wrong key", { secretKey: "am_sk_test_wrong" }, /AUTUMN_API_KEY/],
    ["a version that is not served", { apiVersion: "2.4.0" }, /AUTUMN_API_VERSION/],
    ["a server that is not there", { serverUrl: "http://127.0.0.1:1" }, /AUTUMN_API_URL/],
  ])("%s is named with its mend, and no key is in the message", async (_name, change, mend) => {
    await start();

    const { account } = await examine(change);

    expect(account).toMatchObject({ outcome: "failed", message: expect.stringMatching(mend) });
    expect(account?.message).not.toContain("am_sk_test");
  });

  test("autumn M5: nothing is deducted from a metered feature that a credit system prices; the batch is parked with what to set", async () => {
    const emulator = await start({
      features: ["credits", "tokens"],
      featureKinds: { credits: { type: "credit_system", creditCosts: { tokens: 2.5 } } },
    });
    emulator.grant("org_a", "100", "tokens");
    const sink = createAutumnSink(settings({ featureId: "tokens" }));
    const delivery = { batchId: "b1", orgId: "org_a", idempotencyKey: "pb:b1", credits: "3", eventCount: 1 };

    expect(await sink.checkReady?.()).toMatchObject({ code: "feature_unsuitable" });
    expect(await sink.deliver(delivery)).toMatchObject({
      kind: "parked",
      code: "feature_unsuitable",
      message: expect.stringContaining("AUTUMN_FEATURE_ID=credits"),
    });

    expect(emulator.events).toEqual([]);
    expect(emulator.calls.filter(({ path }) => path === "/v1/features.list")).toHaveLength(1);
  });
});

test("autumn fresh eyes 3: two who buy for one customer are found, and a list that does not come is told", async () => {
  const client = {
    features: { list: async () => ({ list: [metered("credits")] }) },
    customers: {
      get: async ({ customerId }: { customerId: string }) => ({
        id: customerId,
        balances: {},
        billingControls: { autoTopups: [{ featureId: "credits", enabled: customerId === "org_twice" }] },
      }),
    },
    events: {
      list: async () =>
        Promise.reject(
          Object.assign(new Error("refused"), {
            statusCode: 500,
            headers: new Headers(),
            body: JSON.stringify({ code: "internal_error", message: "Tinybird is not configured" }),
          }),
        ),
    },
  } as unknown as AutumnClient;

  const checks = await examineAutumn(client, {
    secretKey: "am_sk_live_x",
    featureId: "credits",
    apiVersion: "2.3.0",
    orgIds: ["org_a"],
    toppedUpOrgIds: ["org_once", "org_twice"],
  });

  expect(checks).toMatchObject([
    { name: "key", outcome: "ok", message: expect.stringContaining("live") },
    { name: "account", outcome: "ok" },
    { name: "feature", outcome: "ok" },
    { name: "event_list", outcome: "warning", message: expect.stringContaining("lists no events") },
    { name: "top_up", outcome: "failed", message: expect.stringMatching(/both on for org_twice: .*top-up remove/) },
  ]);
});
