import { type DatabaseClient, type DatabaseOptions, openDatabase, takesWrites } from "@proliferate/db";
import type { Lifecycle, Logger, LoopOptions } from "@proliferate/runtime";
import type { AttemptOutcome, SpooledAttempt } from "@proliferate/access/requests";
import { AppError } from "@proliferate/shared/errors";
import { Grace, type GraceRefusal, type GraceSettings } from "./grace.ts";
import { KnownCallers } from "./known-callers.ts";
import { Replay } from "./replay.ts";
import { prepareSpoolFolder, Spool } from "./spool.ts";
import { StoreWatch } from "./store-watch.ts";

interface OpenGraceOptions {
  readonly settings: GraceSettings;
  readonly db: DatabaseClient;
  readonly database: DatabaseOptions;
  readonly instanceId: number;
  readonly lifecycle: Lifecycle;
  readonly logger: Logger;
  /** Told when what requests hold was given back. */
  readonly onReleased: (attempt: SpooledAttempt) => void;
  readonly outcomeOfDead: (attempt: SpooledAttempt) => AttemptOutcome;
  readonly metrics: {
    readonly registry: LoopOptions["registry"];
    graceAdmitted(): void;
    graceRefused(reason: GraceRefusal): void;
    spoolReplayed(): void;
    /** Told once what the gauges look at. */
    watchGrace(state: GraceState): void;
  };
}

/** What an operator sees of it. */
export interface GraceState {
  isAbsent(): boolean;
  knownKeys(): number;
  knownPaths(): number;
  spooledRequests(): number;
  spooledBytes(): number;
}

/**
 * Opens all that serves known keys while the store is away, and puts on record what dead processes left in the spool. Throws
 * `spool_unusable` where no file can be kept in the folder.
 */
export async function openGrace(options: OpenGraceOptions): Promise<Grace> {
  const { settings, db, instanceId, lifecycle, logger, metrics } = options;
  await prepareSpoolFolder(settings.spoolFolder).catch((error: unknown) => {
    throw new AppError("spool_unusable", `No file can be kept in STORE_SPOOL_DIR: ${(error as Error).message}`, { cause: error });
  });
  // On one connection of its own, which no statement of a request holds.
  const probe = openDatabase({ ...options.database, maxConnections: 1, applicationName: "llm-proxy store watch" });
  lifecycle.own("store probe", { stop: () => probe.destroy() });
  const spool = new Spool({ folder: settings.spoolFolder, instanceId, mostBytes: settings.spoolBytes, logger });
  const watch: StoreWatch = lifecycle.own(
    "store watch",
    new StoreWatch({ probe: () => takesWrites(probe), logger, onReturn: () => void replay.own() }),
  );
  const isStoreAbsent = (): boolean => watch.isAbsent;
  const known = lifecycle.own("known callers", new KnownCallers({ db, logger, knownMs: settings.knownMs, isStoreAbsent }));
  const grace: Grace = new Grace({ db, settings, watch, known, spool, logger, metrics, onSettled: () => void replay.own() });
  const onRecorded = (attempt: SpooledAttempt): void => {
    known.touched(attempt.key_hash, attempt.model_group);
    options.onReleased(attempt);
  };
  lifecycle.own("spool", grace);
  const replay: Replay = lifecycle.own(
    "spool replay",
    new Replay({
      db,
      spool,
      folder: settings.spoolFolder,
      instanceId,
      logger,
      isStoreAbsent,
      onFailure: (error) => grace.suspect(error),
      onRecorded,
      outcomeOfDead: options.outcomeOfDead,
      metrics,
      registry: metrics.registry,
    }),
  );
  metrics.watchGrace({
    isAbsent: isStoreAbsent,
    knownKeys: () => known.size,
    knownPaths: () => known.pathCount,
    spooledRequests: () => spool.requests,
    spooledBytes: () => spool.bytes,
  });
  // What cannot be put on record now is tried again every 10 s.
  await replay.left().catch((error: unknown) => logger.error({ error: String(error) }, "spool.replay_failed"));
  logger.info({ folder: settings.spoolFolder, mostMs: settings.mostMs, mostUsdPerKey: settings.mostUsdPerKey }, "grace.ready");
  return grace;
}
