import { expect, test } from "vitest";
import { loadModelConfig } from "../config/load-model-config.ts";
import { anthropicMessages } from "../dialects/anthropic-messages.ts";
import { openaiChat } from "../dialects/openai-chat.ts";
import { openaiEmbeddings } from "../dialects/openai-embeddings.ts";
import { Catalogue } from "./catalogue.ts";
import type { CatalogueSource } from "./source.ts";

const source = (name: string, models: readonly string[], key: string, teamId?: string): CatalogueSource => ({
  name,
  ...(teamId !== undefined && { teamId }),
  deployments: loadModelConfig(
    `model_list:\n${models.map((model) => `  - { model_name: ${model}, litellm_params: { model: anthropic/${model}, api_key: ${key} } }\n`).join("")}`,
    {},
  ).models.list(),
});
const FILE = source("litellm/config.yaml", ["claude-sonnet-5", "claude-haiku-4-5"], "shared");
const WORKSPACE = source("workspace ws_1", ["claude-sonnet-5"], "own", "ws_1");
const keys = (catalogue: Catalogue, teamId: string | null, model: string): readonly string[] =>
  catalogue.current.resolve({ teamId }, model, anthropicMessages).map(({ apiKey }) => apiKey);

test("a model is served by the team's own deployment first, then by everybody's; to others by everybody's alone", () => {
  const catalogue = new Catalogue([FILE, WORKSPACE]);

  expect(keys(catalogue, "ws_1", "claude-sonnet-5")).toEqual(["own", "shared"]);
  expect(keys(catalogue, "ws_1", "claude-haiku-4-5")).toEqual(["shared"]);
  expect(keys(catalogue, "ws_2", "claude-sonnet-5")).toEqual(["shared"]);
  expect(keys(catalogue, null, "claude-sonnet-5")).toEqual(["shared"]);
  expect(
    catalogue.current
      .modelsFor({ teamId: "ws_1" })
      .list()
      .map(({ modelName, apiKey }) => `${modelName} ${apiKey}`),
  ).toEqual(["claude-sonnet-5 own", "claude-haiku-4-5 shared"]);
});

test("the same id in two sources of the same callers is refused, and both are named", () => {
  const twice = /"claude-haiku-4-5" is in litellm\/config.yaml and in the credentials file; remove it from one/;

  expect(() => new Catalogue([FILE, source("the credentials file", ["claude-haiku-4-5"], "k")])).toThrow(twice);
});

test("a swap changes the whole or nothing, and not what a request has taken", () => {
  const catalogue = new Catalogue([FILE]);
  const taken = catalogue.current;
  catalogue.swap([WORKSPACE]);

  expect(() => keys(catalogue, "ws_2", "claude-sonnet-5")).toThrow(expect.objectContaining({ code: "model_not_found" }));
  expect(taken.resolve({ teamId: "ws_2" }, "claude-sonnet-5", anthropicMessages)).toHaveLength(1);
  expect(catalogue.version).toBe(2);

  const current = catalogue.current;
  expect(() => catalogue.swap([FILE, FILE])).toThrow(/remove it from one of them/);
  expect([catalogue.current, catalogue.version]).toEqual([current, 2]);
});

test("what is not served says why: no such model, another route, no key", () => {
  const { current } = new Catalogue(
    [{ ...FILE, deployments: FILE.deployments.map((deployment) => ({ ...deployment, apiKey: undefined, apiKeyVariable: "MY_KEY" })) }],
    { translates: false },
  );
  const resolve =
    (model: string, dialect = anthropicMessages) =>
    () =>
      current.resolve({ teamId: null }, model, dialect);

  expect(resolve("claude-1")).toThrow(expect.objectContaining({ code: "model_not_found" }));
  expect(resolve("claude-sonnet-5", openaiChat)).toThrow('Model "claude-sonnet-5" is served on /v1/messages, not on /v1/chat/completions.');
  expect(resolve("claude-sonnet-5")).toThrow(/MY_KEY is not set/);
});

test("a model of another dialect is served in its own where both are translated, and a caller's own dialect is never left", () => {
  const { current } = new Catalogue([FILE]);
  const served = (dialect: typeof openaiChat): readonly string[] =>
    current.resolve({ teamId: null }, "claude-sonnet-5", dialect).map((routed) => routed.dialect.name);

  expect([served(openaiChat), served(anthropicMessages)]).toEqual([["anthropic-messages"], ["anthropic-messages"]]);
  expect(() => served(openaiEmbeddings)).toThrow(expect.objectContaining({ code: "model_dialect_mismatch" }));
});
