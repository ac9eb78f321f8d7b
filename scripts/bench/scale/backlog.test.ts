import { connectSession } from "@proliferate/db";
import { createTestDatabase } from "@proliferate/db/test-database";
import { flagForgottenKeys, MOST_OVERDUE, readBatchStates, readOpenEvents } from "@proliferate/services/test/internals";
import { readDelivery } from "@proliferate/services/reports";
import { expect, onTestFinished, test } from "vitest";
import { measure } from "./recorder.ts";

test("code 15: what metrics and workers read of the batches under way does not follow how many there are", async () => {
  const database = await createTestDatabase();
  onTestFinished(() => database.drop());
  const client = await connectSession({ connectionString: database.connectionString, applicationName: "test" });
  onTestFinished(() => client.end());
  await client.query(`
    insert into billing_accounts (org_id) select 'org_' || n from generate_series(0, 9) n;
    insert into settlement_batches (batch_id, org_id, sequence, idempotency_key, event_count, spend_usd, events_credits, carry_in, carry_out, credits, state, sealed_at, next_attempt_at, after_event_id, through_event_id, oldest_event_at)
    select gen_random_uuid(), 'org_' || n % 10, n, 'pb:' || n, 1, 0.01, 3, 0, 0, 3, 'sealed', now() - interval '1 hour', now() - interval '1 hour', n - 1, n, now() - interval '2 hours'
    from generate_series(1, ${2 * MOST_OVERDUE}) n`);
  await client.query("vacuum analyze settlement_batches");

  const rows = {
    states: (await measure(client, readBatchStates)).rows,
    open: (await measure(client, readOpenEvents)).rows,
    forgotten: (await measure(client, (db) => flagForgottenKeys(db, 3_600_000))).rows,
    delivery: (await measure(client, readDelivery)).rows,
  };

  expect(Math.max(rows.states, rows.open, rows.forgotten)).toBeLessThan(100);
  expect(rows.delivery).toBeLessThan(MOST_OVERDUE + 100);
});
