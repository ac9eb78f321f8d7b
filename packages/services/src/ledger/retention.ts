import type { DatabaseClient, DatabaseExecutor } from "@proliferate/db";
import { AppError } from "@proliferate/shared/errors";
import { type Operator, recordAction } from "../operator/index.ts";
import { lockIngest } from "./ingest-lock-db.ts";
import {
  adoptStrayEvents,
  countEvents,
  countRetired,
  countStrayEvents,
  countUnsettled,
  detachPartition,
  ensurePartitions,
  lockPartition,
  noteRetiredSums,
  raiseAlert,
  readOldestStart,
  readPartitions,
  readSourceMark,
  readUnsettled,
} from "./retention-db.ts";

const NAMED_GROUPS = 100;
const NAMED = 3;

/** Partitions that exist before their month begins. */
const MONTHS_AHEAD = 2;

export interface PartitionUpkeep {
  readonly made: number;
  /** Events that stood outside any month's partition and were moved there; an alert tells of them. They were billed all the same. */
  readonly strays: number;
}

/**
 * Makes the partitions of this month and the next two. Events that came while a partition was missing move to their months first, so
 * that nothing is ever left in the default partition; an alert tells that it happened. Idempotent; cheap when nothing is missing.
 */
export async function maintainPartitions(db: DatabaseClient): Promise<PartitionUpkeep> {
  const found = await countStrayEvents(db);
  if (found === 0) return { made: await ensurePartitions(db, MONTHS_AHEAD), strays: 0 };
  const strays = await db.transaction().execute(async (tx) => {
    await lockIngest(tx);
    return adoptStrayEvents(tx);
  });
  const message =
    `${strays} events stood in billing_events_default, because the partition of their month was missing; ` +
    `they are in their months' partitions now. They were billed all along. Look why the worker did not make the partitions in time.`;
  await raiseAlert(db, { key: "partition_missing", kind: "partition_missing", message, facts: { events: strays } });
  return { made: await ensurePartitions(db, MONTHS_AHEAD), strays };
}

/** What retiring a month does, or would do. */
interface Retirement {
  /** `2026-01`. */
  readonly month: string;
  /** True when the month is out of the ledger, by this call or an earlier one. */
  readonly retired: boolean;
  /** Events that left the ledger, or would leave it. */
  readonly events: number;
  /** Why it cannot be retired now; empty when it can, or is. */
  readonly refusals: readonly string[];
}

/** What {@link retireMonth} would do, and every reason for which it would refuse. Read only. Throws `invalid_request` for what is no month. */
export async function previewRetirement(db: DatabaseExecutor, month: string): Promise<Retirement> {
  checkMonth(month);
  const retiredEvents = await countRetired(db, month);
  if (retiredEvents !== undefined) return { month, retired: true, events: retiredEvents, refusals: [] };
  const partition = (await readPartitions(db)).find((one) => one.month === month);
  if (partition === undefined) return { month, retired: false, events: 0, refusals: ["it has no partition in the ledger"] };
  const { events, open, undelivered } = await countUnsettled(db, partition.name);
  const named = open + undelivered === 0 ? [] : await readUnsettled(db, partition.name, NAMED_GROUPS);
  const orgs = named.filter((one) => one.batch_id === null).map((one) => `${one.org_id} ${one.events}`);
  const batches = named.filter((one) => one.batch_id !== null).map((one) => `${one.batch_id} of ${one.org_id} is ${one.state}`);
  const refusals = [
    partition.is_over ? "" : "it is not over",
    open > 0 ? `${open} of its events are in no batch (${some(orgs)})` : "",
    undelivered > 0 ? `${undelivered} of its events are in batches that are not delivered (${some(batches)})` : "",
  ];
  return { month, retired: false, events, refusals: refusals.filter((reason) => reason !== "") };
}

/**
 * Takes the month (`2026-01`, UTC, by the time of recording) out of the ledger. Its table is detached, not dropped: whoever
 * wants the space back exports and drops `billing_events_<month>` by hand. Its sums stay in `retired_event_sums`, its keys in
 * `billing_event_keys`, so sums still add up and nothing in it is ever billed again. Repeating it changes nothing. With `operator`
 * it is put on record. Throws `partition_not_retirable`, and changes nothing, when the month is not over, is unknown, or holds
 * anything that is not delivered.
 */
export async function retireMonth(db: DatabaseClient, month: string, operator?: Operator): Promise<Retirement> {
  checkMonth(month);
  const partition = (await readPartitions(db)).find((one) => one.month === month);
  // This count runs while billing goes on. It stays right: a month that is over gets no new events, and a delivered batch stays delivered.
  const found = await previewRetirement(db, month);
  if (found.refusals.length > 0)
    throw new AppError("partition_not_retirable", `The month ${month} of the ledger cannot be retired: ${found.refusals.join("; ")}.`);
  if (found.retired || partition === undefined) return found;
  return db.transaction().execute(async (tx) => {
    const events = await noteRetiredSums(tx, partition.name);
    // An audit alone may put an event back into an old month, so what is newer is counted again. From here on everybody who writes events
    // waits until that count is done.
    await lockIngest(tx);
    await lockPartition(tx, partition.name);
    if (events !== found.events || (await countEvents(tx, partition.name)) !== events) {
      throw new AppError(
        "partition_not_retirable",
        `The month ${month} of the ledger cannot be retired: its events changed meanwhile; look at it again.`,
      );
    }
    await detachPartition(tx, partition.name);
    if (operator) await recordAction(tx, { action: "month.retired", subject: month, operator, facts: { events, table: partition.name } });
    return { month, retired: true, events, refusals: [] };
  });
}

const some = (names: readonly string[]): string => `${names.slice(0, NAMED).join(", ")}${names.length > NAMED ? ", and others" : ""}`;

function checkMonth(month: string): void {
  if (/^\d{4}-(0[1-9]|1[0-2])$/.test(month)) return;
  throw new AppError("invalid_request", `"${month}" is no month: write the year and the month, as 2026-01.`, { param: "month" });
}

/**
 * Raises an alert when the source deleted rows that were not known to be billed: its oldest row moved past the mark below which
 * everything was. What was billed or put in review before is not lost. Returns whether the alert is new.
 */
export async function watchSourceRetention(db: DatabaseClient): Promise<boolean> {
  const mark = await readSourceMark(db);
  if (mark === undefined || mark.low_water_mark === null || mark.source_oldest === null) return false;
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
  return (await readSourceMark(db))?.low_water_mark ?? undefined;
}
