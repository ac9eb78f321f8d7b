import { randomUUID } from "node:crypto";
import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { AppError, isAppError } from "@proliferate/shared/errors";
import { compareDecimals, type DecimalText } from "@proliferate/shared/money";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { insertSpend, RATE, ScriptedBalances } from "../../test/test-balances.ts";
import { syncSpend } from "../billing/spend-sync.ts";
import { changeOrgSettings, suspendOrg } from "../billing-gate/settings.ts";
import { admitSession, confirmAdmission, releaseSession } from "./admission.ts";
import { readReservations, writeLimit } from "./db.ts";
import { refreshKeyBudgets } from "./refresh-key-budgets.ts";
import { ModelProxy } from "../../test/test-proxy.ts";

let database: TestDatabase;
let remote: ScriptedBalances;
let proxy: ModelProxy;
let org = 0;
let orgId: string;

beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(() => newOrg());
afterAll(() => database.drop());

function newOrg(): void {
  remote = new ScriptedBalances();
  proxy = new ModelProxy();
  orgId = `org_${(org += 1)}`;
}

async function grant(credits: DecimalText): Promise<void> {
  remote.grant(orgId, credits);
  await remote.reconcile(database.db, orgId);
}

/** Starts a session as the gateway does; returns its key, or the code of the refusal. */
async function start(
  options: { readonly sessionId?: string; readonly keyGeneration?: number; readonly limitUsd?: DecimalText } = {},
): Promise<string> {
  const sessionId = options.sessionId ?? randomUUID();
  const keyGeneration = options.keyGeneration ?? 1;
  const operation = keyGeneration === 1 ? "session_start" : "session_resume";
  try {
    const maxUsd = await admitSession(database.db, { orgId, sessionId, keyGeneration, operation, limitUsd: options.limitUsd });
    const keyHash = randomUUID();
    proxy.keys.set(keyHash, { sessionId, maxUsd, spentUsd: "0", blocked: false });
    await confirmAdmission(database.db, { sessionId, keyGeneration, keyHash });
    return keyHash;
  } catch (error) {
    if (isAppError(error)) return error.code;
    throw error;
  }
}

const refresh = () => refreshKeyBudgets(database.db, { keys: proxy, rate: RATE });
const ingest = () => syncSpend(database.db, { rate: RATE });

/** A request through the proxy, and its spend row. */
async function request(key: string, usd: DecimalText): Promise<boolean> {
  const admitted = proxy.admit(key, usd);
  if (admitted) await insertSpend(database.db, { orgId, usd, sessionId: proxy.keys.get(key)?.sessionId ?? "", keyHash: key });
  return admitted;
}

describe("admission", () => {
  test("forty starts at once cannot beat the limit of sessions", async () => {
    await grant("100000");
    await changeOrgSettings(database.db, orgId, { maxSessions: 7 });
    const outcomes = await Promise.all(Array.from({ length: 40 }, () => start()));
    expect(outcomes.filter((outcome) => outcome === "concurrent_session_limit")).toHaveLength(33);
    expect(proxy.keys.size).toBe(7);
  });

  test("forty starts at once cannot reserve more than the org can afford", async () => {
    await grant("300");
    const outcomes = await Promise.all(Array.from({ length: 40 }, () => start()));
    expect(compareDecimals(proxy.leftUsd(), "1")).toBeLessThanOrEqual(0);
    expect(outcomes).toContain("no_credits");
    expect(proxy.keys.size).toBeGreaterThan(5);
  });

  test("a caller's own limit is kept, and leaves the rest to others", async () => {
    await grant("3000");
    expect(proxy.keys.get(await start({ limitUsd: "0.25" }))?.maxUsd).toBe("0.25");
    expect(proxy.keys.get(await start())?.maxUsd).toBe("2.4375");
  });

  test("a limit that a caller raises or lowers is followed, however little that is beside what the org can afford", async () => {
    await grant("3000000");
    const key = await start({ sessionId: `${orgId}_limited`, limitUsd: "2.5" });
    for (const limitUsd of ["4", "3.75"]) {
      await writeLimit(database.db, `${orgId}_limited`, 1, limitUsd);
      await refresh();
      expect(proxy.keys.get(key)?.maxUsd).toBe(limitUsd);
    }
  });

  test("a resume reserves for its new key and gives back what the old one did not use", async () => {
    await grant("300");
    const first = await start({ sessionId: `${orgId}_s` });
    await start({ sessionId: `${orgId}_s`, keyGeneration: 2 });
    proxy.keys.delete(first);
    expect(await readReservations(database.db, orgId)).toMatchObject({ live_sessions: 1, reserved_usd: "0.1875" });
  });

  test("an ended session holds only what is still under way, until that is on the ledger", async () => {
    await grant("300");
    const key = await start({ sessionId: `${orgId}_s` });
    expect(await request(key, "0.1")).toBe(true);
    await releaseSession(database.db, `${orgId}_s`);
    expect(await readReservations(database.db, orgId)).toMatchObject({ live_sessions: 0, reserved_usd: "0.1" });

    await ingest();
    await start();
    expect(await readReservations(database.db, orgId)).toMatchObject({ affordable_usd: "0.9", reserved_usd: "0.225" });
  });

  test("a mint that never came to its end is forgotten, and one whose session recorded the key is not", async () => {
    await grant("300");
    await admitSession(database.db, { orgId, sessionId: `${orgId}_lost`, keyGeneration: 1, operation: "session_start" });
    await admitSession(database.db, { orgId, sessionId: `${orgId}_kept`, keyGeneration: 1, operation: "session_start" });
    await sql`insert into gateway_sessions (session_id, org_id, state, model, key_hash) values (${`${orgId}_kept`}, ${orgId}, 'active', 'm', ${`${orgId}_hash`})`.execute(
      database.db,
    );
    proxy.keys.set(`${orgId}_hash`, { sessionId: `${orgId}_kept`, maxUsd: "0.1", spentUsd: "0", blocked: false });
    await sql`update key_reservations set created_at = billing_now() - interval '10 minutes' where org_id = ${orgId}`.execute(database.db);
    await refresh();
    expect(await readReservations(database.db, orgId)).toMatchObject({ live_sessions: 1 });
  });
});

describe("refresh", () => {
  test("defect 16 budget off by the markup and by N: all keys together may spend what the balance is worth at the provider's price", async () => {
    await grant("3000");
    const keys = [await start(), await start(), await start()];
    for (let tick = 0; tick < 3; tick += 1) await refresh();
    // 3000 credits at 3 x 100 are 10 USD: a quarter each for three keys and for the session that comes next.
    expect(keys.map((key) => proxy.keys.get(key)?.maxUsd)).toEqual(["2.5", "2.5", "2.5"]);
    expect(compareDecimals(proxy.leftUsd(), "10")).toBeLessThanOrEqual(0);
  });

  test("defect 16 budget off by the markup and by N: it follows the balance while the session runs", async () => {
    await grant("300");
    const key = await start();
    await refresh();
    expect(proxy.keys.get(key)?.maxUsd).toBe("0.5");
    await request(key, "0.4");
    await ingest();
    await refresh();
    // 0.6 USD are left; half of it for the key, on top of what it spent.
    expect(proxy.keys.get(key)?.maxUsd).toBe("0.7");
    await grant("3000");
    await refresh();
    expect(proxy.keys.get(key)?.maxUsd).toBe("5.7");
  });

  test("a new rate card changes what a balance is worth", async () => {
    await grant("300");
    const key = await start();
    await refreshKeyBudgets(database.db, { keys: proxy, rate: { markup: "6", creditsPerUsd: "100" } });
    await refreshKeyBudgets(database.db, { keys: proxy, rate: { markup: "6", creditsPerUsd: "100" } });
    expect(proxy.keys.get(key)?.maxUsd).toBe("0.25");
  });

  test("nothing is told to the proxy while nothing changes", async () => {
    await grant("3000");
    await start();
    await refresh();
    const { calls } = proxy;
    await refresh();
    await refresh();
    expect(proxy.calls).toBe(calls);
  });

  test("keys are blocked at exhaustion and unblocked on credit", async () => {
    await grant("30");
    await changeOrgSettings(database.db, orgId, { graceMs: 0 });
    const key = await start();
    await refresh();
    while (await request(key, "0.01")) {
      await ingest();
      await refresh();
    }
    await insertSpend(database.db, { orgId, usd: "0.1" });
    await ingest();
    await refresh();
    expect(proxy.keys.get(key)?.blocked).toBe(true);

    await grant("3000");
    await refresh();
    expect(proxy.keys.get(key)?.blocked).toBe(false);
    expect(await request(key, "0.01")).toBe(true);
  });

  test("a suspended org's keys are blocked", async () => {
    await grant("3000");
    const key = await start();
    await suspendOrg(database.db, orgId, "abuse");
    await refresh();
    expect(proxy.keys.get(key)?.blocked).toBe(true);
  });

  test("a proxy that is down is told at the next tick, and until then the larger figure is reserved", async () => {
    await grant("300");
    const key = await start();
    proxy.failure = new AppError("proxy_unreachable", "down");
    expect(await refresh()).toEqual({ changed: 0, failed: 1 });
    expect(proxy.keys.get(key)?.maxUsd).toBe("0.25");
    expect(await readReservations(database.db, orgId)).toMatchObject({ reserved_usd: "0.5" });
    proxy.failure = undefined;
    expect(await refresh()).toEqual({ changed: 1, failed: 0 });
    expect(proxy.keys.get(key)?.maxUsd).toBe("0.5");
  });

  test("a key that the proxy does not know any more holds nothing", async () => {
    await grant("300");
    proxy.keys.delete(await start());
    await refresh();
    expect(await readReservations(database.db, orgId)).toMatchObject({ live_sessions: 0, reserved_usd: "0" });
  });
});
