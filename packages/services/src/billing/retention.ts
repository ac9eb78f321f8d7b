import type { DatabaseClient } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { countStrayEvents, countUnsettled, detachPartition, ensurePartitions, lockPartition, raiseAlert, readOldestStart, readPartitions, readSourceMark } from "./retention-db.ts";

/** Partitions that exist before their month begins. */
const MONTHS_AHEAD = 2;

export interface PartitionUpkeep {
  readonly made: number;
  /** Events outside any month's partition; an alert stands for them. They are billed all the same. */
  readonly strays: number;
}

/** Makes the partitions of this month and the next two. Idempotent; cheap when nothing is missing. */
export async function maintainPartitions(db: DatabaseClient): Promise<PartitionUpkeep> {
  const strays = await countStrayEvents(db);
  if (strays > 0) {
    const message = `${strays} events stand in billing_events_default, because the partition of their month was missing; move them by hand, or leave them: they are billed.`;
    await raiseAlert(db, { key: "partition_missing", kind: "partition_missing", message, facts: { events: strays } });
    return { made: 0, strays };
  }
  return { made: await ensurePartitions(db, MONTHS_AHEAD), strays };
}

/**
 * Takes the month (`2026-01`, UTC, by the time of recording) out of the ledger. Its table is detached, not dropped: whoever
 * wants the space back exports and drops `billing_events_<month>` by hand. Its sums stay in `retired_event_sums`, its keys in
 * `billing_event_keys`, so sums still add up and nothing in it is ever billed again. Returns how many events left. Throws
 * `partition_not_retirable`, and changes nothing, when the month is not over, is unknown, or holds anything that is not delivered.
 */
export async function retireMonth(db: DatabaseClient, month: string): Promise<number> {
  const partition = (await readPartitions(db)).find((one) => one.month === month);
  const refuse = (reason: string): AppError => new AppError("partition_not_retirable", `The month ${month} of the ledger cannot be retired: ${reason}.`);
  if (partition === undefined) throw refuse("it has no partition");
  if (!partition.is_over) throw refuse("it is not over");
  return db.transaction().execute(async (tx) => {
    await lockPartition(tx, partition.name);
    const { open, undelivered } = await countUnsettled(tx, partition.name);
    if (open > 0) throw refuse(`${open} of its events are in no batch`);
    if (undelivered > 0) throw refuse(`${undelivered} of its events are in batches that are not delivered`);
    return detachPartition(tx, partition.name);
  });
}

/**
 * Raises an alert when the source deleted rows that were not known to be billed: its oldest row moved past the mark below which
 * everything was. What was billed or put in review before is not lost. Returns whether the alert is new.
 */
export async function watchSourceRetention(db: DatabaseClient): Promise<boolean> {
  const mark = await readSourceMark(db);
  if (mark === undefined || mark.source_oldest === null) return false;
  const oldest = await readOldestStart(db);
  const wasCut = oldest === null || oldest > mark.source_oldest;
  if (!wasCut || (oldest !== null && oldest <= mark.low_water_mark)) return false;
  const from = mark.low_water_mark.toISOString();
  const to = oldest?.toISOString() ?? "now";
  const message = `The source deleted spend rows that began between ${from} and ${to}, and not all of them are known to be billed. Keep source rows until they are older than the low-water mark.`;
  return raiseAlert(db, { key: `source_rows_deleted:${from}`, kind: "source_rows_deleted", message, facts: { from, to } });
}

/** Spend rows that began before this are billed or in review, so the source may delete them; undefined before the first sweep. */
export async function readLowWaterMark(db: DatabaseClient): Promise<Date | undefined> {
  return (await readSourceMark(db))?.low_water_mark;
}
