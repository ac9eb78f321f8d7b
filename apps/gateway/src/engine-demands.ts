import type { EngineDemand } from "@proliferate/services/engines";
import type { GatewayConfig } from "./env.ts";

/** What the settings ask of the engine. Whoever adds a setting that needs one adds its line. */
export function engineDemands({ billingGate }: Pick<GatewayConfig, "billingGate">): readonly EngineDemand[] {
  return [
    { setting: "LLM_PROXY_URL", feature: "mint_keys" },
    ...(billingGate === "enforce" ? [{ setting: "BILLING_GATE=enforce", feature: "key_budgets" } as const] : []),
  ];
}
