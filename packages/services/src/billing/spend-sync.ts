import { type DatabaseClient, type DatabaseExecutor, isTableMissing, isUniqueViolation } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import {
  adjustByCorrectionRows,
  adjustChangedRows,
  type AdjustmentChunk,
  adjustOriginalsOfCorrections,
  beginSweep,
  countDifferences,
  endSweep,
  findMonthEnd,
  lockIngest,
  quarantineRetiredChanges,
  readOldestStart,
  readSourceMark,
  type SourceRange,
  watchSourceRetention,
  writeSweepPosition,
} from "../ledger/index.ts";
import type { RateCard } from "../rates/index.ts";
import {
  areRequestIdsUnique,
  findChunkEnd,
  type IngestChunk,
  ingestSpendRows,
  readEngineMark,
  readLookBackStart,
  spellMark,
} from "./db.ts";
import { readMark, writeMark } from "../passes/index.ts";
import { quarantineSpendRows, resolveReviews } from "../reviews/index.ts";

interface SpendSyncOptions {
  /** Of rows that no rate card covers. */
  readonly rate: RateCard;
  /** How far back rows are looked for, by the start of their request. Default 24 h. */
  readonly lookBackMs?: number;
  /** Reads the whole table, too: rows of any age. Default false. */
  readonly fullSweep?: boolean;
  /** Spend rows in one statement; more only where that many began in one millisecond. Default 10,000. */
  readonly chunkRows?: number;
  /** Called between two statements; a test throws here to be a crash. */
  readonly onStep?: (step: SpendSyncStep) => void;
}

type SpendSyncStep = "ingested" | "adjusted" | "quarantined" | "resolved";

export interface SpendSyncResult {
  /** Events made, adjustments included. */
  readonly events: number;
  readonly credits: DecimalText;
  readonly adjustments: number;
  /** Rows put in review by this pass, and reviews that it could close. Anomalies that were billed all the same are not counted. */
  readonly reviews: number;
  readonly resolvedReviews: number;
}

const DEFAULT_LOOK_BACK_MS = 24 * 60 * 60 * 1_000;
const DEFAULT_CHUNK_ROWS = 10_000;
/** Chunks of a sweep between two looks at recent rows: about two seconds of work. */
const CHUNKS_BETWEEN_LIVE_ROWS = 10;
/** Rows of the source that one comparison of a sweep reads: some ten milliseconds of work, however long the history. */
const SWEEP_SLICE_ROWS = 5_000;
const RECENT = "spend-recent";
/** LiteLLM writes a row when its request has ended, which may take ten minutes, and a while more. Our engine's mark knows of each. */
const LATE_ROW_MS = 15 * 60 * 1_000;

/**
 * Gives each spend row its billing event, once, and each later change of its amount an adjustment. There is no cursor: rows
 * arrive late and commit out of order, so every pass looks for rows without an event, among those of the last day at least. A sweep bills recent rows first and
 * again in between, so a long backlog does not hold them up. May run twice, at once or not at all: the next pass makes the
 * same ledger. Throws `spend_source_missing` while the spend table does not exist.
 */
export async function syncSpend(db: DatabaseClient, options: SpendSyncOptions): Promise<SpendSyncResult> {
  return named(() => new SpendSync(db, options).run());
}

/**
 * As {@link syncSpend}, for the rows that came since the last such pass, on whichever worker: those that began after our engine's
 * mark, and `lateRowMs` (default 15 min) before it. Its cost follows what is new. What comes later still is found by a sweep.
 */
export async function syncRecentSpend(
  db: DatabaseClient,
  options: SpendSyncOptions & { readonly lateRowMs?: number },
): Promise<SpendSyncResult> {
  return named(async () => {
    const next = await readEngineMark(db);
    const result = await new SpendSync(db, options).runRecent(await recentStart(db, options.lateRowMs ?? LATE_ROW_MS, options));
    await writeMark(db, RECENT, next);
    return result;
  });
}

/** Bills what is new by our engine's mark, and nothing else: for whoever cannot wait for the next pass. Moves no mark. */
export async function flushRecentSpend(db: DatabaseClient, options: SpendSyncOptions): Promise<SpendSyncResult> {
  return named(async () => new SpendSync(db, options).runRecent(await recentStart(db, FLUSH_MARGIN_MS, options)));
}

/** Clocks of two statements. */
const FLUSH_MARGIN_MS = 60_000;

async function recentStart(db: DatabaseClient, marginMs: number, options: SpendSyncOptions): Promise<string> {
  const mark = await readMark(db, RECENT);
  return mark === undefined ? readLookBackStart(db, options.lookBackMs ?? DEFAULT_LOOK_BACK_MS) : spellMark(db, mark, marginMs);
}

/**
 * As {@link syncRecentSpend}, and then goes through the rows of the last day and through a month of what is older, from where the
 * last such pass stopped; before it has come round for the first time, through all of it. Each statement reads one slice. When all
 * months were looked at, the low-water mark moves, and the next pass begins anew.
 */
export async function sweepSpend(db: DatabaseClient, options: SpendSyncOptions): Promise<SpendSyncResult> {
  await syncRecentSpend(db, options);
  return named(() => new SpendSync(db, options).runSweep());
}

async function named<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    const { message } = error as Error;
    if (!isTableMissing(error) || !message.includes("LiteLLM_SpendLogs")) throw error;
    throw new AppError("spend_source_missing", `The spend table does not exist yet: ${message}.`, { cause: error });
  }
}

/** As {@link syncSpend}, for the rows of one stretch of the source. */
export async function syncSpendRange(db: DatabaseClient, range: SourceRange, options: SpendSyncOptions): Promise<void> {
  await new SpendSync(db, options).runRange(range);
}

class SpendSync {
  readonly #db: DatabaseClient;
  readonly #options: SpendSyncOptions;
  readonly #chunkRows: number;
  #uniqueIds = true;
  #events = 0;
  #adjustments = 0;
  #reviews = 0;
  #credits: DecimalText = "0";

  constructor(db: DatabaseClient, options: SpendSyncOptions) {
    this.#db = db;
    this.#options = options;
    this.#chunkRows = options.chunkRows ?? DEFAULT_CHUNK_ROWS;
  }

  async run(): Promise<SpendSyncResult> {
    const recent = await this.#lastDay();
    await this.#bill(recent);
    if (this.#options.fullSweep) await this.#sweep(recent, "all");
    return this.#end();
  }

  async runRecent(from: string): Promise<SpendSyncResult> {
    this.#uniqueIds = await areRequestIdsUnique(this.#db);
    await this.#bill({ from, to: "infinity" });
    return this.#end();
  }

  async runSweep(): Promise<SpendSyncResult> {
    const recent = await this.#lastDay();
    await this.#billSlices(recent);
    await this.#sweep(recent, "a month");
    return this.#end();
  }

  async #lastDay(): Promise<SourceRange> {
    this.#uniqueIds = await areRequestIdsUnique(this.#db);
    return { from: await readLookBackStart(this.#db, this.#options.lookBackMs ?? DEFAULT_LOOK_BACK_MS), to: "infinity" };
  }

  async #end(): Promise<SpendSyncResult> {
    const resolvedReviews = await resolveReviews(this.#db);
    this.#options.onStep?.("resolved");
    return { events: this.#events, credits: this.#credits, adjustments: this.#adjustments, reviews: this.#reviews, resolvedReviews };
  }

  /** Goes on with the sweep under way, or begins one; `all` begins one in any case, and ends it. */
  async #sweep(recent: SourceRange, howMuch: "all" | "a month"): Promise<void> {
    let mark = await readSourceMark(this.#db);
    if (howMuch === "all" || mark === undefined || mark.sweep_end === null) {
      await watchSourceRetention(this.#db);
      await beginSweep(this.#db, { end: recent.from, sourceOldest: await readOldestStart(this.#db) });
      mark = await readSourceMark(this.#db);
    }
    const { sweep_end: end, low_water_mark: lowWaterMark } = mark ?? {};
    if (!end) return;
    for (let position = mark?.sweep_position ?? "-infinity"; ;) {
      const monthEnd = await findMonthEnd(this.#db, position, end);
      if (monthEnd === undefined) return endSweep(this.#db);
      await this.#billSlices({ from: position, includesFrom: position === "-infinity", to: monthEnd }, () => this.#bill(recent));
      position = monthEnd;
      await writeSweepPosition(this.#db, position);
      if (howMuch === "a month" && lowWaterMark)
        return (await findMonthEnd(this.#db, position, end)) === undefined ? endSweep(this.#db) : undefined;
    }
  }

  async #billSlices(range: SourceRange, inBetween?: () => Promise<void>): Promise<void> {
    let rest = range;
    for (;;) {
      const slice = { ...rest, to: await findChunkEnd(this.#db, rest, SWEEP_SLICE_ROWS) };
      await this.#bill(slice, inBetween);
      if (slice.to === range.to) return;
      rest = { from: slice.to, includesFrom: false, to: range.to };
    }
  }

  /** Bills what the range lacks; for whoever found that it lacks something. */
  async runRange(range: SourceRange): Promise<void> {
    this.#uniqueIds = await areRequestIdsUnique(this.#db);
    await this.#bill(range);
  }

  /** Does what the range lacks: events first, then adjustments, then reviews. */
  async #bill(range: SourceRange, inBetween?: () => Promise<void>): Promise<void> {
    const found = await countDifferences(this.#db, range);
    const before = this.#events;
    if (found.freshFrom !== null) await this.#ingest({ from: found.freshFrom, to: range.to }, inBetween);
    const passedOver = found.fresh - (this.#events - before);
    if (found.changed > 0) await this.#adjust((tx) => adjustChangedRows(tx, { range, limit: this.#chunkRows }));
    if (found.changed > 0) this.#reviews += await quarantineRetiredChanges(this.#db, { range, limit: this.#chunkRows });
    if (found.corrections > 0) await this.#adjust((tx) => adjustOriginalsOfCorrections(tx, { range, limit: this.#chunkRows }));
    if (found.corrections > 0) await this.#adjust((tx) => adjustByCorrectionRows(tx, { range, limit: this.#chunkRows }));
    this.#options.onStep?.("adjusted");
    if (passedOver > 0 || found.recycled + found.unbillable + found.corrections > 0) await this.#quarantine(range);
    this.#options.onStep?.("quarantined");
  }

  /** Oldest first; a row that arrives behind the chunk at hand is found by the next pass. */
  async #ingest(range: SourceRange, inBetween?: () => Promise<void>): Promise<void> {
    let rest = range;
    for (let chunks = 1; ; chunks += 1) {
      const chunk = { ...rest, to: await findChunkEnd(this.#db, rest, this.#chunkRows) };
      this.#count(await this.#ingestChunk(chunk));
      this.#options.onStep?.("ingested");
      if (chunk.to === range.to) return;
      rest = { from: chunk.to, includesFrom: false, to: range.to };
      if (chunks % CHUNKS_BETWEEN_LIVE_ROWS === 0) await inBetween?.();
    }
  }

  async #ingestChunk(range: SourceRange): Promise<IngestChunk> {
    const options = { range, rate: this.#options.rate, uniqueIds: this.#uniqueIds };
    try {
      return await this.#underLock((tx) => ingestSpendRows(tx, { ...options, checksAllKeys: false }));
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      return this.#underLock((tx) => ingestSpendRows(tx, { ...options, checksAllKeys: true }));
    }
  }

  async #adjust(statement: (tx: DatabaseExecutor) => Promise<AdjustmentChunk>): Promise<void> {
    for (;;) {
      const chunk = await this.#underLock(statement);
      this.#count(chunk);
      this.#adjustments += chunk.events;
      if (chunk.events < this.#chunkRows) return;
    }
  }

  async #quarantine(range: SourceRange): Promise<void> {
    for (;;) {
      const added = await quarantineSpendRows(this.#db, { range, limit: this.#chunkRows });
      this.#reviews += added;
      if (added < this.#chunkRows) return;
    }
  }

  async #underLock<Result>(statement: (tx: DatabaseExecutor) => Promise<Result>): Promise<Result> {
    return this.#db.transaction().execute(async (tx) => {
      await lockIngest(tx);
      return statement(tx);
    });
  }

  #count(chunk: IngestChunk): void {
    this.#events += chunk.events;
    this.#credits = addDecimals(this.#credits, chunk.credits);
  }
}
