import { constants } from "node:fs";
import { type FileHandle, open, stat, unlink } from "node:fs/promises";

/** The file was renamed by a process that takes this one for dead: what is appended to it may not be read any more. */
export class SpoolTakenAway extends Error {}

interface Waiting {
  readonly line: string;
  readonly written: () => void;
  readonly failed: (error: unknown) => void;
}

/** A file to which lines are added, each on the disk before its writer goes on. Lines of many writers share one flush. */
export class SpoolFile {
  readonly path: string;
  readonly #handle: FileHandle;
  #bytes = 0;
  #waiting: Waiting[] = [];
  #isWriting = false;
  /** A line may be half written: the next one begins anew. */
  #isTorn = false;
  #isTakenAway = false;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** Makes the file, readable by this user alone, and makes sure that its folder knows it. Throws where it exists or the disk refuses. */
  static async create(folder: string, path: string): Promise<SpoolFile> {
    const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND, 0o600);
    try {
      const directory = await open(folder, "r");
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new SpoolFile(path, handle);
  }

  /** Of all lines that were written. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Resolves when the line is on the disk, in a file that still has this name. Throws {@link SpoolTakenAway}, and what the disk says. */
  async append(line: string): Promise<void> {
    if (this.#isTakenAway) throw new SpoolTakenAway(this.path);
    return new Promise((written, failed) => {
      this.#waiting.push({ line, written, failed });
      if (!this.#isWriting) void this.#write();
    });
  }

  /** Deletes the file. Nothing may be appended afterwards. */
  async remove(): Promise<void> {
    await unlink(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    await this.close();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#flush(batch.map(({ line }) => line).join(""));
        for (const { written } of batch) written();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
    }
    this.#isWriting = false;
    if (this.#isTakenAway) await this.close().catch(() => undefined);
  }

  async #flush(text: string): Promise<void> {
    const bytes = Buffer.from(this.#isTorn ? `\n${text}` : text);
    this.#isTorn = true;
    for (let offset = 0; offset < bytes.length;) {
      const { bytesWritten } = await this.#handle.write(bytes, offset);
      offset += bytesWritten;
      this.#bytes += bytesWritten;
    }
    await this.#handle.datasync();
    this.#isTorn = false;
    // Whoever takes a file over renames it before reading it: as long as the name is ours, what stands in it will be read.
    const [named, held] = await Promise.all([stat(this.path).catch(() => undefined), this.#handle.stat()]);
    if (named?.ino === held.ino && named.dev === held.dev) return;
    this.#isTakenAway = true;
    throw new SpoolTakenAway(`the spool ${this.path} was taken over by another process`);
  }
}
