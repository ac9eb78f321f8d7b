import { readClock } from "@proliferate/access/requests";
import type { DatabaseClient } from "@proliferate/db";
import { type Lifecycle, type Logger, type LoopOptions, startLoop } from "@proliferate/runtime";
import { FindingSeal } from "./finding-seal.ts";
import { LimitMemory } from "./limit-memory.ts";
import type { FindingSource } from "./remembered-findings.ts";
import { SharedFindings } from "./shared-findings.ts";

interface OpenLimitMemoryOptions {
  readonly redisUrl: string;
  readonly db: DatabaseClient;
  /** As this process reaches the database; proxies that reach it otherwise share nothing with this one. */
  readonly connectionString: string;
  readonly masterKey: string;
  readonly lifecycle: Lifecycle;
  readonly logger: Logger;
  readonly metrics: {
    readonly registry: LoopOptions["registry"];
    refusedFromMemory(source: FindingSource): void;
    /** Told once what the gauge looks at. */
    watchLimitMemory(state: { isConnected(): boolean }): void;
  };
}

const CLOCK_EVERY_MS = 10_000;

/** Opens what remembers used-up limits; `lifecycle` ends it. Whether Redis is there makes no difference to any answer. */
export function openLimitMemory({
  redisUrl,
  db,
  connectionString,
  masterKey,
  lifecycle,
  logger,
  metrics,
}: OpenLimitMemoryOptions): LimitMemory {
  const seal = new FindingSeal({ masterKey, database: connectionString });
  const shared = lifecycle.own("limits redis", new SharedFindings({ redisUrl, seal, logger }));
  const memory = new LimitMemory({ shared, metrics });
  const readStoreClock = async (): Promise<void> => {
    const atMs = performance.now();
    memory.noteClock(await readClock(db), atMs);
  };
  lifecycle.own(
    "store clock",
    startLoop("store_clock", CLOCK_EVERY_MS, readStoreClock, {
      onError: (error) => logger.warn({ error: String(error) }, "store_clock.not_read"),
      ...(metrics.registry && { registry: metrics.registry }),
    }),
  );
  metrics.watchLimitMemory({ isConnected: () => shared.isConnected });
  return memory;
}
