import {
  ensureTeamExists,
  generateSessionAPIKey,
  generateVirtualKey,
  getLLMProxyBaseURL,
  getLLMProxyURL,
  isLLMProxyEnabled,
  revokeVirtualKey,
} from "@proliferate/shared";
import { startLiteLLMStandIn, type LiteLLMStandIn } from "@proliferate/testing/litellm-stand-in";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";

const names = [
  "LLM_PROXY_URL",
  "LLM_PROXY_ADMIN_URL",
  "LLM_PROXY_PUBLIC_URL",
  "LLM_PROXY_MASTER_KEY",
  "LLM_PROXY_KEY_DURATION",
  "SANDBOX_TIMEOUT_SECONDS",
  "LLM_PROXY_REQUIRED",
];
let proxy: LiteLLMStandIn;

beforeAll(async () => {
  proxy = await startLiteLLMStandIn();
});
beforeEach(() => names.forEach((name) => vi.stubEnv(name, undefined)));
afterEach(() => {
  vi.unstubAllEnvs();
  proxy.reset();
});
afterAll(() => proxy.stop());

function configure(): void {
  vi.stubEnv("LLM_PROXY_URL", "https://llm.example.com/v1/");
  vi.stubEnv("LLM_PROXY_ADMIN_URL", `${proxy.url}/v1/`);
  vi.stubEnv("LLM_PROXY_MASTER_KEY", proxy.masterKey);
}

describe("the functions of the guide", () => {
  it("mint and revoke by the variables of the process, at the management address", async () => {
    configure();
    vi.stubEnv("LLM_PROXY_KEY_DURATION", "90m");

    const key = await generateSessionAPIKey("session-1", "org-1");
    expect(proxy.accepts(key)).toBe(true);
    expect(proxy.requests.at(-1)?.body["duration"]).toBe("90m");
    expect(await ensureTeamExists("org-1")).toBe("org-1");
    expect(await generateVirtualKey("session-2", "org-1")).toMatchObject({ team_id: "org-1", user_id: "session-2" });

    await revokeVirtualKey("session-1");
    expect(proxy.accepts(key)).toBe(false);
  });

  it("remember the teams that they know until the variables change", async () => {
    configure();
    await generateSessionAPIKey("session-1", "org-1");
    await generateSessionAPIKey("session-2", "org-1");
    vi.stubEnv("LLM_PROXY_KEY_DURATION", "1h");
    await generateSessionAPIKey("session-3", "org-1");

    expect(proxy.requests.map((request) => request.path)).toEqual([
      "/team/new",
      "/key/generate",
      "/key/generate",
      "/team/new",
      "/key/generate",
    ]);
  });

  it("say that the proxy is off, and have nothing to revoke, when no variable is set", async () => {
    expect(isLLMProxyEnabled()).toBe(false);
    expect(getLLMProxyBaseURL()).toBeUndefined();
    expect(() => getLLMProxyURL()).toThrow(expect.objectContaining({ code: "proxy_not_configured" }));
    await expect(generateSessionAPIKey("session-1", "org-1")).rejects.toMatchObject({
      code: "proxy_not_configured",
      message: expect.stringContaining("LLM_PROXY_URL and LLM_PROXY_MASTER_KEY"),
    });
    await revokeVirtualKey("session-1");
  });

  it("name the master key when only that is missing", async () => {
    vi.stubEnv("LLM_PROXY_URL", proxy.url);

    expect(isLLMProxyEnabled()).toBe(true);
    await expect(generateVirtualKey("session-1", "org-1")).rejects.toMatchObject({
      code: "proxy_not_configured",
      message: "The LLM proxy is not configured: LLM_PROXY_MASTER_KEY not set.",
    });
  });

  it.each(["1", "true"])("fail loudly without a proxy when LLM_PROXY_REQUIRED is %s", async (flag) => {
    vi.stubEnv("LLM_PROXY_REQUIRED", flag);

    for (const ask of [isLLMProxyEnabled, getLLMProxyURL, getLLMProxyBaseURL]) {
      expect(() => ask()).toThrow(expect.objectContaining({ code: "proxy_not_configured" }));
    }
    await expect(revokeVirtualKey("session-1")).rejects.toMatchObject({ code: "proxy_not_configured" });
  });
});
