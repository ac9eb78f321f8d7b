export type { AutumnSubscription } from "./autumn/autumn-client.ts";
export { examineAutumn, type SinkCheck } from "./autumn/autumn-doctor.ts";
export { classifyAutumnError } from "./autumn/autumn-errors.ts";
export { isStatedAs, isWithinNoise, noiseOfSum } from "./autumn/autumn-precision.ts";
export { type AutumnSinkOptions, createAutumnSink, openAutumn } from "./autumn/autumn.ts";
export { customerIdForOrg, orgIdFromCustomerId } from "./autumn/customer-id.ts";
export { decimalFromJsonNumber } from "./autumn/json-number.ts";
export { createSinkFromSettings } from "./create-sink.ts";
export { readSinkCustomers } from "./db.ts";
export { mapCustomer, MAPPED_SINKS, type MappedCustomer } from "./map-customer.ts";
export { NO_BALANCE } from "./port/no-balance.ts";
export type {
  Delivery,
  DeliveryOutcome,
  ModelUsage,
  RecordedDeduction,
  RecordedUsage,
  SettlementLedgerView,
  SettlementSink,
} from "./port/sink.ts";
export { parseOptionalSinkSettings, parseSinkSettings, SINK_ENVIRONMENT, type SinkSettings } from "./sink-settings.ts";
