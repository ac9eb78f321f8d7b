import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import { type AdjustmentChunk, adjustByCorrectionRows, adjustChangedRows, adjustOriginalsOfCorrections, countDifferences } from "./corrections-db.ts";
import type { RateCard } from "./credits.ts";
import { areRequestIdsUnique, findChunkEnd, type IngestChunk, ingestSpendRows, lockIngest, readLookBackStart } from "./db.ts";
import { quarantineRetiredChanges } from "./retired-changes-db.ts";
import { quarantineSpendRows, resolveReviews } from "./reviews-db.ts";
import { watchSourceRetention } from "./retention.ts";
import { readOldestStart, writeSourceMark } from "./retention-db.ts";
import type { SourceRange } from "./source-rows-db.ts";

export interface SpendSyncOptions {
  /** Of rows that no rate card covers. */
  readonly rate: RateCard;
  /** How far back rows are looked for, by the start of their request. Default 24 h. */
  readonly lookBackMs?: number;
  /** Reads the whole table instead: rows of any age. Default false. */
  readonly fullSweep?: boolean;
  /** Spend rows in one statement; more only where that many began in one millisecond. Default 10,000. */
  readonly chunkRows?: number;
  /** Called between two statements; a test throws here to be a crash. */
  readonly onStep?: (step: SpendSyncStep) => void;
}

export type SpendSyncStep = "ingested" | "adjusted" | "quarantined" | "resolved";

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
const UNDEFINED_TABLE = "42P01";
const UNIQUE_VIOLATION = "23505";

/**
 * Gives each spend row its billing event, once, and each later change of its amount an adjustment. There is no cursor: rows
 * arrive late and commit out of order, so every pass looks for rows without an event. A sweep bills recent rows first and
 * again in between, so a long backlog does not hold them up. May run twice, at once or not at all: the next pass makes the
 * same ledger. Throws `spend_source_missing` while the spend table does not exist.
 */
export async function syncSpend(db: DatabaseClient, options: SpendSyncOptions): Promise<SpendSyncResult> {
  try {
    return await new SpendSync(db, options).run();
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (code !== UNDEFINED_TABLE || !message.includes("LiteLLM_SpendLogs")) throw error;
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
    this.#uniqueIds = await areRequestIdsUnique(this.#db);
    const recent = { from: await readLookBackStart(this.#db, this.#options.lookBackMs ?? DEFAULT_LOOK_BACK_MS), to: "infinity" };
    await this.#bill(recent);
    if (this.#options.fullSweep) await this.#sweep(recent);
    const resolvedReviews = await resolveReviews(this.#db);
    this.#options.onStep?.("resolved");
    return { events: this.#events, credits: this.#credits, adjustments: this.#adjustments, reviews: this.#reviews, resolvedReviews };
  }

  async #sweep(recent: SourceRange): Promise<void> {
    await watchSourceRetention(this.#db);
    const sourceOldest = await readOldestStart(this.#db);
    await this.#bill({ from: "-infinity", to: "infinity" }, () => this.#bill(recent));
    await writeSourceMark(this.#db, { lookBackStart: recent.from, sourceOldest });
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
    if (found.freshFrom !== null) await this.#ingest({ ...range, from: found.freshFrom }, inBetween);
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
      if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION) throw error;
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
