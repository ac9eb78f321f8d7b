import { afterAll, beforeAll, expect, test } from "vitest";
import { manage } from "./proxy-process.ts";
import { CHAT, MESSAGE, post, startTestStack, type TestStack } from "./test-stack.ts";

/** `models` of keys and teams: what they allow can be called and is listed, and nothing else. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

const keyOf = (body: unknown): string => (body as { readonly key: string }).key;

async function seenBy(key: string): Promise<unknown> {
  const [haiku, mini, list] = await Promise.all([
    post({ ...stack, key }, "/v1/messages", MESSAGE),
    post({ ...stack, key }, "/v1/chat/completions", CHAT),
    fetch(`${stack.proxy.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } }),
  ]);
  const { data } = (await list.json()) as { readonly data: readonly { readonly id: string }[] };
  const lists = (id: string): boolean => data.some((model) => model.id === id);
  return { called: [haiku.status, mini.status], listed: [lists(MESSAGE.model), lists(CHAT.model)] };
}

test.each([
  [[], true, true],
  [["all-proxy-models"], true, true],
  [["*"], true, true],
  [["anthropic/*"], true, false],
  [["gpt-4*"], false, true],
  [["no-default-models"], false, false],
])("%j of a key, of a team, and of a living key", async (models, haiku, mini) => {
  const teamId = `team with ${JSON.stringify(models)}`;
  expect((await manage(stack.proxy, "/team/new", { team_id: teamId, models })).status).toBe(200);
  const ofKey = keyOf((await manage(stack.proxy, "/key/generate", { models })).body);
  const ofTeam = keyOf((await manage(stack.proxy, "/key/generate", { team_id: teamId, models: ["all-team-models"] })).body);
  const living = keyOf((await manage(stack.proxy, "/key/generate", {})).body);
  await manage(stack.proxy, "/key/update", { key: living, models });

  for (const key of [ofKey, ofTeam, living])
    expect(await seenBy(key)).toEqual({ called: [haiku ? 200 : 403, mini ? 200 : 403], listed: [haiku, mini] });
});
