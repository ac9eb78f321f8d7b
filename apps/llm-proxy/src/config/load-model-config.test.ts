import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { NO_USAGE, reportOf, type Usage } from "@proliferate/metering/usage";
import { type PricedReport, priceReport } from "@proliferate/metering/pricing";
import { showModel } from "../data-plane/models.ts";
import { daysLeft } from "../metrics/proxy-metrics.ts";
import { anthropicMessages } from "../dialects/anthropic-messages.ts";
import { anthropic } from "../providers/anthropic.ts";
import { loadModelConfig } from "./load-model-config.ts";
import { type Deployment, priceAt } from "./model-table.ts";

const committed = readFileSync(new URL("../../litellm/config.yaml", import.meta.url), "utf8");

function load(models: string, environment: Record<string, string> = {}): readonly Deployment[] {
  return loadModelConfig(`model_list:\n${models}`, environment, { file: "c.yaml" }).models.list();
}

const SONNET = "  - model_name: sonnet\n    litellm_params:\n      model: anthropic/claude-sonnet-5\n";

const withoutPrefix = (name: string): string => name.replace(/^(anthropic|openai|gemini)\//, "");

test("every committed model has both of its names, and both lead to the same place", () => {
  const { models } = loadModelConfig(committed, {});

  expect(models.list().length).toBeGreaterThan(40);
  for (const deployment of models.list()) {
    const plain = models.find(withoutPrefix(deployment.modelName));
    const prefixed = models.find(`${deployment.provider.name}/${withoutPrefix(deployment.modelName)}`);
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
  for (const { prices, priceId, provider, model } of models.list()) {
    expect(priceId.startsWith(`${provider.name}/`)).toBe(true);
    expect(models.requestPrices({ price_id: priceId, provider: provider.name, model, started_at: startedAt })?.own).toEqual(
      prices?.at(startedAt),
    );
  }
});

test("the models that agents ask for by themselves are there", () => {
  const { models } = loadModelConfig(committed, {});

  for (const name of ["anthropic/claude-sonnet-4-5", "claude-haiku-4-5-20251001", "claude-opus-5-5", "gpt-5.4-nano"])
    expect(models.find(name)).toBeDefined();
});

test("the committed settings are the seed's, and nothing in the file is ignored", () => {
  const config = loadModelConfig(committed, { LITELLM_MASTER_KEY: "sk-test-master", DATABASE_URL: "postgresql://h/d" });

  expect(config).toMatchObject({
    router: { retries: 2, retryAfterMs: 1_000, timeoutMs: 300_000 },
    masterKey: "sk-test-master",
    databaseUrl: "postgresql://h/d",
    ignoredSettings: [],
  });
});

test("a deployment takes key and base from the variables that the file names", () => {
  const [deployment] = load(`${SONNET}      api_key: os.environ/MY_KEY\n      api_base: os.environ/MY_BASE\n`, {
    MY_KEY: "sk-ant-1",
    MY_BASE: "http://127.0.0.1:9/proxy/v1/",
  });

  expect(deployment).toMatchObject({
    modelName: "sonnet",
    provider: anthropic,
    dialects: [anthropicMessages],
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

test("without api_base the provider's usual variable is used, as LiteLLM does", () => {
  expect(load(SONNET, { ANTHROPIC_API_BASE: "http://h:1/v1" })[0]?.apiBase).toBe("http://h:1");
  expect(load(SONNET, { OPENAI_API_BASE: "http://h:1/v1" })[0]?.apiBase).toBe("https://api.anthropic.com");
});

test("api_base is understood with and without /v1", () => {
  for (const base of ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]) {
    expect(load(`${SONNET}      api_base: ${base}\n`)[0]?.apiBase).toBe("http://h:1");
  }
});

test("rates in model_info are read from the text, exactly, and win over the list", () => {
  const [deployment] = load(
    `${SONNET}    model_info: { input_cost_per_token: 0.0000011, output_cost_per_token: 5.5e-06, max_output_tokens: 64000 }\n`,
  );

  expect(deployment).toMatchObject({ priceId: "config:sonnet", maxOutputTokens: 64_000 });
  expect(deployment?.prices?.at(new Date()).rates).toMatchObject({
    inputTokens: 1_100_000n,
    outputTokens: 5_500_000n,
    cacheReadTokens: 200_000n,
  });
});

test("an unlisted model is served at the price that the file gives, in litellm_params too", () => {
  const [deployment] = load(
    "  - model_name: own\n    litellm_params: { model: openai/own-7b, input_cost_per_token: 0.000001, output_cost_per_token: 0 }\n",
  );

  expect(deployment?.prices?.at(new Date()).rates).toMatchObject({
    inputTokens: 1_000_000n,
    cacheReadTokens: 1_000_000n,
    outputTokens: 0n,
  });
});

test("anchors and merge keys are followed, as in LiteLLM's parser", () => {
  const deployments = load(
    `  - model_name: a\n    litellm_params: &s { model: anthropic/claude-sonnet-5 }\n  - model_name: b\n    litellm_params: *s\n  - model_name: c\n    litellm_params: { <<: *s, api_key: k }\n`,
  );

  expect(deployments.map((deployment) => deployment.upstreamModel)).toEqual(Array.from({ length: 3 }, () => "claude-sonnet-5"));
  expect(deployments[2]?.apiKey).toBe("k");
});

test("settings without effect here are named with their place", () => {
  const config = loadModelConfig(
    `model_list:\n${SONNET}router_settings:\n  routing_strategy: simple-shuffle\nguardrails: []\n`,
    {},
    { file: "c.yaml" },
  );
  const model = loadModelConfig(
    `model_list:\n${SONNET}      drop_params: true\n    model_info: { mode: chat, input_cost_per_token: 1e-6, max_tokens: 9 }\n`,
    {},
    { file: "c.yaml" },
  );

  expect(config.ignoredSettings).toEqual(["c.yaml:7:13: guardrails", "c.yaml:6:21: router_settings.routing_strategy"]);
  expect(model.ignoredSettings).toEqual([
    "c.yaml:5:20: model_list[0].litellm_params.drop_params",
    "c.yaml:6:25: model_list[0].model_info.mode",
  ]);
});

test.each([
  ["litellm_settings: { max_budget: 10, budget_duration: 30d }", "litellm_settings.max_budget"],
  ["litellm_settings: { default_team_params: { max_budget: 1 } }", "litellm_settings.default_team_params.max_budget"],
  ["litellm_settings: { upperbound_key_generate_params: { tpm_limit: 1 } }", "litellm_settings.upperbound_key_generate_params.tpm_limit"],
  ["litellm_settings: { cost_margin_config: { openai: 0.5 } }", "litellm_settings.cost_margin_config"],
  ["litellm_settings: { cost_discount_config: { openai: 0.5 } }", "litellm_settings.cost_discount_config"],
  ["general_settings: { global_max_parallel_requests: 3 }", "general_settings.global_max_parallel_requests"],
  ["general_settings: { allowed_ips: [10.0.0.1] }", "general_settings.allowed_ips"],
  ["router_settings: { provider_budget_config: { openai: { budget_limit: 1 } } }", "router_settings.provider_budget_config"],
  ["    rpm: 3", "model_list[0].rpm"],
  ["    input_cost_per_token: 0.1", "model_list[0].input_cost_per_token"],
])("review 6: a limit or a price that is kept nowhere stops the start by its name: %s", (text, path) => {
  const read = (): unknown => loadModelConfig(`model_list:\n${SONNET}${text}\n`, {}, { file: "c.yaml" });

  expect(read).toThrow(`${path} is a limit or a price that is not kept where it stands`);
});

test("review 6: what is only named after money is ignored by its place", () => {
  const { ignoredSettings } = loadModelConfig(
    `model_list:\n${SONNET}litellm_settings: { include_cost_in_streaming_usage: true }\ngeneral_settings: { proxy_budget_rescheduler_min_time: 5 }\n`,
    {},
    { file: "c.yaml" },
  );

  expect(ignoredSettings).toHaveLength(2);
});

test.each([
  ["broken YAML", "model_list: [\n", /^c\.yaml:\d+:\d+: this is not YAML/],
  ["an empty file", "", /^c\.yaml:1:1: model_list is missing; list at least one model/],
  ["a list that is none", "model_list: sonnet\n", /^c\.yaml:1:13: model_list is not a list/],
  [
    "an entry without a name",
    "model_list:\n  - litellm_params: { model: anthropic/claude-sonnet-5 }\n",
    /^c\.yaml:2:5: model_list\[0\] has no model_name; add/,
  ],
  ["an entry without parameters", "model_list:\n  - model_name: x\n", /^c\.yaml:2:5: model_list\[0\] has no litellm_params/],
  [
    "a model without a provider",
    "model_list:\n  - model_name: x\n    litellm_params:\n      model: gpt-5.4\n",
    /^c\.yaml:4:14: model_list\[0\]\.litellm_params\.model "gpt-5\.4" does not name its provider; write anthropic\/gpt-5\.4.*openai\/gpt-5\.4/,
  ],
  [
    "a provider that is not served",
    "model_list:\n  - model_name: x\n    litellm_params: { model: bedrock/claude }\n",
    /^c\.yaml:3:30: .* only anthropic\/.*openai\/.* are served/,
  ],
  [
    "a pattern",
    'model_list:\n  - model_name: "anthropic/*"\n    litellm_params: { model: anthropic/* }\n',
    /^c\.yaml:2:17: .* is a pattern; name each model/,
  ],
  [
    "half a price",
    "model_list:\n  - model_name: x\n    litellm_params: { model: anthropic/claude-sonnet-9, input_cost_per_token: 0.000001 }\n",
    /^c\.yaml:2:5: model_list\[0\] \("x"\) has half a price: .* input_cost_per_token/,
  ],
  [
    "public bug 17: a price that is not understood",
    `model_list:\n${SONNET}    model_info:\n      input_cost_per_video_per_second: 0.1\n`,
    /^c\.yaml:6:40: model_list\[0\]\.model_info\.input_cost_per_video_per_second is a price that this engine does not know/,
  ],
  [
    "public bug F4: rpm of a deployment",
    `model_list:\n${SONNET}      rpm: 10\n`,
    /^c\.yaml:5:12: model_list\[0\]\.litellm_params\.rpm is a limit of a deployment/,
  ],
  ["public bug F4: tpm of a deployment", `model_list:\n${SONNET}      tpm: 10\n`, /litellm_params\.tpm is a limit of a deployment/],
  [
    "public bug F4: max_budget of a deployment",
    `model_list:\n${SONNET}      max_budget: 10\n`,
    /litellm_params\.max_budget is a limit of a deployment/,
  ],
  [
    "public bug F4: max_parallel_requests of a deployment",
    `model_list:\n${SONNET}      max_parallel_requests: 10\n`,
    /litellm_params\.max_parallel_requests is a limit of a deployment/,
  ],
  [
    "search fees that differ by size",
    `model_list:\n${SONNET}    model_info: { search_context_cost_per_query: { search_context_size_low: 0.01, search_context_size_high: 0.02 } }\n`,
    /different prices by size of context/,
  ],
  [
    "a multiplier that is unknown",
    `model_list:\n${SONNET}    model_info: { provider_specific_entry: { moon: 2 } }\n`,
    /provider_specific_entry\.moon is no multiplier/,
  ],
  [
    "a rate that is none",
    `model_list:\n${SONNET}    model_info:\n      input_cost_per_token: cheap\n`,
    /^c\.yaml:6:29: .*"cheap" is not a price; write USD as a decimal/,
  ],
  ["a base that is no URL", `model_list:\n${SONNET}      api_base: localhost:4000\n`, /^c\.yaml:5:17: .*api_base is not an http/],
  [
    "a number that is none",
    `model_list:\n${SONNET}router_settings: { num_retries: many }\n`,
    /^c\.yaml:5:33: router_settings\.num_retries "many" is not a whole number/,
  ],
  [
    "a reference without a name",
    `general_settings: { master_key: "os.environ/" }\nmodel_list:\n${SONNET}`,
    /^c\.yaml:1:33: general_settings\.master_key names no variable/,
  ],
])("%s is refused with its place and what to write", (_, yaml, message) => {
  expect(() => loadModelConfig(yaml, {}, { file: "c.yaml" })).toThrow(
    expect.objectContaining({ code: "config_invalid", message: expect.stringMatching(message) }),
  );
});

test("a model without a price is listed, unpriced, and its requests are refused by what sets one", () => {
  const { models } = loadModelConfig(
    "model_list:\n  - model_name: x\n    litellm_params: { model: anthropic/claude-sonnet-9 }\n",
    {},
    { file: "c.yaml" },
  );
  const deployment = models.find("x") as Deployment;

  expect(deployment).toMatchObject({ prices: undefined });
  expect(() => priceAt(deployment, new Date())).toThrow(
    expect.objectContaining({
      code: "model_unpriced",
      message: expect.stringMatching(/"x" has no price; set input_cost_per_token and output_cost_per_token in model_info of "x"/),
    }),
  );
});

const priceOf = (deployment: Deployment | undefined, usage: Partial<Usage>, modifiers = {}): PricedReport => {
  const own = priceAt(deployment as Deployment, new Date("2026-11-27T12:00:00Z"));
  return priceReport(
    { own, ofModel: () => undefined },
    { ...reportOf(NO_USAGE), parts: [{ model: undefined, usage: { ...NO_USAGE, ...usage }, modifiers }], uses: { webSearch: 1 } },
  );
};

test("public bug 15: tier keys of the config price a long prompt, cached input counting", () => {
  const info = [
    "input_cost_per_token: 1e-7, output_cost_per_token: 5e-7, cache_read_input_token_cost: 1e-8",
    "input_cost_per_token_above_100k_tokens: 5e-7, output_cost_per_token_above_100k_tokens: 2.5e-6, cache_read_input_token_cost_above_100k_tokens: 5e-8",
  ].join(", ");
  const [deployment] = load(
    `  - model_name: h\n    litellm_params: { model: anthropic/own-haiku }\n    model_info: { ${info}, search_context_cost_per_query: { search_context_size_medium: 0 } }\n`,
  );

  expect(priceOf(deployment, { inputTokens: 90_000, cacheReadTokens: 60_000, outputTokens: 1_000 })).toMatchObject({
    totalPicoUsd: 50_500_000_000n,
    unpriced: [],
  });
});

test("public bug 17: audio keys, service tiers and multipliers of the config are applied", () => {
  const info =
    "input_cost_per_token: 1e-6, output_cost_per_token: 2e-6, input_cost_per_audio_token: 3e-5, output_cost_per_audio_token: 6e-5, input_cost_per_token_priority: 4e-6, provider_specific_entry: { fast: 3 }";
  const [deployment] = load(
    `  - model_name: a\n    litellm_params: { model: openai/own-audio }\n    model_info: { ${info}, search_context_cost_per_query: { search_context_size_medium: 0.01 } }\n`,
  );
  const search = 10_000_000_000n;

  expect(priceOf(deployment, { audioInputTokens: 1_000, outputTokens: 100, audioOutputTokens: 10 })).toMatchObject({
    totalPicoUsd: 30_000_000_000n + 200_000_000n + 600_000_000n + search,
    toolPicoUsd: search,
    unpriced: [],
  });
  expect(priceOf(deployment, { inputTokens: 10, outputTokens: 10 }, { serviceTier: "priority" }).totalPicoUsd).toBe(60_000_000n + search);
  expect(priceOf(deployment, { inputTokens: 10, outputTokens: 10 }, { speed: "fast" }).totalPicoUsd).toBe(90_000_000n + search);
});

test("public bug 18: a deployment on a regional host of OpenAI costs a tenth more", () => {
  const [regional, other] = load(
    "  - model_name: r\n    litellm_params: { model: openai/gpt-5.4, api_base: https://eu.api.openai.com/v1 }\n  - model_name: o\n    litellm_params: { model: openai/gpt-5.4 }\n",
  );

  expect([regional, other].map((deployment) => priceOf(deployment, { inputTokens: 100_000 }).inputPicoUsd)).toEqual([
    275_000_000_000n,
    250_000_000_000n,
  ]);
  expect(regional?.priceId).toBe("openai/gpt-5.4*1.1");
});

test("clients F6: the provider's own names of a model are names of its deployment", () => {
  const { models } = loadModelConfig(committed, {});

  for (const id of ["claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101", "anthropic/claude-opus-4-5-20251101"])
    expect(models.find(id)?.upstreamModel).toBe(withoutPrefix(id));
  expect(models.find("claude-sonnet-4-5-20250930")).toBeUndefined();
});

test("public bug F5: this quarter's models are served and priced", () => {
  const { models } = loadModelConfig(committed, {});

  for (const id of ["claude-fable-5-2", "claude-sonnet-5-5", "claude-haiku-5-5", "gpt-6.1-sol", "gpt-6.1-terra"])
    expect(models.find(id)?.prices).toBeDefined();
});

test("every committed model says what it takes and answers at most", () => {
  const all = loadModelConfig(committed, {}).models.list();
  const embeddings = all.filter(({ upstreamModel }) => upstreamModel.startsWith("text-embedding-"));
  for (const { contextTokens, maxOutputTokens } of all.filter((model) => !embeddings.includes(model)))
    expect(contextTokens).toBeGreaterThan(maxOutputTokens as number);
  // These answer no tokens.
  for (const model of embeddings) expect(model).toMatchObject({ contextTokens: 8_192, maxOutputTokens: undefined });
});

test("a model that its provider stops to serve is named 30 days ahead", () => {
  const { models } = loadModelConfig(committed, {});
  const names = (day: string): readonly string[] => models.retiring(new Date(day)).map(({ modelName }) => modelName);

  expect(names("2026-10-30T12:00:00Z")).toEqual([]);
  expect(names("2026-10-31T12:00:00Z")).toContain("claude-sonnet-4-5");
});

test("money 11, 12: and how many days are left is told until it is taken out, also after its day; it is served all the while", () => {
  const { models } = loadModelConfig(committed, {});
  const left = (day: string): readonly number[] =>
    daysLeft(models, new Date(day)).flatMap(({ model, days }) => (model === "claude-sonnet-4-5" ? [days] : []));

  expect(["2026-10-30T12:00:00Z", "2026-11-27T23:59:59Z", "2026-11-30T00:00:00Z", "2026-12-02T12:00:00Z"].map(left)).toEqual([
    [],
    [3],
    [0],
    [-2],
  ]);
  expect(models.find("claude-sonnet-4-5")?.prices).toBeDefined();
  const shown = (id: string): object => showModel(models, { models: [], teamModels: [] } as never, anthropicMessages, id);
  expect(shown("claude-sonnet-4-5")).toMatchObject({ retires_on: "2026-11-30" });
  expect(shown("claude-sonnet-5")).not.toHaveProperty("retires_on");
});

test("a repeated name is refused with both places", () => {
  expect(() => load(SONNET + SONNET)).toThrow(/^c\.yaml:5:17: model_list\[1\]\.model_name "sonnet" is already defined at c\.yaml:2:17/);
});

test("no message contains a key or a base that the environment holds", () => {
  const secret = "sk-ant-secret-value";

  expect(() => load(`${SONNET}      api_base: os.environ/BASE\n`, { BASE: secret })).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining(secret) }),
  );
});

/** What the one model of a file is served in. */
const dialectsOf = (params: string, info = "{}"): readonly string[] =>
  loadModelConfig(`model_list: [{ model_name: m, litellm_params: { model: openai/gpt-5${params} }, model_info: ${info} }]`, {})
    .models.list()
    .flatMap(({ dialects }) => dialects.map(({ name }) => name));

test("issue 12: what a model is served in is what its provider speaks there, bounded by supported_endpoints, in the order of preference", () => {
  expect(dialectsOf("")).toEqual(["openai-responses", "openai-chat", "openai-embeddings"]);
  expect(dialectsOf(", api_base: 'https://example.com/v1'")).toEqual(["openai-chat", "openai-responses", "openai-embeddings"]);
  expect(dialectsOf("", "{ supported_endpoints: [/v1/chat/completions, /v1/batch, /v1/responses] }")).toEqual([
    "openai-chat",
    "openai-responses",
  ]);
  expect(() => dialectsOf("", "{ supported_endpoints: [/v1/messages] }")).toThrow(/supported_endpoints has none of \/v1\/responses/);
});
