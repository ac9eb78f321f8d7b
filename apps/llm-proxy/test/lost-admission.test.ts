import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

test("an admission whose answer was lost on the way holds nothing for long, and costs nothing: its request was never sent", async () => {
  // Makes the counters of the key, so that the next admission is one statement.
  expect((await post(stack, "/v1/messages", MESSAGE)).status).toBe(200);
  const asked = stack.provider.requests.length;
  const { db } = stack.database;
  let answer: Promise<Response> | undefined;
  await db.transaction().execute(async (tx) => {
    await sql`select from limit_counters where principal_id = ${stack.keyHash} for update`.execute(tx);
    answer = post(stack, "/v1/messages", MESSAGE);
    await expect
      .poll(async () => {
        const { rows } = await sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`.execute(
          db,
        );
        return rows.length;
      })
      .toBe(1);
    // The statement waits in the database, which learns of the cut only when it has something to say.
    await stack.store.cut();
  });
  const refused = await answer;
  expect(refused?.status).toBe(503);
  await expect.poll(async () => (await inFlight(stack)).attempts).toBe(1);

  await stack.store.mend();

  await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  const row = await spendLogOf(stack, refused?.headers.get("request-id") ?? "");
  expect([row.status, Number(row.spend), row.metadata["error_information"]]).toEqual([
    "failure",
    0,
    expect.objectContaining({ error_code: "store_unavailable" }),
  ]);
  expect(stack.provider.requests.length).toBe(asked);
});
