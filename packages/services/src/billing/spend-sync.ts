import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { addDecimals, type DecimalText } from "@proliferate/shared/money";
import type { RateCard } from "./credits.ts";
import { ingestSpendRows, lockIngest, quarantineSpendRows, readLookBackStart, resolveReviews } from "./db.ts";

export interface SpendSyncOptions {
  readonly rate: RateCard;
  /** How far back rows are looked for, by the start of their request. Default 24 h. */
  readonly lookBackMs?: number;
  /** Reads the whole table instead: rows of any age. Default false. */
  readonly fullSweep?: boolean;
  /** Spend rows in one statement at most. Default 5,000. */
  readonly chunkRows?: number;
  /** Called between two statements; a test throws here to be a crash. */
  readonly onStep?: (step: SpendSyncStep) => void;
}

export type SpendSyncStep = "ingested" | "quarantined" | "resolved";

export interface SpendSyncResult {
  readonly events: number;
  readonly credits: DecimalText;
  /** Rows put in review by this pass, and reviews that it could close. */
  readonly reviews: number;
  readonly resolvedReviews: number;
}

const DEFAULT_LOOK_BACK_MS = 24 * 60 * 60 * 1_000;
const UNDEFINED_TABLE = "42P01";

/**
 * Gives each spend row its billing event, once. There is no cursor: rows arrive late and commit out of order, so every
 * pass looks for rows without an event. May run twice, at once or not at all: the next pass makes the same ledger.
 * Throws `spend_source_missing` while the spend table does not exist.
 */
export async function syncSpend(db: DatabaseClient, options: SpendSyncOptions): Promise<SpendSyncResult> {
  try {
    return await syncOnce(db, options);
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (code !== UNDEFINED_TABLE || !message.includes("LiteLLM_SpendLogs")) throw error;
    throw new AppError("spend_source_missing", `The spend table does not exist yet: ${message}.`, { cause: error });
  }
}

async function syncOnce(db: DatabaseClient, options: SpendSyncOptions): Promise<SpendSyncResult> {
  const limit = options.chunkRows ?? 5_000;
  const start = options.fullSweep ? null : await readLookBackStart(db, options.lookBackMs ?? DEFAULT_LOOK_BACK_MS);
  let fromStartTime = start;
  let events = 0;
  let credits = "0";
  for (;;) {
    const from = fromStartTime;
    const chunk = await db.transaction().execute(async (tx) => {
      await lockIngest(tx);
      return ingestSpendRows(tx, { fromStartTime: from, limit, rate: options.rate });
    });
    options.onStep?.("ingested");
    events += chunk.events;
    credits = addDecimals(credits, chunk.credits);
    if (chunk.rows < limit) break;
    // Older rows have their event by now; one that arrives meanwhile is found by the next pass.
    fromStartTime = chunk.lastStartTime;
  }
  const reviews = await quarantineAll(db, start, limit);
  options.onStep?.("quarantined");
  const resolvedReviews = await resolveReviews(db);
  options.onStep?.("resolved");
  return { events, credits, reviews, resolvedReviews };
}

async function quarantineAll(db: DatabaseClient, fromStartTime: string | null, limit: number): Promise<number> {
  let total = 0;
  for (;;) {
    const added = await quarantineSpendRows(db, { fromStartTime, limit });
    total += added;
    if (added < limit) return total;
  }
}
