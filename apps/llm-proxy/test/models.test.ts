import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mintKey } from "./proxy-process.ts";
import { startTestStack, type TestStack } from "./test-stack.ts";

/** `GET /v1/models` as the clients of each API read it. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startTestStack();
});
afterAll(() => stack.stop());

interface List {
  readonly data: readonly { readonly id: string }[];
  readonly has_more: boolean;
  readonly first_id: string | null;
  readonly last_id: string | null;
}

const ANTHROPIC = { "anthropic-version": "2023-06-01" };
const ask = (query: string, headers: Readonly<Record<string, string>> = ANTHROPIC, { key } = stack): Promise<Response> =>
  fetch(`${stack.proxy.url}/v1/models${query}`, { headers: { authorization: `Bearer ${key}`, ...headers } });
const listOf = async (...asked: Parameters<typeof ask>): Promise<List> => (await (await ask(...asked)).json()) as List;
const idsOf = ({ data }: Pick<List, "data">): readonly string[] => data.map(({ id }) => id);

test("clients F12: Anthropic's clients see the models that they can use, each once, in the shape of their API and no other", async () => {
  const list = await listOf("?limit=1000");
  const ids = idsOf(list);

  expect(ids).toEqual(expect.arrayContaining(["claude-haiku-4-5", "gpt-4o-mini"]));
  // Nothing of an embedding is translated; and a prefix is there for nobody who has the name without it.
  expect(ids.filter((id) => !/^(?:claude|gpt|gemini)-/.test(id))).toEqual([]);
  expect(new Set(ids).size).toBe(ids.length);
  expect(list).toEqual({ data: list.data, has_more: false, first_id: ids[0], last_id: ids.at(-1) });
  expect(list.data.find(({ id }) => id === "claude-haiku-4-5")).toEqual({
    type: "model",
    id: "claude-haiku-4-5",
    display_name: "claude-haiku-4-5",
    created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  });
});

test("clients F12: a name with its provider's prefix is shown where the key may use no other", async () => {
  const { key } = await mintKey(stack.proxy, { models: ["anthropic/claude-haiku-4-5", "gpt-4o-mini"] });

  expect(idsOf(await listOf("", ANTHROPIC, { ...stack, key }))).toEqual(["anthropic/claude-haiku-4-5", "gpt-4o-mini"]);
});

test("OpenAI's clients see every name that the key may use, as LiteLLM lists them", async () => {
  const list = await listOf("", {});

  expect(list).toMatchObject({ object: "list", has_more: false });
  expect(idsOf(list)).toEqual(expect.arrayContaining(["gpt-4o-mini", "openai/gpt-4o-mini", "claude-haiku-4-5", "text-embedding-3-small"]));
  expect(list.data[0]).toMatchObject({ object: "model", created: 1_677_610_602, owned_by: "anthropic" });
});

test("clients F12: pages forward and backward are all of the list, in its order", async () => {
  for (const headers of [ANTHROPIC, {}]) {
    const all = idsOf(await listOf("?limit=1000", headers));
    const forward: string[] = [];
    for (let page = await listOf("?limit=5", headers); ; page = await listOf(`?limit=5&after_id=${String(page.last_id)}`, headers)) {
      forward.push(...idsOf(page));
      expect(page.has_more).toBe(forward.length < all.length);
      if (!page.has_more) break;
    }
    expect(forward).toEqual(all);

    const backward: string[] = [all.at(-1) ?? ""];
    for (;;) {
      const page = await listOf(`?limit=4&before_id=${String(backward[0])}`, headers);
      backward.unshift(...idsOf(page));
      expect(page.has_more).toBe(backward.length < all.length);
      if (!page.has_more) break;
    }
    expect(backward).toEqual(all);
    expect(await listOf(`?before_id=${String(all[0])}`, headers)).toMatchObject({
      data: [],
      has_more: false,
      first_id: null,
      last_id: null,
    });
  }
});

test.each(["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "after_id=none", "before_id=", "limit=5&after_id=x&before_id=y"])(
  "clients F12: ?%s is refused by name, in the caller's envelope",
  async (query) => {
    const anthropic = await ask(`?${query}`);
    const openai = await ask(`?${query}`, {});

    expect([anthropic.status, await anthropic.json()]).toMatchObject([400, { type: "error", error: { type: "invalid_request_error" } }]);
    expect([openai.status, await openai.json()]).toMatchObject([
      400,
      { error: { param: query.startsWith("limit=5") ? "after_id" : query.split("=")[0] } },
    ]);
  },
);

test("the SDKs' own lists page through all of it", async () => {
  const anthropic = new Anthropic({ apiKey: stack.key, baseURL: stack.proxy.url, maxRetries: 0 });
  const openai = new OpenAI({ apiKey: stack.key, baseURL: `${stack.proxy.url}/v1`, maxRetries: 0 });
  const claude: string[] = [];
  for await (const { id } of anthropic.models.list({ limit: 3 })) claude.push(id);
  const gpt: string[] = [];
  for await (const { id } of openai.models.list()) gpt.push(id);

  expect(claude).toEqual(idsOf(await listOf("?limit=1000")));
  expect(gpt).toEqual(idsOf(await listOf("", {})));
  expect(await anthropic.models.retrieve("claude-haiku-4-5")).toMatchObject({ id: "claude-haiku-4-5", type: "model" });
});
