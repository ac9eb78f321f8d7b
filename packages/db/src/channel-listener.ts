import type pg from "pg";
import { connectSession, type DatabaseOptions } from "./client.ts";

/** What a {@link ChannelListener} listens to, and who it tells. */
interface ChannelListenerOptions extends DatabaseOptions {
  /** As `pg_notify` names it. */
  readonly channel: string;
  /** Called with the payload of each notice. */
  readonly onNotice: (payload: string) => void;
  /** Every notice from now on is heard. Those before were not: look for yourself at what they were about. */
  readonly onHearing: () => void;
  /** The connection broke, or could not be made: nothing is heard until `onHearing`. Once for each loss. */
  readonly onDeaf: (error: Error) => void;
}

const RETRY_MS = { first: 100, most: 10_000 } as const;

/**
 * Listens to one channel on a connection of its own, as long as it is not stopped: a connection that breaks is made again, after a
 * pause that doubles up to 10 s. Whoever relies on it looks for himself, seldom, too: a notice is a reason to look, not the news. The
 * address must not be a pooler in transaction mode.
 */
export class ChannelListener {
  readonly #options: ChannelListenerOptions;
  #client: pg.Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #attempt: Promise<void>;
  #isDeaf = false;
  #isStopped = false;

  /** Begins to listen; returns at once. Never throws: a database that is away is tried again. */
  constructor(options: ChannelListenerOptions) {
    this.#options = options;
    this.#attempt = this.#connect(RETRY_MS.first);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#attempt;
    await this.#client?.end().catch(() => undefined);
  }

  async #connect(retryMs: number): Promise<void> {
    try {
      await this.#listen();
    } catch (error) {
      this.#lost(error as Error, retryMs);
    }
  }

  async #listen(): Promise<void> {
    const { channel, onNotice, onHearing } = this.#options;
    const client = await connectSession({ ...this.#options, applicationName: "llm-gateway notices" });
    let hasEnded = false;
    client.once("end", () => {
      hasEnded = true;
      // Before it hears, what fails is thrown below.
      if (this.#client === client) this.#lost(new Error("the connection that listens for notices ended"), RETRY_MS.first);
    });
    client.on("notification", ({ payload }) => onNotice(payload ?? ""));
    try {
      await client.query(`listen ${client.escapeIdentifier(channel)}`);
      if (hasEnded) throw new Error("the connection that listens for notices ended");
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    this.#client = client;
    this.#isDeaf = false;
    if (!this.#isStopped) onHearing();
  }

  #lost(error: Error, retryMs: number): void {
    this.#client = undefined;
    if (this.#isStopped) return;
    if (!this.#isDeaf) this.#options.onDeaf(error);
    this.#isDeaf = true;
    this.#timer = setTimeout(() => (this.#attempt = this.#connect(Math.min(2 * retryMs, RETRY_MS.most))), retryMs);
  }
}
