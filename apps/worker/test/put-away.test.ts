import { createTestDatabase, type TestDatabase } from "@proliferate/db/test-database";
import { afterAll, beforeAll, expect, test } from "vitest";
import { careForLedger } from "../src/billing-worker.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const sorted = (rows: readonly { readonly session_id: string }[]) => rows.map((row) => row.session_id).toSorted();

const care = () => careForLedger({ db: database.db, rate: { markup: "3", creditsPerUsd: "100" } });

/** Active sessions of one launcher, whose keys expire in so many days; null: never. */
async function openSessions(ids: readonly string[], launcher: "none" | "modal", expiresInDays: number | null): Promise<void> {
  const rows = ids.map((id) => ({
    session_id: id,
    org_id: "org",
    state: "active" as const,
    model: "m",
    key_hash: id,
    launcher,
    sandbox_state: launcher === "none" ? null : ("ready" as const),
    expires_at: expiresInDays === null ? null : new Date(Date.now() + expiresInDays * 86_400_000),
  }));
  await database.db.insertInto("gateway_sessions").values(rows).execute();
}

async function stateOf(sessionId: string) {
  const { db } = database;
  const session = await db.selectFrom("gateway_sessions").select("state").where("session_id", "=", sessionId).executeTakeFirstOrThrow();
  const events = await db.selectFrom("session_events").select(["type", "facts"]).where("session_id", "=", sessionId).execute();
  return { state: session.state, events };
}

test("sessions F18: a session without a sandbox ends by itself a week after its key expired, once; no other does", async () => {
  await openSessions(["forgotten"], "none", -8);
  await openSessions(["expired-lately"], "none", -6);
  await openSessions(["running"], "none", 1);
  await openSessions(["for-ever"], "none", null);
  await openSessions(["in-a-sandbox"], "modal", -8);

  await care();
  await care();

  expect(await stateOf("forgotten")).toEqual({ state: "ended", events: [{ type: "ended", facts: { reason: "expired" } }] });
  // Its owner may still resume it; gateways look after those that have a sandbox.
  for (const id of ["expired-lately", "running", "for-ever", "in-a-sandbox"])
    expect(await stateOf(id)).toEqual({ state: "active", events: [] });
});

test("sessions F18: however many were forgotten, one pass ends them, and of several workers at once each session is ended by one", async () => {
  const groups = [0, 1, 2, 3].map((group) => Array.from({ length: 3_000 }, (_, index) => `many-${group}-${index}`));
  for (const ids of groups) await openSessions(ids, "none", -30);

  await Promise.all([care(), care()]);

  const { db } = database;
  const ended = await db.selectFrom("gateway_sessions").select("session_id").where("state", "=", "ended").execute();
  const events = await db.selectFrom("session_events").select("session_id").execute();
  expect(sorted(ended)).toEqual([...groups.flat(), "forgotten"].toSorted());
  expect(sorted(events)).toEqual(sorted(ended));
});
