import { readClock } from "@proliferate/access/test/internals";
import { until } from "@proliferate/testing/test-patience";
import { expect, onTestFinished, test } from "vitest";
import { MESSAGE, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

const HOUR_MS = 3_600_000;

async function startWrong(offsetMs: number): Promise<TestStack> {
  const stack = await startTestStack({ NODE_OPTIONS: `--import=${new URL(`wrong-clock.ts?${offsetMs}`, import.meta.url)}` });
  onTestFinished(() => stack.stop());
  return stack;
}

/** The answer is whole, or cut by us after its beginning. */
async function spend(stack: TestStack, isCut: boolean): Promise<string> {
  const body = { ...MESSAGE, stream: true };
  const cut = new AbortController();
  const answer = await post(stack, "/v1/messages", body, { signal: cut.signal });
  const reader = answer.body?.getReader();
  await reader?.read();
  if (isCut) cut.abort();
  else for (let isDone = false; !isDone;) isDone = (await reader?.read())?.done ?? true;
  return answer.headers.get("request-id") ?? "";
}

test.each([
  ["fast", 2 * HOUR_MS],
  ["slow", -2 * HOUR_MS],
  ["fast by 400 days", 400 * 24 * HOUR_MS],
])(
  "hostile 19: the rows of a proxy whose clock is %s are dated by the database's, within what the next pass of spend sync reads",
  async (_, offsetMs) => {
    const stack = await startWrong(offsetMs);
    const { db } = stack.database;
    // What the pass before noted: nothing that begins later is passed over.
    const before = await readClock(db);

    const ids = [await spend(stack, false), await spend(stack, true)];
    const rows = await Promise.all(ids.map(async (id) => spendLogOf(stack, id)));

    const after = await readClock(db);
    for (const row of rows) {
      const [start, first, end] = [row.startTime, row.completionStartTime, row.endTime].map((time) => (time as unknown as Date).getTime());
      expect(start).toBeGreaterThanOrEqual(before.getTime());
      expect(first).toBeGreaterThanOrEqual(start ?? Infinity);
      expect(end).toBeGreaterThanOrEqual(first ?? Infinity);
      // The row was written after the moment that it names; each clock is read to the millisecond.
      expect(end).toBeLessThanOrEqual(after.getTime() + 1);
      expect(row.request_duration_ms).toBe((end ?? 0) - (start ?? 0));
    }
  },
);

test("hostile 19: a budget's window ends by the database's clock, not by the proxy's", async () => {
  const stack = await startWrong(2 * HOUR_MS);
  const { db } = stack.database;
  const now = (await readClock(db)).getTime();
  const reset = async (hours: number, keyAlias: string): Promise<void> => {
    const windowEnd = new Date(now + hours * HOUR_MS).toISOString();
    const values = {
      token: keyAlias,
      key_alias: keyAlias,
      spend: "1",
      max_budget: "1",
      budget_duration: "30d",
      budget_reset_at: windowEnd,
    };
    await db
      .insertInto("LiteLLM_VerificationToken")
      .values(values as never)
      .execute();
  };
  await reset(1, "in an hour");
  await reset(-1, "an hour ago");
  const spendOf = async (token: string): Promise<number> =>
    Number((await db.selectFrom("LiteLLM_VerificationToken").select("spend").where("token", "=", token).executeTakeFirst())?.spend);

  await until(
    () => spendOf("an hour ago"),
    (spent) => spent === 0,
  );

  expect(await spendOf("in an hour")).toBe(1);
});
