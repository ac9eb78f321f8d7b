import { type FileHandle, open } from "node:fs/promises";
import { compareDecimals, type DecimalText } from "@proliferate/shared/money";
import { z } from "zod";
import { FileLockBusy, type FileLockOptions, withFileLock } from "./file-lock.ts";
import { JsonLinesIndex, type SettledLine } from "./json-lines-db.ts";
import type { Correction, Delivery, DeliveryOutcome, SettlementSink } from "./port/sink.ts";

const line = z.object({ key: z.string(), batch_id: z.string(), org_id: z.string(), credits: z.string() });

/** Read at once; a longer line is read in a longer piece. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Writes each batch as one JSON line (`key`, `batch_id`, `org_id`, `credits` as decimal text, `event_count`) to a file and
 * to disk before it counts as delivered. A key that the file has is not written again, over restarts, too, so the sum of the
 * file is what was settled. The file is the record: there is no time after which its keys are forgotten. Several processes
 * may append to one file on one host: each step is under its lock (`<path>.lock`), so a line without an end is one that a crash
 * left, and is cut off. On a network's file system locks are what that makes of them. Its lines are looked up in `<path>.index`, which is
 * made from it: no process holds them in memory, and none keeps the file open between two steps.
 */
export function createJsonLinesSink(path: string, lock: FileLockOptions = {}): SettlementSink {
  const file = new JsonLinesFile(path, lock);
  return {
    name: "jsonl",
    deliver: async (delivery) => file.append(delivery, delivery.eventCount),
    ledger: {
      listDeductions: async (orgId) => (await file.readOrg(orgId)).map((entry) => ({ batchId: entry.batch_id, credits: entry.credits })),
      correct: async (correction) => file.append(correction, 0),
    },
  };
}

/** The file and its index, for one step under its lock. */
interface OpenFile {
  readonly file: FileHandle;
  readonly index: JsonLinesIndex;
}

class JsonLinesFile {
  readonly #path: string;
  readonly #lock: FileLockOptions;
  /** One step at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, lock: FileLockOptions) {
    this.#path = path;
    this.#lock = lock;
  }

  async readOrg(orgId: string): Promise<readonly SettledLine[]> {
    return this.#inTurn(async (opened) => {
      await catchUp(opened);
      return opened.index.listOfOrg(orgId);
    });
  }

  async append(delivery: Delivery | Correction, eventCount: number): Promise<DeliveryOutcome> {
    try {
      return await this.#inTurn(async (opened) => {
        await catchUp(opened);
        const known = opened.index.find(delivery.idempotencyKey);
        return known ? judgeKnown(known, delivery) : write(opened, delivery, eventCount);
      });
    } catch (error) {
      if (error instanceof FileLockBusy) {
        const message = "Another process holds the settlement file; give each deployment a SETTLEMENT_FILE of its own.";
        return { kind: "unavailable", code: "file_locked", message };
      }
      return {
        kind: "parked",
        code: codeOf(error),
        message:
          "The settlement file cannot be read; set SETTLEMENT_FILE to one that the worker may read and write, in a folder in which it may, too.",
      };
    }
  }

  /** In this process one after the other, and under the lock that all of them take. */
  async #inTurn<Result>(step: (opened: OpenFile) => Promise<Result>): Promise<Result> {
    const result = this.#last.then(async () => {
      // Before the lock, which is made beside it: whether the file can be there at all is told first.
      const file = await open(this.#path, "a+", 0o600);
      try {
        return await withFileLock(this.#path, this.#lock, async () => {
          const index = new JsonLinesIndex(`${this.#path}.index`);
          try {
            return await step({ file, index });
          } finally {
            index.close();
          }
        });
      } finally {
        await file.close();
      }
    });
    this.#last = result.catch(() => undefined);
    return result;
  }
}

async function write({ file, index }: OpenFile, delivery: Delivery | Correction, eventCount: number): Promise<DeliveryOutcome> {
  const entry = {
    key: delivery.idempotencyKey,
    batch_id: delivery.batchId,
    org_id: delivery.orgId,
    credits: delivery.credits,
    event_count: eventCount,
  };
  try {
    await file.appendFile(`${JSON.stringify(entry)}\n`);
    await file.datasync();
    await catchUp({ file, index });
  } catch (error) {
    // Whether the line is there is told by the file when the batch is tried again.
    return { kind: "unknown", code: codeOf(error), message: "The settlement file could not be written." };
  }
  return { kind: "delivered", deductedCredits: delivery.credits };
}

/** Reads what was appended since, by whomever, piece by piece; cuts off a last line without an end. */
async function catchUp({ file, index }: OpenFile): Promise<void> {
  const { size, ino } = await file.stat();
  const inode = String(ino);
  let offset = index.offsetIn({ inode, bytes: size });
  let pieceBytes = PIECE_BYTES;
  while (offset < size) {
    const buffer = Buffer.alloc(Math.min(pieceBytes, size - offset));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
    const end = buffer.subarray(0, bytesRead).lastIndexOf("\n") + 1;
    if (end > 0) {
      index.add(linesOf(buffer.subarray(0, end)), { inode, offset: offset + end });
      offset += end;
      pieceBytes = PIECE_BYTES;
    } else if (bytesRead < size - offset && bytesRead > 0) pieceBytes *= 2;
    else return file.truncate(offset);
  }
}

const linesOf = (piece: Buffer): readonly SettledLine[] =>
  piece
    .toString("utf8")
    .split("\n")
    .flatMap((text) => (text === "" ? [] : (line.safeParse(JSON.parse(text)).data ?? [])));

function judgeKnown(known: SettledLine, delivery: { readonly batchId: string; readonly credits: DecimalText }): DeliveryOutcome {
  if (known.batch_id === delivery.batchId && compareDecimals(known.credits, delivery.credits) === 0)
    return { kind: "delivered", deductedCredits: known.credits };
  return { kind: "dead", code: "key_collision", message: "The settlement file has this key for another batch or amount." };
}

const codeOf = (error: unknown): string => ((error as NodeJS.ErrnoException).code ?? "file_failed").toLowerCase();
