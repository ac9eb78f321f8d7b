import type { IncomingHttpHeaders } from "node:http";
import type { ServedUsage } from "./served-usage.ts";

export type ProviderRoute =
  | "messages"
  | "count_tokens"
  | "chat_completions"
  | "responses"
  | "embeddings"
  | "generate_content"
  | "models"
  | "unknown";

/**
 * - `pending`: no end yet, hanging ones included
 * - `completed`: the whole answer was handed to the socket
 * - `refused`: answered with an error status
 * - `broken`: the stand-in cut it, ended it early or sent an error event, as scripted
 * - `client_gone`: the caller closed the connection first
 */
export type RequestOutcome = "pending" | "completed" | "refused" | "broken" | "client_gone";

/** One request as it came over the wire, and what became of it. Fields of the second half change until `outcome` is final. */
export interface JournalEntry {
  /** 1, 2, 3 … in order of arrival. */
  readonly sequence: number;
  readonly method: string;
  /** With the query string. */
  readonly path: string;
  readonly route: ProviderRoute;
  readonly headers: IncomingHttpHeaders;
  /** Exactly the bytes received. */
  readonly body: Buffer;
  /** The body as JSON; undefined if it is none. */
  readonly json: unknown;
  readonly model: string | undefined;
  readonly stream: boolean;
  readonly startedAtMs: number;

  outcome: RequestOutcome;
  status: number | undefined;
  responseId: string | undefined;
  /** What the whole answer claims; set when it begins. A broken answer may have shown only a part of it. */
  usage: ServedUsage | undefined;
  /** SSE frames written so far. */
  framesSent: number;
  bytesSent: number;
  endedAtMs: number | undefined;
}

interface Waiter {
  readonly matches: (entry: JournalEntry) => boolean;
  readonly resolve: (entry: JournalEntry) => void;
}

/** Keeps the newest requests, and lets a test wait for one to reach a state instead of sleeping. */
export class Journal {
  readonly entries: JournalEntry[] = [];
  readonly #size: number;
  readonly #waiters = new Set<Waiter>();
  #sequence = 0;

  constructor(size: number) {
    this.#size = size;
  }

  nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  add(entry: JournalEntry): void {
    this.entries.push(entry);
    if (this.entries.length > this.#size) this.entries.shift();
    this.changed(entry);
  }

  changed(entry: JournalEntry): void {
    for (const waiter of this.#waiters) {
      if (!waiter.matches(entry)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(entry);
    }
  }

  /** The first request, past or future, that matches; looked at again whenever one changes. Rejects after the deadline. */
  async waitFor(matches: (entry: JournalEntry) => boolean, timeoutMs: number): Promise<JournalEntry> {
    const known = this.entries.find(matches);
    if (known) return known;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        matches,
        resolve: (entry) => {
          clearTimeout(timer);
          resolve(entry);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        const seen = this.entries.map((entry) => `${entry.path} ${entry.outcome}`).join(", ") || "none";
        reject(new Error(`No request reached the awaited state within ${timeoutMs} ms; seen: ${seen}`));
      }, timeoutMs);
      this.#waiters.add(waiter);
    });
  }
}
