import { describe, expect, it } from "vitest";
import { buildSandboxEnv } from "./environment.ts";

const access = { sessionId: "session-1", orgId: "org-1", apiKey: "sk-virtual", baseUrl: "https://llm.example.com/v1" };

describe("buildSandboxEnv", () => {
  it("gives the virtual key and the base URL to every client that an agent may use", () => {
    expect(
      buildSandboxEnv({ ...access, opencodeServerPassword: "password", organizationSecrets: { DATABASE_PASSWORD: "secret" } }),
    ).toEqual({
      SESSION_ID: "session-1",
      ORG_ID: "org-1",
      LLM_PROXY_API_KEY: "sk-virtual",
      ANTHROPIC_API_KEY: "sk-virtual",
      ANTHROPIC_BASE_URL: "https://llm.example.com/v1",
      OPENAI_API_KEY: "sk-virtual",
      OPENAI_BASE_URL: "https://llm.example.com/v1",
      OPENCODE_SERVER_PASSWORD: "password",
      OPENCODE_DISABLE_AUTOUPDATE: "true",
      OPENCODE_DISABLE_DEFAULT_PLUGINS: "true",
      DATABASE_PASSWORD: "secret",
    });
  });

  it("makes another password for every sandbox that is given none", () => {
    const passwords = [buildSandboxEnv(access), buildSandboxEnv(access)].map((environment) => environment["OPENCODE_SERVER_PASSWORD"]);

    expect(passwords[0]).toMatch(/^[\w-]{43}$/);
    expect(passwords[0]).not.toBe(passwords[1]);
  });

  it.each(["sk-ant-api03-secret", "sk-proj-secret", "sk-svcacct-secret"])(
    "refuses the provider key %s in place of the virtual key, without repeating it",
    (apiKey) => {
      expect(() => buildSandboxEnv({ ...access, apiKey })).toThrow(expect.objectContaining({ code: "provider_key_exposure" }));
      expect(() => buildSandboxEnv({ ...access, apiKey })).not.toThrow(/secret/);
    },
  );

  it("lets provider keys in only when the unsafe option is set", () => {
    const direct = { sessionId: "session-1", orgId: "org-1", unsafeDirectProviderKeys: { ANTHROPIC_API_KEY: "sk-ant-key" } };

    expect(() => buildSandboxEnv(direct)).toThrow(expect.objectContaining({ code: "provider_key_exposure" }));
    expect(() => buildSandboxEnv({ ...access, ...direct })).toThrow(expect.objectContaining({ code: "provider_key_exposure" }));
    expect(() => buildSandboxEnv({ sessionId: "session-1", orgId: "org-1" })).toThrow(
      expect.objectContaining({ code: "provider_key_exposure" }),
    );
    const environment = buildSandboxEnv({ ...direct, unsafeAllowProviderKeys: true });
    expect(environment).toMatchObject({ ANTHROPIC_API_KEY: "sk-ant-key" });
    expect(environment).not.toHaveProperty("ANTHROPIC_BASE_URL");
  });

  it.each([
    "LLM_PROXY_API_KEY",
    "LLM_PROXY_MASTER_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "OPENAI_BASE_URL",
    "OPENCODE_SERVER_PASSWORD",
    "OPENCODE_CONFIG_CONTENT",
    "SESSION_ID",
  ])("refuses an organization secret named %s", (name) => {
    expect(() => buildSandboxEnv({ ...access, organizationSecrets: { [name]: "value" } })).toThrow(
      expect.objectContaining({ code: "reserved_variable", message: expect.stringContaining(name) }),
    );
  });

  it("says so when a secret with a reserved name is a provider key", () => {
    expect(() => buildSandboxEnv({ ...access, organizationSecrets: { ANTHROPIC_API_KEY: "sk-ant-secret" } })).toThrow(
      expect.objectContaining({ code: "provider_key_exposure", param: "ANTHROPIC_API_KEY" }),
    );
  });

  it.each([
    ["1NAME", "value"],
    ["A=B", "value"],
    ["", "value"],
    ["NAME", "a\0b"],
  ])("refuses what cannot be a variable: %j", (name, value) => {
    expect(() => buildSandboxEnv({ ...access, organizationSecrets: { [name]: value } })).toThrow(
      expect.objectContaining({ code: "invalid_request" }),
    );
  });

  it("refuses a virtual key without a base URL, as the agent would send it to the provider", () => {
    const { baseUrl: _baseUrl, ...withoutUrl } = access;

    expect(() => buildSandboxEnv(withoutUrl)).toThrow(expect.objectContaining({ code: "invalid_request", param: "baseUrl" }));
  });
});
