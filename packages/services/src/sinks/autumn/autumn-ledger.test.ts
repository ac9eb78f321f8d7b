import { expect, test } from "vitest";
import type { AutumnClient, AutumnEventPage } from "./autumn-client.ts";
import { createAutumnLedger } from "./autumn-ledger.ts";

const SINCE = new Date("2026-01-01T00:00:00Z");

/** A ledger over an Autumn whose list of events goes on as it is told; at more calls than any of these tests makes it ends. */
function ledgerOf(nextCursor: (call: number) => string, maxPages: number) {
  let calls = 0;
  const list = async (): Promise<AutumnEventPage> => {
    calls += 1;
    const event = { id: "evt_1", timestamp: SINCE.getTime() + 1_000, value: 1, properties: { batch_id: "b1" }, deductions: [] };
    return { list: [event], nextCursor: calls > 8 ? null : nextCursor(calls) };
  };
  const client = { events: { list } } as unknown as AutumnClient;
  return {
    ledger: createAutumnLedger(
      async () => client,
      "credits",
      async () => ({ kind: "unavailable" }),
      maxPages,
    ),
    calls: () => calls,
  };
}

test("autumn B3: a list of events that leads back to where it was is not followed for ever, nor held in memory", async () => {
  const { ledger, calls } = ledgerOf(() => "again", 100);

  await expect(ledger.listDeductions("org_a", SINCE)).rejects.toMatchObject({ code: "autumn_unavailable" });
  expect(calls()).toBe(2);
});

test("autumn B3: a list of events that never ends is given up", async () => {
  const { ledger, calls } = ledgerOf((call) => `page ${call}`, 4);

  await expect(ledger.listDeductions("org_a", SINCE)).rejects.toMatchObject({ code: "autumn_unavailable" });
  expect(calls()).toBe(4);
});

/** A ledger over an Autumn of which one page is all. */
const ledgerOver = (list: readonly unknown[]) =>
  createAutumnLedger(
    async () => ({ events: { list: async () => ({ list, nextCursor: null }) } }) as unknown as AutumnClient,
    "credits",
    async () => ({ kind: "unavailable" }),
  );

test("autumn B3: a page of more events than were asked for is refused, and an event that cannot name a batch of ours is passed over", async () => {
  const event = (batchId: string) => ({
    id: "evt_1",
    timestamp: SINCE.getTime() - 1,
    value: 1,
    properties: { batch_id: batchId },
    deductions: [],
  });
  const ours = "00000000-0000-4000-8000-000000000001";

  await expect(ledgerOver(Array.from({ length: 1_001 }, () => event(ours))).listDeductions("org_a", SINCE)).rejects.toMatchObject({
    code: "autumn_unavailable",
  });
  expect(await ledgerOver([event("x".repeat(1_000_000)), event(ours)]).listDeductions("org_a", SINCE)).toEqual([
    { batchId: ours, credits: "0" },
  ]);
});
