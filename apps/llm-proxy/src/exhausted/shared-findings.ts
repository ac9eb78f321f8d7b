import type { Logger, Stoppable } from "@proliferate/runtime";
import { Redis } from "ioredis";
import { BELIEVED_MS, type Finding } from "./finding.ts";
import { type FindingSeal, MOST_SEALED_BYTES } from "./finding-seal.ts";

interface SharedFindingsOptions {
  readonly redisUrl: string;
  readonly seal: FindingSeal;
  readonly logger: Logger;
}

/** So long an answer is of use at all; no request waits for it. */
const ANSWER_MS = 500;
/** After a failure it is left alone for so long. */
const REST_MS = 1_000;
const RECONNECT_MS = { first: 100, most: 5_000 } as const;
/** Questions and messages under way at once; further ones are left out. */
const MOST_UNDER_WAY = 128;
/** What all answers under way can have, with what surrounds them. A server that sends more without an end to an answer is cut off. */
const MOST_UNREAD_BYTES = MOST_UNDER_WAY * (MOST_SEALED_BYTES + 64);

/**
 * By which the proxies of one database tell each other their findings: one of each key, the newest, for as long as it is believed. Redis is not trusted: it may be
 * away, silent, slow, flushed, or answer anything, at any moment. Then findings are lost, and nothing else is. Nothing here ever rejects.
 */
export class SharedFindings implements Stoppable {
  readonly #redis: Redis;
  readonly #options: SharedFindingsOptions;
  #underWay = 0;
  #unreadBytes = 0;
  #restsUntilMs = Number.NEGATIVE_INFINITY;
  /** Undefined until one of both was told. */
  #isAway: boolean | undefined;

  constructor(options: SharedFindingsOptions) {
    this.#options = options;
    this.#redis = new Redis(options.redisUrl, {
      lazyConnect: true,
      enableOfflineQueue: false,
      // It would ask for a report of any length.
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      commandTimeout: ANSWER_MS,
      connectTimeout: 2_000,
      retryStrategy: (tries) => Math.min(RECONNECT_MS.first * 2 ** Math.min(tries, 10), RECONNECT_MS.most),
    });
    this.#redis.on("error", (error) => this.#failed(error));
    this.#redis.on("connect", () => this.#countBytes());
    void this.#redis.connect().catch((error: Error) => this.#failed(error));
  }

  /** Whether its last answer was one. */
  get isConnected(): boolean {
    return this.#isAway === false;
  }

  /** What another process found of the key; undefined where nothing is known, or is not said in time. */
  async find(keyHash: string): Promise<Finding | undefined> {
    const name = this.#options.seal.nameOf(keyHash);
    // A part of it, so that nobody's gigabyte comes whole.
    const sealed = await this.#ask(() => this.#redis.getrangeBuffer(name, 0, MOST_SEALED_BYTES));
    return Buffer.isBuffer(sealed) ? this.#options.seal.open(name, sealed) : undefined;
  }

  /** Tells others; `ageMs` old it is now. */
  async tell(keyHash: string, finding: Finding, ageMs: number): Promise<void> {
    const leftMs = Math.floor(BELIEVED_MS - ageMs);
    const name = this.#options.seal.nameOf(keyHash);
    const sealed = this.#options.seal.seal(name, finding);
    if (sealed && leftMs > 0) await this.#ask(() => this.#redis.set(name, sealed, "PX", leftMs));
  }

  async stop(): Promise<void> {
    this.#restsUntilMs = Number.POSITIVE_INFINITY;
    this.#redis.disconnect();
  }

  async #ask<Answer>(ask: () => Promise<Answer>): Promise<Answer | undefined> {
    if (performance.now() < this.#restsUntilMs || this.#underWay >= MOST_UNDER_WAY || this.#redis.status !== "ready") return undefined;
    this.#underWay += 1;
    try {
      const answer = await ask();
      this.#unreadBytes = 0;
      this.#answered();
      return answer;
    } catch (error) {
      this.#failed(error as Error);
      // What it still owes is never waited for: the next question begins on a new connection.
      if (this.#redis.status === "ready") this.#redis.stream.destroy();
      return undefined;
    } finally {
      this.#underWay -= 1;
    }
  }

  /** Of the connection that was just made. */
  #countBytes(): void {
    this.#unreadBytes = 0;
    const { stream } = this.#redis;
    stream.on("data", (chunk: Buffer) => {
      this.#unreadBytes += chunk.length;
      if (this.#unreadBytes > MOST_UNREAD_BYTES) stream.destroy(new Error("An answer of Redis has no end."));
    });
  }

  #answered(): void {
    if (this.#isAway === false) return;
    this.#isAway = false;
    this.#options.logger.info({}, "limits_redis.connected");
  }

  #failed(error: Error): void {
    if (this.#restsUntilMs === Number.POSITIVE_INFINITY) return;
    this.#restsUntilMs = performance.now() + REST_MS;
    if (this.#isAway) return;
    this.#isAway = true;
    this.#options.logger.warn({ error: error.message.slice(0, 200) }, "limits_redis.away");
  }
}
