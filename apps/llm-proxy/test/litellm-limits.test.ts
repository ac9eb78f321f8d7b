import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { manage } from "./proxy-process.ts";
import { CHAT, MESSAGE, post, startTestStack, type TestStack } from "./test-stack.ts";

/** The limits that LiteLLM's clients send for a key or a team, and that stock LiteLLM writes into its own columns: each is enforced. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const HAIKU = MESSAGE.model;
/** Refused from the first request on, so that no minute that ends in between decides. Another model is not concerned where one is named. */
const LIMITS: readonly (readonly [string, Readonly<Record<string, unknown>>, readonly [haiku: number, other: number], string])[] = [
  ["rpm_limit", { rpm_limit: 0 }, [429, 429], "requests a minute"],
  ["tpm_limit", { tpm_limit: 1 }, [429, 429], "tokens a minute"],
  ["max_parallel_requests", { max_parallel_requests: 0 }, [429, 429], "requests at a time"],
  ["model_max_budget", { model_max_budget: { [HAIKU]: { budget_limit: 0.0000001, time_period: "1d" } } }, [402, 200], "begins anew at"],
  ["model_rpm_limit", { model_rpm_limit: { [HAIKU]: 0 } }, [429, 200], "requests a minute"],
  ["model_tpm_limit", { model_tpm_limit: { [HAIKU]: 1 } }, [429, 200], "tokens a minute"],
  ["model_rpm_limit in metadata", { metadata: { model_rpm_limit: { [HAIKU]: 0 } } }, [429, 200], "requests a minute"],
];

async function statusesOf(key: string): Promise<readonly [readonly number[], string]> {
  const [haiku, other] = await Promise.all([
    post({ ...stack, key }, "/v1/messages", MESSAGE),
    post({ ...stack, key }, "/v1/chat/completions", CHAT),
  ]);
  return [[haiku.status, other.status], await haiku.text()];
}
const keyOf = (body: unknown): string => (body as { readonly key: string }).key;

test.each(LIMITS)("%s of a key", async (_, fields, statuses, said) => {
  const key = keyOf((await manage(stack.proxy, "/key/generate", fields)).body);

  expect(await statusesOf(key)).toEqual([statuses, expect.stringContaining(said)]);
});

test.each(LIMITS)("%s of a team", async (name, fields, statuses, said) => {
  const teamId = `team of ${name}`;
  await manage(stack.proxy, "/team/new", { team_id: teamId, ...fields });
  const key = keyOf((await manage(stack.proxy, "/key/generate", { team_id: teamId })).body);

  expect(await statusesOf(key)).toEqual([statuses, expect.stringContaining(said)]);
});

test.each(LIMITS)(
  "%s that is set on a living key holds at once, beside its other metadata, and null lifts it",
  async (_, fields, statuses) => {
    const minted = await manage(stack.proxy, "/key/generate", { metadata: { colour: "red" } });
    const key = keyOf(minted.body);
    expect((await statusesOf(key))[0]).toEqual([200, 200]);

    await manage(stack.proxy, "/key/update", { key, ...fields });
    expect((await statusesOf(key))[0]).toEqual(statuses);
    const [field = ""] = Object.keys(fields);
    const { info } = (await manage(stack.proxy, `/key/info?key=${key}`)).body as {
      readonly info: { readonly metadata: Record<string, unknown> };
    };
    expect(info.metadata["colour"]).toBe(field === "metadata" ? undefined : "red");

    await manage(stack.proxy, "/key/update", { key, [field]: null });
    expect((await statusesOf(key))[0]).toEqual([200, 200]);
  },
);

test("what stock LiteLLM wrote that nobody can read refuses nobody and breaks nothing", async () => {
  const minted = (await manage(stack.proxy, "/key/generate", {})).body as { readonly key: string; readonly token: string };
  await sql`update "LiteLLM_VerificationToken" set model_max_budget = '["not", "a map"]', metadata = '{"model_rpm_limit": "many", "model_tpm_limit": {"${sql.raw(HAIKU)}": "1.2.3"}}' where token = ${minted.token}`.execute(
    stack.database.db,
  );

  expect((await statusesOf(minted.key))[0]).toEqual([200, 200]);
});
