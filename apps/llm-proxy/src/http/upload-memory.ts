import { AppError } from "@proliferate/shared/errors";

const MB = 1024 * 1024;

/** How much of what callers send may be held at a time. Bytes. */
export interface UploadMemoryLimits {
  /** Of all bodies above {@link SMALL_BODY_BYTES}. */
  readonly largeBytes: number;
  /** Of those of one key. */
  readonly largeBytesPerKey: number;
  /** Of all smaller bodies: large ones cannot take their place. */
  readonly smallBytes: number;
  readonly smallBytesPerKey: number;
}

/** What almost every request of an agent is smaller than. */
export const SMALL_BODY_BYTES = 512 * 1024;

/** The limits where the environment sets none. */
export const UPLOAD_MEMORY_LIMITS: UploadMemoryLimits = {
  largeBytes: 48 * MB,
  largeBytesPerKey: 33 * MB,
  smallBytes: 32 * MB,
  smallBytesPerKey: 13 * MB,
};

/** Memory of one upload. Released once, whoever ends it and however often. */
export interface HeldMemory {
  /** Takes more, up to `bytes` in all. Throws as `hold` does; what was held stays held. */
  grow(bytes: number): void;
  release(): void;
}

/**
 * The memory that bodies take, counted before it is taken: for the process, for each key, and for each connection (which may
 * pipeline requests). Nothing waits here: who does not fit is told at once to come back.
 */
export class UploadMemory {
  readonly #limits: UploadMemoryLimits;
  readonly #used = { small: 0, large: 0 };
  readonly #usedByKey = { small: new Map<string, number>(), large: new Map<string, number>() };
  readonly #usedByConnection = new WeakMap<object, number>();

  constructor(limits: UploadMemoryLimits) {
    this.#limits = limits;
  }

  /** Bytes held now. */
  get held(): number {
    return this.#used.small + this.#used.large;
  }

  /**
   * Takes so many bytes. Throws `too_many_at_once` (429) when the key or the connection holds its share already, and
   * `gateway_busy` (503) when everybody together does.
   */
  hold(key: string, connection: object, bytes: number): HeldMemory {
    let held = 0;
    const take = (wanted: number): void => {
      if (wanted <= held) return;
      // What it holds already is not in its own way.
      this.#add(key, connection, held, -held);
      try {
        this.#require(key, connection, wanted);
        held = wanted;
      } finally {
        this.#add(key, connection, held, held);
      }
    };
    take(bytes);
    return {
      grow: take,
      release: () => {
        this.#add(key, connection, held, -held);
        held = 0;
      },
    };
  }

  #require(key: string, connection: object, bytes: number): void {
    const size = sizeOf(bytes);
    const [total, perKey] =
      size === "small"
        ? [this.#limits.smallBytes, this.#limits.smallBytesPerKey]
        : [this.#limits.largeBytes, this.#limits.largeBytesPerKey];
    const ofConnection = (this.#usedByConnection.get(connection) ?? 0) + bytes;
    const ofKey = (this.#usedByKey[size].get(key) ?? 0) + bytes;
    if (ofKey > perKey || ofConnection > Math.max(perKey, this.#limits.largeBytesPerKey)) {
      throw new AppError("too_many_at_once", `Requests of this key that are being sent hold ${megabytes(perKey)} already.`, {
        retryAfterSeconds: 1,
      });
    }
    if (this.#used[size] + bytes > total) {
      throw new AppError("gateway_busy", `Requests that are being sent hold ${megabytes(total)}, which is all that they may.`, {
        retryAfterSeconds: 1,
      });
    }
  }

  /** `ofBytes` says in which count the change is. */
  #add(key: string, connection: object, ofBytes: number, change: number): void {
    if (change === 0) return;
    const size = sizeOf(ofBytes);
    this.#used[size] += change;
    this.#usedByConnection.set(connection, (this.#usedByConnection.get(connection) ?? 0) + change);
    const ofKey = (this.#usedByKey[size].get(key) ?? 0) + change;
    if (ofKey === 0) this.#usedByKey[size].delete(key);
    else this.#usedByKey[size].set(key, ofKey);
  }
}

function sizeOf(bytes: number): "small" | "large" {
  return bytes <= SMALL_BODY_BYTES ? "small" : "large";
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / MB)} MB`;
}
