import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { loadModelConfig } from "./load-model-config.ts";
import type { Deployment } from "./model-table.ts";

const committed = readFileSync(new URL("../../litellm/config.yaml", import.meta.url), "utf8");

function load(models: string, environment: Record<string, string> = {}): readonly Deployment[] {
  return loadModelConfig(`model_list:\n${models}`, environment, { file: "c.yaml" }).models.list();
}

const SONNET = "  - model_name: sonnet\n    litellm_params:\n      model: anthropic/claude-sonnet-5\n";

const withoutPrefix = (name: string): string => name.replace(/^(anthropic|openai)\//, "");

test("every committed model has both of its names, and both lead to the same place", () => {
  const { models } = loadModelConfig(committed, {});

  expect(models.list().length).toBeGreaterThan(40);
  for (const deployment of models.list()) {
    const plain = models.find(withoutPrefix(deployment.modelName));
    const prefixed = models.find(`${deployment.provider}/${withoutPrefix(deployment.modelName)}`);
    expect({ ...plain, modelName: "" }).toEqual({ ...prefixed, modelName: "" });
  }
});

test("no committed name serves another generation: it is the upstream model, or that without its date", () => {
  for (const { modelName, upstreamModel } of loadModelConfig(committed, {}).models.list()) {
    const undated = upstreamModel.replace(/-\d{8}$/, "");
    expect([upstreamModel, undated]).toContain(withoutPrefix(modelName));
  }
});

test("every committed model has a list price, and it can be found again by its id", () => {
  const { models } = loadModelConfig(committed, {});

  const startedAt = new Date();
  for (const { prices, priceId, provider } of models.list()) {
    expect(priceId.startsWith(`${provider}/`)).toBe(true);
    expect(models.requestPrices({ price_id: priceId, provider, started_at: startedAt })?.own).toEqual(prices?.at(startedAt));
  }
});

test("the models that agents ask for by themselves are there", () => {
  const { models } = loadModelConfig(committed, {});

  for (const name of ["anthropic/claude-sonnet-4-5", "claude-haiku-4-5-20251001", "claude-opus-5-5", "gpt-5.4-nano"]) expect(models.find(name)).toBeDefined();
});

test("the committed settings are the seed's, and nothing in the file is ignored", () => {
  const config = loadModelConfig(committed, { LITELLM_MASTER_KEY: "sk-test-master", DATABASE_URL: "postgresql://h/d" });

  expect(config).toMatchObject({ router: { retries: 2, retryAfterMs: 1_000, timeoutMs: 300_000 }, masterKey: "sk-test-master", databaseUrl: "postgresql://h/d", ignoredSettings: [] });
});

test("a deployment takes key and base from the variables that the file names", () => {
  const [deployment] = load(`${SONNET}      api_key: os.environ/MY_KEY\n      api_base: os.environ/MY_BASE\n`, { MY_KEY: "sk-ant-1", MY_BASE: "http://127.0.0.1:9/proxy/v1/" });

  expect(deployment).toMatchObject({
    modelName: "sonnet",
    provider: "anthropic",
    model: "anthropic/claude-sonnet-5",
    upstreamModel: "claude-sonnet-5",
    apiKey: "sk-ant-1",
    apiKeyVariable: "MY_KEY",
    apiBase: "http://127.0.0.1:9/proxy",
    priceId: "anthropic/claude-sonnet-5",
  });
});

test("a variable that is not set is remembered by name, and the base falls back to the provider's own", () => {
  const [deployment] = load(`${SONNET}      api_key: os.environ/MY_KEY\n      api_base: os.environ/MY_BASE\n`, { MY_KEY: " " });

  expect(deployment).toMatchObject({ apiKey: undefined, apiKeyVariable: "MY_KEY", apiBase: "https://api.anthropic.com" });
});

test("without api_key the provider's usual variable is used, as LiteLLM does", () => {
  expect(load(SONNET, { ANTHROPIC_API_KEY: "sk-ant-2" })[0]).toMatchObject({ apiKey: "sk-ant-2", apiKeyVariable: "ANTHROPIC_API_KEY" });
});

test("api_base is understood with and without /v1", () => {
  for (const base of ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]) {
    expect(load(`${SONNET}      api_base: ${base}\n`)[0]?.apiBase).toBe("http://h:1");
  }
});

test("rates in model_info are read from the text, exactly, and win over the list", () => {
  const [deployment] = load(`${SONNET}    model_info: { input_cost_per_token: 0.0000011, output_cost_per_token: 5.5e-06, max_output_tokens: 64000 }\n`);

  expect(deployment).toMatchObject({ priceId: "config:sonnet", maxOutputTokens: 64_000 });
  expect(deployment?.prices?.at(new Date()).rates).toMatchObject({ inputTokens: 1_100_000n, outputTokens: 5_500_000n, cacheReadTokens: 200_000n });
});

test("an unlisted model is served at the price that the file gives, in litellm_params too", () => {
  const [deployment] = load("  - model_name: own\n    litellm_params: { model: openai/own-7b, input_cost_per_token: 0.000001, output_cost_per_token: 0 }\n");

  expect(deployment?.prices?.at(new Date()).rates).toMatchObject({ inputTokens: 1_000_000n, cacheReadTokens: 1_000_000n, outputTokens: 0n });
});

test("anchors and merge keys are followed, as in LiteLLM's parser", () => {
  const deployments = load(`  - model_name: a\n    litellm_params: &s { model: anthropic/claude-sonnet-5 }\n  - model_name: b\n    litellm_params: *s\n  - model_name: c\n    litellm_params: { <<: *s, api_key: k }\n`);

  expect(deployments.map((deployment) => deployment.upstreamModel)).toEqual(Array.from({ length: 3 }, () => "claude-sonnet-5"));
  expect(deployments[2]?.apiKey).toBe("k");
});

test("settings without effect here are named with their place", () => {
  const config = loadModelConfig(`model_list:\n${SONNET}router_settings:\n  routing_strategy: simple-shuffle\nguardrails: []\n`, {}, { file: "c.yaml" });

  expect(config.ignoredSettings).toEqual(["c.yaml:7:13: guardrails", "c.yaml:6:21: router_settings.routing_strategy"]);
});

test.each([
  ["broken YAML", "model_list: [\n", /^c\.yaml:\d+:\d+: this is not YAML/],
  ["an empty file", "", /^c\.yaml:1:1: model_list is missing; list at least one model/],
  ["a list that is none", "model_list: sonnet\n", /^c\.yaml:1:13: model_list is not a list/],
  ["an entry without a name", "model_list:\n  - litellm_params: { model: anthropic/claude-sonnet-5 }\n", /^c\.yaml:2:5: model_list\[0\] has no model_name; add/],
  ["an entry without parameters", "model_list:\n  - model_name: x\n", /^c\.yaml:2:5: model_list\[0\] has no litellm_params/],
  ["a model without a provider", "model_list:\n  - model_name: x\n    litellm_params:\n      model: gpt-5.4\n", /^c\.yaml:4:14: model_list\[0\]\.litellm_params\.model "gpt-5\.4" does not name its provider; write anthropic\/gpt-5\.4 or openai\/gpt-5\.4/],
  ["a provider that is not served", "model_list:\n  - model_name: x\n    litellm_params: { model: bedrock/claude }\n", /^c\.yaml:3:30: .* only anthropic\/ and openai\/ are served/],
  ["a pattern", 'model_list:\n  - model_name: "anthropic/*"\n    litellm_params: { model: anthropic/* }\n', /^c\.yaml:2:17: .* is a pattern; name each model/],
  ["a model without a price", "model_list:\n  - model_name: x\n    litellm_params: { model: anthropic/claude-sonnet-9 }\n", /^c\.yaml:2:5: model_list\[0\] \("x"\) has no price: anthropic\/claude-sonnet-9 .* input_cost_per_token/],
  ["a rate that is none", `model_list:\n${SONNET}    model_info:\n      input_cost_per_token: cheap\n`, /^c\.yaml:6:29: .*"cheap" is not a price; write USD per token/],
  ["a base that is no URL", `model_list:\n${SONNET}      api_base: localhost:4000\n`, /^c\.yaml:5:17: .*api_base is not an http/],
  ["a number that is none", `model_list:\n${SONNET}router_settings: { num_retries: many }\n`, /^c\.yaml:5:33: router_settings\.num_retries "many" is not a whole number/],
  ["a reference without a name", `general_settings: { master_key: "os.environ/" }\nmodel_list:\n${SONNET}`, /^c\.yaml:1:33: general_settings\.master_key names no variable/],
])("%s is refused with its place and what to write", (_, yaml, message) => {
  expect(() => loadModelConfig(yaml, {}, { file: "c.yaml" })).toThrow(expect.objectContaining({ code: "config_invalid", message: expect.stringMatching(message) }));
});

test("a repeated name is refused with both places", () => {
  expect(() => load(SONNET + SONNET)).toThrow(/^c\.yaml:5:17: model_list\[1\]\.model_name "sonnet" is already defined at c\.yaml:2:17/);
});

test("no message contains a key or a base that the environment holds", () => {
  const secret = "sk-ant-secret-value";

  expect(() => load(`${SONNET}      api_base: os.environ/BASE\n`, { BASE: secret })).toThrow(expect.objectContaining({ message: expect.not.stringContaining(secret) }));
});
