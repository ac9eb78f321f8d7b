import { type FileHandle, open } from "node:fs/promises";
import { compareDecimals, type DecimalText } from "@proliferate/shared/money";
import { z } from "zod";
import { FileLockBusy, type FileLockOptions, withFileLock } from "./file-lock.ts";
import type { Correction, Delivery, DeliveryOutcome, SettlementSink } from "./port/sink.ts";

const line = z.object({ key: z.string(), batch_id: z.string(), org_id: z.string(), credits: z.string() });
type Line = z.infer<typeof line>;

/**
 * Writes each batch as one JSON line (`key`, `batch_id`, `org_id`, `credits` as decimal text, `event_count`) to a file and
 * to disk before it counts as delivered. A key that the file has is not written again, over restarts, too, so the sum of the
 * file is what was settled. The file is the record: there is no time after which its keys are forgotten. Several processes
 * may append to one file on one host: each step is under its lock (`<path>.lock`), so a line without an end is one that a crash
 * left, and is cut off. On a network's file system locks are what that makes of them.
 */
export function createJsonLinesSink(path: string, lock: FileLockOptions = {}): SettlementSink {
  const file = new JsonLinesFile(path, lock);
  return {
    name: "jsonl",
    deliver: async (delivery) => file.append(delivery, delivery.eventCount),
    ledger: {
      listDeductions: async (orgId) =>
        (await file.read()).filter((entry) => entry.org_id === orgId).map((entry) => ({ batchId: entry.batch_id, credits: entry.credits })),
      correct: async (correction) => file.append(correction, 0),
    },
  };
}

class JsonLinesFile {
  readonly #path: string;
  readonly #lock: FileLockOptions;
  #file: Promise<FileHandle> | undefined;
  /** How far the file was read. */
  #offset = 0;
  readonly #lines = new Map<string, Line>();
  /** One step at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, lock: FileLockOptions) {
    this.#path = path;
    this.#lock = lock;
  }

  async read(): Promise<readonly Line[]> {
    await this.#inTurn(async () => this.#catchUp(await this.#open()));
    return [...this.#lines.values()];
  }

  async append(delivery: Delivery | Correction, eventCount: number): Promise<DeliveryOutcome> {
    try {
      await this.#open();
      return await this.#inTurn(async () => {
        const file = await this.#open();
        await this.#catchUp(file);
        const known = this.#lines.get(delivery.idempotencyKey);
        return known ? judgeKnown(known, delivery) : this.#write(file, delivery, eventCount);
      });
    } catch (error) {
      if (error instanceof FileLockBusy) {
        const message = "Another process holds the settlement file; give each deployment a SETTLEMENT_FILE of its own.";
        return { kind: "unavailable", code: "file_locked", message };
      }
      this.#file = undefined;
      return {
        kind: "parked",
        code: codeOf(error),
        message:
          "The settlement file cannot be read; set SETTLEMENT_FILE to one that the worker may read and write, in a folder in which it may, too.",
      };
    }
  }

  async #write(file: FileHandle, delivery: Delivery | Correction, eventCount: number): Promise<DeliveryOutcome> {
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
      await this.#catchUp(file);
    } catch (error) {
      // Whether the line is there is told by the file when the batch is tried again.
      return { kind: "unknown", code: codeOf(error), message: "The settlement file could not be written." };
    }
    return { kind: "delivered", deductedCredits: delivery.credits };
  }

  async #open(): Promise<FileHandle> {
    this.#file ??= open(this.#path, "a+", 0o600);
    return this.#file;
  }

  /** Reads what was appended since, by whomever; cuts off a last line without an end. */
  async #catchUp(file: FileHandle): Promise<void> {
    const { size } = await file.stat();
    if (size <= this.#offset) return;
    const buffer = Buffer.alloc(size - this.#offset);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, this.#offset);
    const end = buffer.subarray(0, bytesRead).lastIndexOf("\n") + 1;
    for (const text of buffer.subarray(0, end).toString("utf8").split("\n")) {
      const entry = text === "" ? undefined : line.safeParse(JSON.parse(text)).data;
      if (entry && !this.#lines.has(entry.key)) this.#lines.set(entry.key, entry);
    }
    this.#offset += end;
    if (end < bytesRead) await file.truncate(this.#offset);
  }

  /** In this process one after the other, and under the lock that all of them take. */
  async #inTurn<Result>(step: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(async () => withFileLock(this.#path, this.#lock, step));
    this.#last = result.catch(() => undefined);
    return result;
  }
}

function judgeKnown(known: Line, delivery: { readonly batchId: string; readonly credits: DecimalText }): DeliveryOutcome {
  if (known.batch_id === delivery.batchId && compareDecimals(known.credits, delivery.credits) === 0)
    return { kind: "delivered", deductedCredits: known.credits };
  return { kind: "dead", code: "key_collision", message: "The settlement file has this key for another batch or amount." };
}

const codeOf = (error: unknown): string => ((error as NodeJS.ErrnoException).code ?? "file_failed").toLowerCase();
