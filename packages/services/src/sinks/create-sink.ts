import type { DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { createAutumnSink } from "./autumn/autumn.ts";
import type { SettlementSink } from "./port/sink.ts";
import { findSinkCustomer, recordShadowResult } from "./db.ts";
import { createJsonLinesSink } from "./json-lines.ts";
import { createShadowedSink } from "./shadow.ts";
import type { SinkName, SinkSettings } from "./sink-settings.ts";
import { createStripeSink } from "./stripe.ts";

/** The sink that the settings choose, its shadow beside it where there is one. Makes no call. */
export function createSinkFromSettings(
  db: DatabaseExecutor,
  settings: SinkSettings,
  onShadowError?: (error: unknown) => void,
): SettlementSink {
  const primary = createNamedSink(db, settings, settings.sink);
  if (settings.shadow === undefined) return primary;
  return createShadowedSink({
    primary,
    shadow: createNamedSink(db, settings, settings.shadow),
    record: async (result) => recordShadowResult(db, result),
    ...(onShadowError && { onError: onShadowError }),
  });
}

function createNamedSink(db: DatabaseExecutor, settings: SinkSettings, name: SinkName): SettlementSink {
  if (name === "autumn" && settings.autumn) return createAutumnSink(settings.autumn);
  if (name === "stripe" && settings.stripe)
    return createStripeSink({ ...settings.stripe, findCustomerId: async (orgId) => findSinkCustomer(db, "stripe", orgId) });
  if (name === "jsonl" && settings.file !== undefined) return createJsonLinesSink(settings.file);
  throw new AppError("env_invalid", `The environment is not usable: the sink ${name} is chosen, but not set up.`);
}
