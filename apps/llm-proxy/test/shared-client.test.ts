import { createLLMProxyClient, generateSessionAPIKey, type LLMProxyClient } from "@proliferate/shared";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MASTER_KEY, mintKey } from "./proxy-process.ts";
import { MESSAGE, startTestStack, type TestStack } from "./test-stack.ts";

/** `@proliferate/shared` against our engine, as against stock LiteLLM: minting, resuming, revoking. */
let stack: TestStack;
let client: LLMProxyClient;
beforeAll(async () => {
  stack = await startTestStack();
  client = createLLMProxyClient({ adminUrl: stack.proxy.adminUrl, masterKey: MASTER_KEY });
});
afterAll(() => stack.stop());

async function statusOf(key: string): Promise<number> {
  const response = await fetch(`${stack.proxy.url}/v1/messages`, {
    method: "POST",
    headers: { "authorization": `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(MESSAGE),
  });
  await response.text();
  return response.status;
}

test("a minted key works at once, and its spend row names team, user and key", async () => {
  await client.ensureTeamExists("org-1");
  const key = await client.generateVirtualKey("session-1", "org-1", { maxBudget: 5, metadata: { purpose: "test" } });

  expect(await statusOf(key.key)).toBe(200);

  const row = await stack.database.db.selectFrom("LiteLLM_SpendLogs").selectAll().where("user", "=", "session-1").executeTakeFirstOrThrow();
  expect(row).toMatchObject({ team_id: "org-1", api_key: key.token_hash, status: "success" });
});

test("a resumed session has a new key, and the old one is refused at once", async () => {
  const first = await client.generateSessionAPIKey("session-2", "org-1");
  const second = await client.generateSessionAPIKey("session-2", "org-1");

  expect([await statusOf(first), await statusOf(second)]).toEqual([401, 200]);
});

test("of six resumes at once exactly one key lives, and it is one that was handed out; a caller without it is told so", async () => {
  const resumes = await Promise.allSettled(Array.from({ length: 6 }, () => client.generateSessionAPIKey("session-3", "org-2")));

  const keys = resumes.flatMap((resume) => (resume.status === "fulfilled" ? [resume.value] : []));
  const statuses = await Promise.all(keys.map(statusOf));

  expect(statuses.filter((status) => status === 200)).toHaveLength(1);
  expect(await client.listSessionKeys("session-3")).toHaveLength(1);
});

test("revoking a session refuses its key at once; doing it again is no error", async () => {
  const key = await client.generateSessionAPIKey("session-4", "org-1");

  await client.revokeVirtualKey("session-4");
  await client.revokeVirtualKey("session-4");

  expect(await statusOf(key)).toBe(401);
});

test("the free function reads its variables when it is called, and refuses a master key that the proxy does not know", async () => {
  const saved = { ...process.env };
  Object.assign(process.env, {
    LLM_PROXY_URL: stack.proxy.url,
    LLM_PROXY_ADMIN_URL: stack.proxy.adminUrl,
    LLM_PROXY_MASTER_KEY: MASTER_KEY,
  });
  expect(await statusOf(await generateSessionAPIKey("session-5", "org-1", { duration: "1h" }))).toBe(200);

  process.env["LLM_PROXY_MASTER_KEY"] = "sk-some-other-master-key";
  await expect(generateSessionAPIKey("session-6", "org-1")).rejects.toMatchObject({ code: "proxy_unauthorized" });
  process.env = saved;
});

test("models that the key does not allow are refused, and the master key makes no LLM call", async () => {
  const { key } = await mintKey(stack.proxy, { models: ["claude-opus-5-5"] });

  expect([await statusOf(key), await statusOf(MASTER_KEY)]).toEqual([403, 401]);
});
