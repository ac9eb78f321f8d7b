import type { IncomingMessage, ServerResponse } from "node:http";
import { createGzip, gzipSync, constants, type Gzip } from "node:zlib";
import type { Journal, JournalEntry, RequestOutcome } from "./journal.ts";
import type { Script } from "./script.ts";

/** Thrown by a write when the caller has gone away; ends the answer quietly. */
export class ClientGone extends Error {}

/** Writes one answer as scripted and keeps its journal entry true. */
export class Delivery {
  readonly entry: JournalEntry;
  readonly #response: ServerResponse;
  readonly #journal: Journal;
  readonly #script: Script;
  readonly #gzipAsked: boolean;
  readonly #gone: Promise<void>;
  #gzip: Gzip | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, entry: JournalEntry, journal: Journal, script: Script) {
    this.entry = entry;
    this.#response = response;
    this.#journal = journal;
    this.#script = script;
    this.#gzipAsked = script.gzip ?? /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:,|$))/.test(String(request.headers["accept-encoding"] ?? ""));
    this.#gone = new Promise((done) => {
      response.once("close", () => {
        if (!response.writableFinished) this.end("client_gone");
        done();
      });
    });
  }

  /** Sets the outcome, once. */
  end(outcome: RequestOutcome): void {
    if (this.entry.outcome !== "pending") return;
    this.entry.outcome = outcome;
    this.entry.endedAtMs = Date.now();
    this.#journal.changed(this.entry);
  }

  /** Waits; rejects with ClientGone as soon as the caller goes away. */
  async pause(ms: number): Promise<void> {
    if (ms <= 0) return;
    let timer: NodeJS.Timeout | undefined;
    const elapsed = new Promise<void>((done) => void (timer = setTimeout(done, ms)));
    await Promise.race([elapsed, this.#gone]);
    clearTimeout(timer);
    if (this.#response.closed) throw new ClientGone();
  }

  /** Resolves when the caller has gone away. */
  async hang(): Promise<never> {
    await this.#gone;
    throw new ClientGone();
  }

  /** Resets the connection. */
  cut(): void {
    this.end("broken");
    this.#response.socket?.resetAndDestroy();
  }

  sendWhole(status: number, headers: Readonly<Record<string, string>>, text: string): void {
    const plain = Buffer.from(text);
    const bytes = this.#gzipAsked ? gzipSync(plain) : plain;
    this.#begin(status, { ...headers, "content-length": String(bytes.length) });
    this.entry.bytesSent += bytes.length;
    this.#response.end(bytes, () => this.end(status < 400 ? "completed" : "refused"));
  }

  /** Announces the whole length, sends half of it and resets the connection. */
  async sendHalf(headers: Readonly<Record<string, string>>, text: string): Promise<void> {
    const bytes = Buffer.from(text);
    this.#begin(200, { ...headers, "content-length": String(bytes.length) }, false);
    await this.#writeBytes(bytes.subarray(0, bytes.length >> 1));
    this.cut();
  }

  /** Sends pieces as they are made, with room waited for; `gzip` as scripted, never as asked. */
  async sendPieces(
    status: number,
    headers: Readonly<Record<string, string>>,
    pieces: Iterable<string | Uint8Array>,
    end: "clean" | "cut" | "hang",
  ): Promise<void> {
    const gzips = this.#script.gzip ?? false;
    this.#begin(status, { ...headers, ...(gzips && { "content-encoding": "gzip" }) }, false);
    if (gzips) {
      this.#gzip = createGzip();
      this.#gzip.pipe(this.#response);
    }
    for (const piece of pieces) await this.#writeBytes(Buffer.from(piece), !gzips);
    if (end === "hang") await this.hang();
    if (end === "cut") return this.cut();
    await this.endStream(status < 400 ? "completed" : "refused");
  }

  beginStream(headers: Readonly<Record<string, string>>): void {
    this.#begin(200, { ...headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
    if (this.#gzipAsked) {
      this.#gzip = createGzip();
      this.#gzip.pipe(this.#response);
    }
    this.#response.flushHeaders();
  }

  /** Writes one SSE frame and waits for room; the scripted gap comes before each frame but the first. */
  async sendFrame(frame: string): Promise<void> {
    if (this.entry.framesSent > 0) await this.pause(this.#script.frameGapMs ?? 0);
    const { hold } = this.#script;
    if (hold?.beforeFrame === this.entry.framesSent) await Promise.race([hold.until, this.#gone]);
    await this.#writeBytes(Buffer.from(frame));
    this.entry.framesSent += 1;
    this.#journal.changed(this.entry);
  }

  /** Writes the first half of a frame and resets the connection. */
  async cutInsideFrame(frame: string): Promise<void> {
    await this.#writeBytes(Buffer.from(frame.slice(0, frame.length >> 1)));
    this.cut();
  }

  async endStream(outcome: RequestOutcome): Promise<void> {
    this.#response.once("finish", () => this.end(outcome));
    (this.#gzip ?? this.#response).end();
    await this.#gone;
  }

  #begin(status: number, headers: Readonly<Record<string, string>>, mayGzip = true): void {
    if (this.#response.closed) throw new ClientGone();
    this.entry.status = status;
    this.#response.writeHead(status, { ...headers, ...(mayGzip && this.#gzipAsked && { "content-encoding": "gzip" }) });
    this.#journal.changed(this.entry);
  }

  async #writeBytes(bytes: Buffer, flushes = true): Promise<void> {
    if (this.#response.closed) throw new ClientGone();
    const sink = this.#gzip ?? this.#response;
    const written = new Promise<void>((done) => void sink.write(bytes, () => done()));
    if (flushes) this.#gzip?.flush(constants.Z_SYNC_FLUSH);
    this.entry.bytesSent += bytes.length;
    await Promise.race([written, this.#gone]);
    if (this.#response.closed) throw new ClientGone();
  }
}
