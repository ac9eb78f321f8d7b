import { describe, expect, it } from "vitest";
import { parseLLMProxyConfig } from "./config.ts";

describe("parseLLMProxyConfig", () => {
  it.each([
    ["https://llm.example.com", "https://llm.example.com", "https://llm.example.com/v1"],
    ["https://llm.example.com/", "https://llm.example.com", "https://llm.example.com/v1"],
    ["https://llm.example.com/v1", "https://llm.example.com", "https://llm.example.com/v1"],
    ["https://llm.example.com/v1//", "https://llm.example.com", "https://llm.example.com/v1"],
    ["https://llm.example.com/v1/v1", "https://llm.example.com", "https://llm.example.com/v1"],
    ["https://example.com/llm/v1", "https://example.com/llm", "https://example.com/llm/v1"],
    ["https://example.com/apiv1", "https://example.com/apiv1", "https://example.com/apiv1/v1"],
    ["http://v1", "http://v1", "http://v1/v1"],
    ["http://v1/v1/", "http://v1", "http://v1/v1"],
  ])("takes %s as management root %s and base URL %s", (url, adminUrl, baseUrl) => {
    expect(parseLLMProxyConfig({ LLM_PROXY_URL: url })).toMatchObject({ adminUrl, baseUrl });
  });

  it("gives sandboxes the public URL and management the admin URL", () => {
    const config = parseLLMProxyConfig({
      LLM_PROXY_URL: "http://llm-proxy:4000/",
      LLM_PROXY_ADMIN_URL: "http://llm-proxy:4001/v1/",
      LLM_PROXY_PUBLIC_URL: "https://tunnel.example.com/",
      LLM_PROXY_MASTER_KEY: "sk-master",
      LLM_PROXY_KEY_DURATION: "168h",
    });

    expect(config).toEqual({
      url: "http://llm-proxy:4000",
      adminUrl: "http://llm-proxy:4001",
      baseUrl: "https://tunnel.example.com/v1",
      masterKey: "sk-master",
      keyDuration: "168h",
    });
  });

  it("is off when nothing is set, and an empty value is not set", () => {
    expect(parseLLMProxyConfig({ LLM_PROXY_URL: "", LLM_PROXY_REQUIRED: " " })).toEqual({ keyDuration: "24h" });
  });

  it("lets a key live as long as a sandbox where no duration is set", () => {
    expect(parseLLMProxyConfig({ SANDBOX_TIMEOUT_SECONDS: "5400" }).keyDuration).toBe("5400s");
    expect(parseLLMProxyConfig({ SANDBOX_TIMEOUT_SECONDS: "5400", LLM_PROXY_KEY_DURATION: "2h" }).keyDuration).toBe("2h");
    expect(() => parseLLMProxyConfig({ SANDBOX_TIMEOUT_SECONDS: "0" })).toThrow(
      expect.objectContaining({ code: "env_invalid", message: expect.stringContaining("SANDBOX_TIMEOUT_SECONDS") }),
    );
  });

  it.each(["30min", "24", "h", "1.5h", "-1", "0s", " 24h", "24H"])("refuses %j as a duration", (duration) => {
    expect(() => parseLLMProxyConfig({ LLM_PROXY_KEY_DURATION: duration })).toThrow(/LLM_PROXY_KEY_DURATION: must be a number and one of/);
  });

  it.each(["30s", "15m", "24h", "7d", "2w", "1mo"])("takes %s as a duration", (duration) => {
    expect(parseLLMProxyConfig({ LLM_PROXY_KEY_DURATION: duration }).keyDuration).toBe(duration);
  });

  it.each([
    "llm.example.com",
    "ftp://llm.example.com",
    "https://user:secret@llm.example.com",
    "https://llm.example.com?key=secret",
    "https://llm.example.com/v1#secret",
  ])("refuses %s as a URL by the name of the variable, without its value", (url) => {
    for (const name of ["LLM_PROXY_URL", "LLM_PROXY_ADMIN_URL", "LLM_PROXY_PUBLIC_URL"]) {
      expect(() => parseLLMProxyConfig({ [name]: url })).toThrow(
        expect.objectContaining({ code: "env_invalid", message: expect.stringContaining(name) }),
      );
      expect(() => parseLLMProxyConfig({ [name]: url })).not.toThrow(/secret|llm\.example\.com/);
    }
  });

  it("refuses a master key that could not stand in a header, without repeating it", () => {
    for (const key of ["sk-master\nkey", "sk master", "sk-mästér"]) {
      expect(() => parseLLMProxyConfig({ LLM_PROXY_MASTER_KEY: key })).toThrow(
        /^The environment is not usable: LLM_PROXY_MASTER_KEY: must be printable ASCII without spaces\.$/,
      );
    }
  });

  it("fails loudly when a proxy is required and none is set, and refuses a flag that is neither yes nor no", () => {
    expect(() => parseLLMProxyConfig({ LLM_PROXY_REQUIRED: "1" })).toThrow(expect.objectContaining({ code: "proxy_not_configured" }));
    expect(() => parseLLMProxyConfig({ LLM_PROXY_REQUIRED: "True" })).toThrow(expect.objectContaining({ code: "proxy_not_configured" }));
    expect(parseLLMProxyConfig({ LLM_PROXY_REQUIRED: "0" })).toEqual({ keyDuration: "24h" });
    expect(() => parseLLMProxyConfig({ LLM_PROXY_REQUIRED: "ture" })).toThrow(expect.objectContaining({ code: "env_invalid" }));
  });
});
