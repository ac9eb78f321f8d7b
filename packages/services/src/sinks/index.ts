export type { AutumnSubscription } from "./autumn/autumn-client.ts";
export { type SinkCheck, examineAutumn } from "./autumn/autumn-doctor.ts";
export { classifyAutumnError } from "./autumn/autumn-errors.ts";
export { isStatedAs, isWithinNoise, noiseOfSum } from "./autumn/autumn-precision.ts";
export { type AutumnSinkOptions, createAutumnSink, openAutumn } from "./autumn/autumn.ts";
export { customerIdForOrg, orgIdFromCustomerId } from "./autumn/customer-id.ts";
export { decimalFromJsonNumber } from "./autumn/json-number.ts";
export { createSinkFromSettings } from "./create-sink.ts";
export { readSinkCustomers } from "./db.ts";
export { MAPPED_SINKS, type MappedCustomer, mapCustomer } from "./map-customer.ts";
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
export { SINK_ENVIRONMENT, type SinkSettings, parseOptionalSinkSettings, parseSinkSettings } from "./sink-settings.ts";
