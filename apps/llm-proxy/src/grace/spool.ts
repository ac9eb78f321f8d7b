import { randomUUID } from "node:crypto";
import { access, constants, mkdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { AttemptOutcome, SpooledAttempt } from "@proliferate/access/requests";
import type { Logger } from "@proliferate/runtime";
import { OpenAmounts } from "./open-amounts.ts";
import { entryOf, lineOf, type SpoolEntry } from "./spool-entry.ts";
import { SpoolFile, SpoolTakenAway } from "./spool-file.ts";

interface SpoolOptions {
  readonly folder: string;
  readonly instanceId: number;
  /** Of the file; no request is taken up above it. */
  readonly mostBytes: number;
  readonly logger: Logger;
}

/** Requests that this process keeps in its spool at once. */
const MOST_REQUESTS = 10_000;
/** What is kept free for the outcome of each request that runs. */
const OUTCOME_BYTES = 20 * 1024;

/** Files of one instance are named after it, so that the next process knows whose they are. */
export const SPOOL_NAME = /^instance-(\d{1,10})\.[0-9a-f-]{36}\.spool$/;

/** A new name for a file of this instance. */
export function spoolPath(folder: string, instanceId: number): string {
  return join(folder, `instance-${instanceId}.${randomUUID()}.spool`);
}

/** Makes the folder where it is missing, and tries whether files can be kept in it. Throws what the disk says. */
export async function prepareSpoolFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  const trial = join(folder, `trial-${randomUUID()}`);
  const file = await SpoolFile.create(folder, trial);
  await file.append("trial\n").finally(() => file.remove().catch(() => unlink(trial)));
}

/**
 * What this process admitted without the store and has not put on record yet: in memory, and line by line on the disk, so that it outlives
 * the process. A request is on the disk before it is sent, its outcome before its caller is told the end. The file goes when nothing of it
 * is open any more.
 */
export class Spool {
  readonly #options: SpoolOptions;
  /** What these requests hold of their limits. */
  readonly open = new OpenAmounts();
  readonly #entries = new Map<string, SpoolEntry>();
  /** Entries without an outcome. */
  #running = 0;
  #file: SpoolFile | undefined;
  #opening: Promise<SpoolFile> | undefined;
  #appending = 0;

  constructor(options: SpoolOptions) {
    this.#options = options;
  }

  /** Requests that are not on record yet. */
  get requests(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#file?.bytes ?? 0;
  }

  /** Of the file; undefined where there is none. */
  get path(): string | undefined {
    return this.#file?.path;
  }

  /** Requests that are over. */
  *ended(): Iterable<SpoolEntry> {
    for (const entry of this.#entries.values()) if (entry.outcome !== undefined) yield entry;
  }

  /** Whether this process admitted that request without the store. */
  has(attemptId: string): boolean {
    return this.#entries.has(attemptId);
  }

  /** Whether one more request has room, with its outcome and those of all that run. */
  hasRoom(): boolean {
    return this.#entries.size < MOST_REQUESTS && this.bytes + (this.#running + 1) * OUTCOME_BYTES <= this.#options.mostBytes;
  }

  /** Resolves when the request is on the disk. Throws what the disk says; then it is not in the spool. */
  async admit(attempt: SpooledAttempt): Promise<void> {
    const entry = { attempt, outcome: undefined };
    this.#put(attempt.attempt_id, entry);
    try {
      await this.#append(entry);
    } catch (error) {
      this.#put(attempt.attempt_id, undefined);
      throw error;
    }
  }

  /** Keeps the outcome: in memory in any case, and on the disk where that takes it. Never rejects. */
  async settle(attemptId: string, outcome: AttemptOutcome): Promise<void> {
    const admitted = this.#entries.get(attemptId);
    if (!admitted || admitted.outcome) return;
    const entry = { ...admitted, outcome };
    this.#put(attemptId, entry);
    // Should the process die before the store is back, the request costs its estimate.
    await this.#append(entry).catch((error: unknown) =>
      this.#options.logger.error({ attempt: attemptId, error: String(error) }, "spool.outcome_not_written"),
    );
  }

  /** The request is on record: it is forgotten here, and the file with the last one. */
  async done(attemptId: string): Promise<void> {
    this.#put(attemptId, undefined);
    await this.#removeIfEmpty();
  }

  /** What is still open stays on the disk for the next process. */
  async close(): Promise<void> {
    await this.#removeIfEmpty();
    await this.#file?.close();
    this.#file = undefined;
  }

  #put(attemptId: string, entry: SpoolEntry | undefined): void {
    const before = this.#entries.get(attemptId);
    this.open.move(before, entry);
    this.#running += Number(isRunning(entry)) - Number(isRunning(before));
    if (entry) this.#entries.set(attemptId, entry);
    else this.#entries.delete(attemptId);
  }

  async #append(entry: SpoolEntry): Promise<void> {
    const line = lineOf(entry);
    // What could not be read again would be lost with this process.
    if (entryOf(line.trimEnd()) === undefined) throw new Error(`the spool cannot hold the request ${entry.attempt.attempt_id}`);
    this.#appending += 1;
    try {
      const file = await this.#open();
      await file.append(line).catch(async (error: unknown) => {
        if (!(error instanceof SpoolTakenAway)) throw error;
        this.#options.logger.warn({ file: file.path }, "spool.taken_away");
        if (this.#file === file) this.#file = undefined;
        await (await this.#open()).append(line);
      });
    } finally {
      this.#appending -= 1;
    }
  }

  async #open(): Promise<SpoolFile> {
    if (this.#file) return this.#file;
    this.#opening ??= SpoolFile.create(this.#options.folder, spoolPath(this.#options.folder, this.#options.instanceId));
    try {
      this.#file = await this.#opening;
      return this.#file;
    } finally {
      this.#opening = undefined;
    }
  }

  async #removeIfEmpty(): Promise<void> {
    const file = this.#file;
    if (!file || this.#entries.size > 0 || this.#appending > 0) return;
    this.#file = undefined;
    await file.remove().catch((error: unknown) => this.#options.logger.error({ error: String(error) }, "spool.not_removed"));
  }
}

function isRunning(entry: SpoolEntry | undefined): boolean {
  return entry !== undefined && entry.outcome === undefined;
}
