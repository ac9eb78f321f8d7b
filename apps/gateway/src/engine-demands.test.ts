import { requireEngineFeatures } from "@proliferate/services/engines";
import { expect, test } from "vitest";
import { engineDemands } from "./engine-demands.ts";

test("whatever the settings of today ask for, both engines can do", () => {
  const demands = engineDemands({ billingGate: "enforce" });

  expect(demands.map(({ setting }) => setting)).toEqual(["LLM_PROXY_URL", "BILLING_GATE=enforce"]);
  expect(() => requireEngineFeatures("litellm", demands)).not.toThrow();
  expect(() => requireEngineFeatures("ours", demands)).not.toThrow();
});
