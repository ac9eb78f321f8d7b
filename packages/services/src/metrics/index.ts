export { collectBillingChecks, collectBillingLags } from "./billing-metrics.ts";
