import { generateSessionAPIKey } from "@proliferate/shared";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { MASTER_KEY } from "./proxy-process.ts";
import { MESSAGE, startTestStack, type TestStack } from "./test-stack.ts";

/** The two variables of the original guide, and nothing else, against our engine with and without LLM_PROXY_MANAGEMENT=shared. */
let separate: TestStack;
let shared: TestStack;
beforeAll(async () => {
  [separate, shared] = await Promise.all([startTestStack(), startTestStack({ LLM_PROXY_MANAGEMENT: "shared" })]);
});
afterAll(async () => void (await Promise.all([separate.stop(), shared.stop()])));
afterEach(() => vi.unstubAllEnvs());

function setTheTwo(stack: TestStack): void {
  for (const name of ["LLM_PROXY_ADMIN_URL", "LLM_PROXY_PUBLIC_URL", "LLM_PROXY_KEY_DURATION", "SANDBOX_TIMEOUT_SECONDS"])
    vi.stubEnv(name, undefined);
  vi.stubEnv("LLM_PROXY_URL", stack.proxy.url);
  vi.stubEnv("LLM_PROXY_MASTER_KEY", MASTER_KEY);
}

const call = async (stack: TestStack, path: string, key: string, body?: object): Promise<number> => {
  const headers = { "authorization": `Bearer ${key}`, "content-type": "application/json" };
  const response = await fetch(`${stack.proxy.url}${path}`, { headers, ...(body && { method: "POST", body: JSON.stringify(body) }) });
  await response.arrayBuffer();
  return response.status;
};

test("seed 003: LLM_PROXY_URL and LLM_PROXY_MASTER_KEY alone mint a key that works, where management is shared", async () => {
  setTheTwo(shared);
  vi.stubEnv("SANDBOX_TIMEOUT_SECONDS", "3600");

  const key = await generateSessionAPIKey("session-1", "org-1");

  expect(await call(shared, "/v1/messages", key, MESSAGE)).toBe(200);
  const { expires } = await shared.database.db
    .selectFrom("LiteLLM_VerificationToken")
    .select("expires")
    .where("user_id", "=", "session-1")
    .executeTakeFirstOrThrow();
  expect(Math.abs((expires?.getTime() ?? 0) - Date.now() - 3_600_000)).toBeLessThan(120_000);
});

test("a shared management API takes the master key only, and its own port goes on answering", async () => {
  expect([
    await call(shared, "/team/list", shared.key),
    await call(shared, "/v1/team/list", "sk-a-wrong-master-key"),
    await call(shared, "/team/list", MASTER_KEY),
  ]).toEqual([401, 401, 200]);
  expect((await fetch(`${shared.proxy.adminUrl}/team/list`, { headers: { authorization: `Bearer ${MASTER_KEY}` } })).status).toBe(200);
});

test("without it the data plane has no management API, and the client's error names what to set", async () => {
  setTheTwo(separate);

  await expect(generateSessionAPIKey("session-1", "org-1")).rejects.toMatchObject({
    code: "proxy_bad_response",
    message: expect.stringMatching(/no management API at http.*Set LLM_PROXY_ADMIN_URL.*or LLM_PROXY_MANAGEMENT=shared/),
  });

  expect(await call(separate, "/key/generate", MASTER_KEY, {})).toBe(404);
});

test("hostile 20: a stranger is not told on which port the management API is", async () => {
  const response = await fetch(`${separate.proxy.url}/key/generate`, { method: "POST" });

  expect(response.status).toBe(404);
  expect(await response.text()).not.toContain(new URL(separate.proxy.adminUrl).port);
});
