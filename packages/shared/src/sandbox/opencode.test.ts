import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { getOpencodeConfig, opencodeServeArguments } from "./opencode.ts";

const anyText = fc.string({
  unit: fc.oneof(
    fc.constantFrom('"', "\\", "\n", "\u2028", "\ud800", "${", "{env:X}", "é", "</script>"),
    fc.string({ minLength: 1, maxLength: 1 }),
  ),
});

describe("the forms of the guide", () => {
  it("are the proxy form to the letter", () => {
    expect(getOpencodeConfig("anthropic/claude-sonnet-4-5", "https://llm-proxy.fly.dev/v1")).toBe(`{
  "$schema": "https://opencode.ai/config.json",
  "model": "anthropic/claude-sonnet-4-5",
  "provider": {
    "anthropic": {
      "options": {
        "baseURL": "https://llm-proxy.fly.dev/v1"
      }
    }
  },
  "server": {
    "port": 4096,
    "hostname": "0.0.0.0"
  }
}`);
  });

  it("are the direct form, with nothing but the provider's name", () => {
    expect(JSON.parse(getOpencodeConfig("anthropic/claude-sonnet-4-5"))).toEqual({
      $schema: "https://opencode.ai/config.json",
      model: "anthropic/claude-sonnet-4-5",
      provider: { anthropic: {} },
    });
  });

  it("hold a key only when it is handed to them", () => {
    expect(JSON.parse(getOpencodeConfig("anthropic/claude-sonnet-4-5", undefined, "sk-explicit")).provider).toEqual({
      anthropic: { options: { apiKey: "sk-explicit" } },
    });
    expect(getOpencodeConfig("anthropic/claude-sonnet-4-5", "https://llm.example.com/v1")).not.toContain("apiKey");
  });

  it("are valid JSON that reads back as given, for any text", () => {
    fc.assert(
      fc.property(anyText, anyText, anyText, (model, url, key) => {
        const config = JSON.parse(getOpencodeConfig(model, url, key));
        expect(config.model).toBe(model);
        expect(config.provider.anthropic.options?.baseURL ?? "").toBe(url);
        expect(config.provider.anthropic.options?.apiKey ?? "").toBe(key);
      }),
    );
  });
});

describe("the full form", () => {
  const models = [
    {
      id: "anthropic/claude-sonnet-4-5",
      name: "Claude Sonnet 4.5",
      limit: { context: 200_000, output: 64_000 },
      cost: { input: "3", output: "15", cacheRead: "0.30", cacheWrite: "3.75" },
    },
    { id: "anthropic/claude-haiku-4-5" },
    { id: "openai/gpt-4o-mini", name: "GPT-4o mini" },
  ];

  it("lists the catalogue under the two providers that it enables, with prices as numbers", () => {
    const config = JSON.parse(
      getOpencodeConfig({
        model: "anthropic/claude-sonnet-4-5",
        smallModel: "anthropic/claude-haiku-4-5",
        baseUrl: "https://llm.example.com/v1",
        models,
      }),
    );

    expect(config.enabled_providers).toEqual(["anthropic", "openai-proxy"]);
    expect(config.provider.anthropic.models).toEqual({
      "claude-sonnet-4-5": {
        name: "Claude Sonnet 4.5",
        limit: { context: 200_000, output: 64_000 },
        cost: { input: 3, output: 15, cache_read: 0.3, cache_write: 3.75 },
      },
      "claude-haiku-4-5": { name: "anthropic/claude-haiku-4-5" },
    });
    expect(config.provider["openai-proxy"]).toMatchObject({
      npm: "@ai-sdk/openai-compatible",
      options: { baseURL: "https://llm.example.com/v1", apiKey: "{env:OPENAI_API_KEY}" },
      models: { "gpt-4o-mini": { name: "GPT-4o mini" } },
    });
  });

  it("turns off updates and sharing, and serves on all addresses unless told otherwise", () => {
    const config = JSON.parse(getOpencodeConfig({ model: "anthropic/claude-sonnet-4-5" }));

    expect(config).toMatchObject({ autoupdate: false, share: "disabled", server: { port: 4096, hostname: "0.0.0.0" } });
    expect(JSON.parse(getOpencodeConfig({ model: "anthropic/m", server: { port: 5000 } })).server).toEqual({
      port: 5000,
      hostname: "0.0.0.0",
    });
    expect(JSON.parse(getOpencodeConfig({ model: "anthropic/m", server: false }))).not.toHaveProperty("server");
  });

  it("uses the main model for titles when no small one is named, and lists both even without a catalogue", () => {
    const config = JSON.parse(getOpencodeConfig({ model: "openai/gpt-4o-mini" }));

    expect([config.model, config.small_model]).toEqual(["openai-proxy/gpt-4o-mini", "openai-proxy/gpt-4o-mini"]);
    expect(Object.keys(config.provider["openai-proxy"].models)).toEqual(["gpt-4o-mini"]);
    expect(config.enabled_providers).toEqual(["openai-proxy"]);
  });

  it("keeps the key out of the file unless it is handed over", () => {
    const options = { model: "anthropic/claude-sonnet-4-5", baseUrl: "https://llm.example.com/v1" };

    expect(getOpencodeConfig(options)).not.toContain("apiKey");
    expect(JSON.parse(getOpencodeConfig({ ...options, apiKey: "sk-explicit" })).provider.anthropic.options.apiKey).toBe("sk-explicit");
  });

  it("takes further keys, which cannot undo its own", () => {
    const config = JSON.parse(
      getOpencodeConfig({
        model: "anthropic/m",
        additional: { permission: { "*": "allow" }, share: "auto", enabled_providers: ["opencode"] },
      }),
    );

    expect(config).toMatchObject({ permission: { "*": "allow" }, share: "disabled", enabled_providers: ["anthropic"] });
  });

  it("refuses a model of another provider by its name", () => {
    for (const model of ["claude-sonnet-4-5", "gemini/pro", "anthropic/", ""]) {
      expect(() => getOpencodeConfig({ model })).toThrow(expect.objectContaining({ code: "invalid_request", param: "model" }));
    }
  });

  it("is valid JSON that reads back as given, for any text", () => {
    fc.assert(
      fc.property(anyText, anyText, anyText, (suffix, baseUrl, apiKey) => {
        const model = `anthropic/m${suffix}`;
        const config = JSON.parse(getOpencodeConfig({ model, baseUrl, apiKey, models: [{ id: "anthropic/__proto__", name: suffix }] }));
        expect(config.model).toBe(model);
        expect(config.provider.anthropic.options).toEqual({ baseURL: baseUrl, apiKey });
        expect(Object.keys(config.provider.anthropic.models).toSorted()).toEqual([`m${suffix}`, "__proto__"].toSorted());
      }),
    );
  });
});

it("serves on an address that the arguments name", () => {
  expect(opencodeServeArguments({ port: 5000, hostname: "127.0.0.1" })).toEqual(["serve", "--port", "5000", "--hostname", "127.0.0.1"]);
});
