import { randomUUID } from "node:crypto";
import type { StoredSpendLog } from "@proliferate/access/spend-logs";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startProxyProcess } from "./proxy-process.ts";
import { CHAT, inFlight, MESSAGE, NOTHING_IN_FLIGHT, post, spendLogOf, startTestStack, type TestStack } from "./test-stack.ts";

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());
afterEach(expectNothingLeft);

async function expectNothingLeft(): Promise<void> {
  stack.provider.clearScripts();
  await expect.poll(() => inFlight(stack)).toEqual(NOTHING_IN_FLIGHT);
  expect(stack.proxy.log()).not.toMatch(/settle\.failed|process\.crashed/);
}

const rowOf = (response: Response): Promise<StoredSpendLog> => spendLogOf(stack, response.headers.get("request-id") ?? "");
const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

/** What a provider may say, as the JSON text of its id, its usage and one more field. */
const POISONS = {
  "NUL in the id": { id: '"m\\u0000"', usage: '{"input_tokens":10,"output_tokens":5}' },
  "half a surrogate pair in the id": { id: '"m\\ud800"', usage: '{"input_tokens":10,"output_tokens":5}' },
  "an id of a megabyte": { id: JSON.stringify("m".repeat(1_000_000)), usage: '{"input_tokens":10,"output_tokens":5}' },
  "an id that is an object": { id: '{"a":1}', usage: '{"input_tokens":10,"output_tokens":5}' },
  "a count of 10^15": { id: '"m"', usage: '{"input_tokens":1000000000000000,"output_tokens":5}' },
  "a count of 10^400": { id: '"m"', usage: `{"input_tokens":1${"0".repeat(400)},"output_tokens":5}` },
  "counts that add up above an integer": {
    id: '"m"',
    usage: '{"input_tokens":2147483647,"cache_read_input_tokens":2147483647,"output_tokens":2147483647}',
  },
  "a negative count": { id: '"m"', usage: '{"input_tokens":-1,"output_tokens":5}' },
  "counts of the wrong type": { id: '"m"', usage: '{"input_tokens":"10","output_tokens":[5]}' },
  "usage of the wrong type": { id: '"m"', usage: "[1,2]" },
  "usage a hundred thousand levels deep": { id: '"m"', usage: `{"input_tokens":10,"output_tokens":5,"x":${nested(50_000)}}` },
  "unknown usage with NUL and surrogates": { id: '"m"', usage: '{"input_tokens":10,"output_tokens":5,"\\u0000\\udfff":"\\u0000"}' },
  "a model with NUL": { id: '"m","model":"a\\u0000b"', usage: '{"input_tokens":10,"output_tokens":5}' },
} as const;

describe.each(Object.entries(POISONS))("hostile 9, public bug 30, code 2: %s", (_, { id, usage }) => {
  test("in a whole answer gives a row", async () => {
    stack.provider.failNext({
      kind: "raw",
      pieces: [
        `{"id":${id},"type":"message","role":"assistant","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":${usage}}`,
      ],
    });

    const response = await post(stack, "/v1/messages", MESSAGE);
    await response.text();

    expect(response.status).toBe(200);
    expect((await rowOf(response)).status).toBe("success");
  });

  test("in a stream gives a row", async () => {
    const start = `event: message_start\ndata: {"type":"message_start","message":{"id":${id},"type":"message","content":[],"usage":${usage}}}\n\n`;
    const delta = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}\n\n';
    const end = `event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":${usage}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n`;
    stack.provider.failNext({ kind: "raw", headers: { "content-type": "text/event-stream" }, pieces: [start, delta, end] });

    const response = await post(stack, "/v1/messages", { ...MESSAGE, stream: true });

    expect(await response.text()).toContain("message_stop");
    expect((await rowOf(response)).status).toBe("success");
  });
});

test("public bug 30: OpenAI's counts beyond belief are estimated, whole and streamed", async () => {
  const usage = '{"prompt_tokens":99999999999,"completion_tokens":99999999999}';
  stack.provider.failNext({ kind: "raw", pieces: [`{"id":"c","choices":[{"index":0,"message":{"content":"x"}}],"usage":${usage}}`] });
  stack.provider.scriptNext({
    fault: {
      kind: "raw",
      headers: { "content-type": "text/event-stream" },
      pieces: [
        `data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}\n\ndata: {"id":"c","choices":[],"usage":${usage}}\n\ndata: [DONE]\n\n`,
      ],
    },
  });

  for (const stream of [false, true]) {
    const response = await post(stack, "/v1/chat/completions", { ...CHAT, stream });
    await response.text();
    expect(await rowOf(response)).toMatchObject({ status: "success", metadata: { estimated: true } });
  }
});

describe("code 2: recovery", () => {
  test("takes poisoned attempts one by one: a proxy starts, each has its row, and a later instance's is not skipped", async () => {
    const { database, provider, keyHash } = stack;
    const counts = { inputTokens: 2_147_483_647, cacheReadTokens: 2_147_483_647, outputTokens: 7 };
    const poisoned = [
      { usage: "x" },
      { usage: { inputTokens: 1e300 } },
      [],
      { usage: counts, providerResponseId: "m" },
      { report: { parts: [{ usage: counts }] }, firstByteAt: "never" },
    ];
    const ids: string[] = [];
    for (const [index, checkpoint] of [...poisoned, { usage: { inputTokens: 100, outputTokens: 20 } }].entries()) {
      const id = randomUUID();
      ids.push(id);
      await database.db
        .insertInto("request_attempts")
        .values({
          // Numbers that no process has: their locks are free.
          attempt_id: id,
          instance_id: 1_000_000 + Math.floor(index / 2),
          key_hash: keyHash,
          team_id: null,
          user_id: null,
          key_alias: null,
          dialect: "anthropic",
          call_type: "anthropic_messages",
          model_group: "claude-haiku-4-5",
          model: "anthropic/claude-haiku-4-5-20251001",
          provider: "anthropic",
          price_id: "anthropic/claude-haiku-4-5-20251001",
          end_user: null,
          client_session_id: null,
          requester_ip_address: null,
          reserved_usd: "0",
          reservations: null,
          estimated_input_tokens: 10,
          max_output_tokens: 100,
          hidden_tokens_per_second: 0,
          requested_model: null,
          request_tags: null,
          checkpoint: JSON.stringify(checkpoint),
        })
        .execute();
    }

    const second = await startProxyProcess({ connectionString: database.connectionString, providerUrl: provider.url });

    const rows = await Promise.all(ids.map((id) => spendLogOf(stack, id)));
    expect(rows.map((row) => row.metadata["recovered"])).toEqual(ids.map(() => true));
    expect(rows.at(-1)).toMatchObject({ prompt_tokens: 100, completion_tokens: 20 });
    await second.stop();
  });

  test("of an attempt that the store can never take writes a bare row, flagged", async () => {
    const { database, provider, keyHash } = stack;
    const id = randomUUID();
    await sql`alter table "LiteLLM_SpendLogs" add constraint no_poison check (end_user <> 'poison')`.execute(database.db);
    await database.db
      .insertInto("request_attempts")
      .values({
        attempt_id: id,
        instance_id: 1_000_100,
        key_hash: keyHash,
        team_id: null,
        user_id: null,
        key_alias: null,
        dialect: "anthropic",
        call_type: "anthropic_messages",
        model_group: "claude-haiku-4-5",
        model: "anthropic/claude-haiku-4-5-20251001",
        provider: "anthropic",
        price_id: "anthropic/claude-haiku-4-5-20251001",
        end_user: "poison",
        client_session_id: null,
        requester_ip_address: null,
        reserved_usd: "0.001",
        estimated_input_tokens: 10,
        max_output_tokens: 100,
        hidden_tokens_per_second: 0,
        requested_model: null,
        request_tags: null,
      })
      .execute();
    await sql`update limit_counters set reserved = reserved + 0.001 where principal_kind = 'key' and principal_id = ${keyHash}`.execute(
      database.db,
    );

    const second = await startProxyProcess({ connectionString: database.connectionString, providerUrl: provider.url });

    expect(await spendLogOf(stack, id)).toMatchObject({ spend: "1e-05", end_user: "", metadata: { settlement_repaired: "23514" } });
    await second.stop();
    await sql`alter table "LiteLLM_SpendLogs" drop constraint no_poison`.execute(database.db);
  });
});
