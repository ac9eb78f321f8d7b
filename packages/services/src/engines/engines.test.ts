import { expect, test } from "vitest";
import { ENGINE_FEATURES, type EngineFeature, requireEngineFeatures } from "./engines.ts";

const all = (Object.keys(ENGINE_FEATURES) as EngineFeature[]).map((feature) => ({ setting: `ASK=${feature}`, feature }));

test("our engine can do all that stock LiteLLM can, and is refused what is not built yet", () => {
  const able = all.filter(({ feature }) => ENGINE_FEATURES[feature].ours);
  expect(() => requireEngineFeatures("ours", able)).not.toThrow();
  expect(all.filter(({ feature }) => ENGINE_FEATURES[feature].litellm && !ENGINE_FEATURES[feature].ours)).toEqual([]);
  expect(() => requireEngineFeatures("ours", [{ setting: "HUB=on", feature: "hub" }])).toThrow(/HUB=on \(hub\)/);
});

test("stock LiteLLM is asked for what it can do, and refused by name for each thing that it cannot", () => {
  const able = all.filter(({ feature }) => ENGINE_FEATURES[feature].litellm);
  expect(able.map(({ feature }) => feature)).toEqual(["mint_keys", "team_caps", "key_budgets", "own_keys_by_alias", "spend_rows"]);
  expect(() => requireEngineFeatures("litellm", able)).not.toThrow();

  expect(() =>
    requireEngineFeatures("litellm", [
      { setting: "BILLING_GATE=enforce", feature: "key_budgets" },
      { setting: "TIERS_FILE", feature: "request_limits" },
      { setting: "HUB=on", feature: "hub" },
    ]),
  ).toThrow(
    expect.objectContaining({
      code: "engine_lacks_feature",
      message: "LLM_PROXY_ENGINE is litellm, which cannot do what is asked of it: TIERS_FILE (request_limits), HUB=on (hub).",
    }),
  );
});
