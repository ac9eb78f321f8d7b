import { addDecimals } from "@proliferate/shared/money";
import type { Fault, Script } from "@proliferate/testing/provider-stand-in/script";
import { seededRandom } from "@proliferate/testing/test-random";
import { patience } from "@proliferate/testing/test-patience";
import { afterAll, beforeAll, expect, test } from "vitest";
import { manage, mintKey } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const REQUESTS = 400;
const AT_ONCE = 24;

const FAULTS: readonly (Fault | undefined)[] = [
  undefined,
  undefined,
  { kind: "status", status: 529 },
  { kind: "status", status: 401 },
  { kind: "cut_before_headers" },
  { kind: "cut_mid_stream", afterFrames: 3 },
  { kind: "end_early", afterFrames: 3 },
  { kind: "error_event", afterFrames: 2 },
  { kind: "invalid_json" },
  { kind: "missing_usage" },
  { kind: "not_a_stream" },
];

const random = seededRandom("chaos");
const oneOf = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;

function randomScript(): Script {
  const fault = oneOf(FAULTS);
  return {
    answerBytes: Math.floor(random() * 3_000),
    frameGapMs: oneOf([0, 0, 1]),
    headersDelayMs: oneOf([0, 5]),
    ...(fault && { fault }),
  };
}

/** A request in either dialect, streamed or not, whose caller may leave at any moment. */
async function ask(key: string): Promise<void> {
  const [path, body] = oneOf([
    ["/v1/messages", MESSAGE],
    ["/v1/chat/completions", CHAT],
  ] as const);
  const signal = random() < 0.3 ? AbortSignal.timeout(random() * 30) : AbortSignal.timeout(patience(20_000));
  const response = await fetch(`${stack.proxy.url}${path}`, {
    method: "POST",
    headers: { "authorization": `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: random() < 0.6 }),
    signal,
  });
  await response.text();
}

test("whatever providers and callers do, each request that was forwarded has one row, the counters are their sum, and nothing stays reserved", async () => {
  await manage(stack.proxy, "/team/new", { team_id: "chaos" });
  const keys = await Promise.all([1, 2, 3].map(() => mintKey(stack.proxy, { team_id: "chaos" })));
  stack.provider.scriptNext(...Array.from({ length: REQUESTS }, randomScript));
  let started = 0;
  const caller = async (): Promise<void> => {
    while (started < REQUESTS) {
      started += 1;
      await ask(oneOf(keys).key).catch(() => undefined);
    }
  };

  await Promise.all(Array.from({ length: AT_ONCE }, caller));
  await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);

  const rows = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().execute();
  const counters = await stack.database.db.selectFrom("limit_counters").selectAll().execute();
  const total = addDecimals(...rows.map((row) => row.spend));
  // A caller may leave after it was admitted and before anything was sent: then there is a row without a request. A request
  // that an overloaded provider refused is sent again for the same row.
  const served = stack.provider.requests.filter((entry) => entry.status !== 529);
  expect(rows.length).toBeGreaterThanOrEqual(served.length);
  expect(rows.length).toBeLessThanOrEqual(REQUESTS);
  for (const scope of ["key", "team"] as const) {
    expect(addDecimals(...counters.filter((counter) => counter.principal_kind === scope).map((counter) => counter.used))).toBe(total);
  }
  const seenWhole = stack.provider.requests.filter((entry) =>
    rows.some((row) => row.status === "success" && row.metadata["provider_response_id"] === entry.responseId),
  );
  expect(seenWhole.length).toBeGreaterThan(REQUESTS / 20);
  const alarms = stack.proxy
    .log()
    .split("\n")
    .filter((line) => /process\.crashed|request\.failed|settle\.failed/.test(line));
  expect(alarms).toEqual([]);
});
