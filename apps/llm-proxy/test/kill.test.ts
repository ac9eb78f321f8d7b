import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { findPrice } from "@proliferate/metering/test/find-price";
import { priceUsage } from "@proliferate/metering/pricing";
import { addDecimals, decimalFromPicoUsd } from "@proliferate/shared/money";
import { type ProviderStandIn, startProviderStandIn } from "@proliferate/testing/provider-stand-in/server";
import { seededRandom } from "@proliferate/testing/test-random";
import { afterAll, beforeAll, expect, test } from "vitest";
import { manage, mintKey, PROVIDER_KEY, type ProxyProcess, startProxyProcess } from "./proxy-process.ts";
import { MESSAGE } from "./test-stack.ts";

let database: TestDatabase;
let provider: ProviderStandIn;
beforeAll(async () => {
  database = await createTestDatabase();
  provider = await startProviderStandIn({ apiKey: PROVIDER_KEY, frameGapMs: 2 });
});
afterAll(async () => {
  await provider.stop();
  await database.drop();
});

const WORKERS = 12;
const KILLS = 4;

const startProxy = (): Promise<ProxyProcess> =>
  startProxyProcess({ connectionString: database.connectionString, providerUrl: provider.url });

/** The provider's ids of the answers of which a caller saw the end. */
async function askUntilKilled(proxy: ProxyProcess, key: string, seen: Set<string>): Promise<void> {
  for (let round = 0; ; round += 1) {
    try {
      const response = await fetch(`${proxy.url}/v1/messages`, {
        method: "POST",
        headers: { "x-api-key": key, "content-type": "application/json" },
        body: JSON.stringify({ ...MESSAGE, stream: round % 2 === 0, max_tokens: 20 + (round % 7) }),
      });
      const text = await response.text();
      const isWhole = round % 2 === 1 || text.includes("message_stop");
      const id = /"id":"(msg_\w+)"/.exec(text)?.[1];
      if (response.status === 200 && isWhole && id) seen.add(id);
    } catch {
      return;
    }
  }
}

test("after kill -9 at random moments under load, what callers were answered is recorded exactly, everything once, nothing reserved", async () => {
  const random = seededRandom("kills of a proxy");
  const seen = new Set<string>();
  let proxy = await startProxy();
  await manage(proxy, "/team/new", { team_id: "org" });
  const keys = await Promise.all(["a", "b", "c"].map((userId) => mintKey(proxy, { team_id: "org", user_id: userId })));
  for (let kill = 0; kill < KILLS; kill += 1) {
    const before = seen.size;
    const load = Array.from({ length: WORKERS }, (_, index) => askUntilKilled(proxy, keys[index % keys.length]?.key ?? "", seen));
    // Under way for sure, at a moment that differs each time.
    const answers = 20 + random() * 40;
    await expect.poll(() => seen.size - before, { interval: 3 }).toBeGreaterThan(answers);
    await proxy.kill();
    await Promise.all(load);
    proxy = await startProxy();
  }
  await proxy.stop();

  const rows = await database.db.selectFrom("LiteLLM_SpendLogs").selectAll().execute();
  const rowOf = new Map(rows.map((row) => [row.metadata["provider_response_id"], row]));
  const price = findPrice("anthropic", "claude-haiku-4-5-20251001", new Date());
  if (!price) throw new Error("the model of this test has no price");
  for (const entry of provider.requests.filter((request) => seen.has(request.responseId ?? ""))) {
    if (!entry.usage) throw new Error("the stand-in served no usage");
    const row = rowOf.get(entry.responseId);
    expect(row).toMatchObject({
      status: "success",
      spend: decimalFromPicoUsd(priceUsage(price, entry.usage)),
      metadata: { estimated: false },
    });
  }
  expect(seen.size).toBeGreaterThan(KILLS * 20);
  // Each forwarded request has exactly one row; an attempt that died just before it was sent has one too.
  const forwarded = provider.requests.length;
  expect(rows.length).toBeGreaterThanOrEqual(forwarded);
  expect(rows.length).toBeLessThanOrEqual(forwarded + KILLS * WORKERS);
  expect(await database.db.selectFrom("request_attempts").selectAll().execute()).toEqual([]);
  // Counters are the sum of the rows, and nothing is reserved.
  const total = addDecimals(...rows.map((row) => row.spend));
  const counters = await database.db.selectFrom("limit_counters").selectAll().execute();
  for (const scope of ["key", "team"] as const) {
    const ofScope = counters.filter((counter) => counter.principal_kind === scope);
    expect(addDecimals(...ofScope.map((counter) => counter.used))).toBe(total);
    expect(addDecimals(...ofScope.map((counter) => counter.reserved))).toBe("0");
  }
});
