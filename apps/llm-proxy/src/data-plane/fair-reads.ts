import type { Flow } from "./caller-answer.ts";

/** How many bytes of answers are relayed before everything else gets its turn. */
export interface FairReadsSettings {
  /** Of all answers together that had more than {@link promptBytesPerSecond} in this second: the bulk. */
  readonly bulkBytesPerTurn: number;
  /** Of all others together. */
  readonly promptBytesPerTurn: number;
  readonly promptBytesPerSecond: number;
}

/** A turn of both is two to three milliseconds; a stream of tokens has 20 KB a second, and most whole answers are below 128 KB. */
const SETTINGS: FairReadsSettings = { bulkBytesPerTurn: 128 * 1024, promptBytesPerTurn: 256 * 1024, promptBytesPerSecond: 128 * 1024 };

/** What a piece counts at least: to relay one byte is about as much work as this. */
const LEAST_PIECE_BYTES = 1_024;
const SECOND_MS = 1_000;

/** Runs something once everything that is ready now has had its turn. */
type NextTurn = (act: () => void) => void;

/** One answer of a provider, as its reader sees it. What is paused here for its reader stays paused until the reader resumes it. */
export interface FairRead extends Flow {
  /** Takes what came: relays it now, or holds it and stops the flow until its turn. Never throws. */
  take(chunk: Buffer): void;
  /** Relays what is held, whoever's turn it is: nothing comes behind it. */
  flush(): void;
  /** Drops what is held. Idempotent; nothing is relayed afterwards. */
  close(): void;
}

/**
 * Shares the event loop between the answers that are relayed. libuv reads a connection on which much has arrived up to 32 times before it
 * looks at the next one, so that a few dozen large answers kept everybody else waiting for a quarter of a second.
 *
 * The rule. In a turn of the event loop a bounded number of bytes is relayed, of all answers together: so many of the bulk, and
 * apart from them so many of the others, which therefore never wait behind the bulk. What comes when a share is used up is held, at most one piece
 * of each answer, and its connection is read no further, so that TCP holds back the provider. In the next turn those that wait are
 * served first, in the order in which they began to wait, each with the piece that it holds, until the share is used up again. So none
 * starves: whoever waits has at most all others before it, once. A sole answer waits for no timer: it has the whole share of each turn, and
 * turns follow one another at once while somebody waits.
 */
export class FairReads {
  readonly #bulk: Lane;
  readonly #prompt: Lane;
  readonly #promptBytesPerSecond: number;
  readonly #nextTurn: NextTurn;
  readonly #nowMs: () => number;
  #isTurnAsked = false;

  constructor(settings: Partial<FairReadsSettings> = {}, nextTurn: NextTurn = setImmediate, nowMs: () => number = () => performance.now()) {
    const { bulkBytesPerTurn, promptBytesPerTurn, promptBytesPerSecond } = { ...SETTINGS, ...settings };
    this.#bulk = new Lane(bulkBytesPerTurn);
    this.#prompt = new Lane(promptBytesPerTurn);
    this.#promptBytesPerSecond = promptBytesPerSecond;
    this.#nextTurn = nextTurn;
    this.#nowMs = nowMs;
  }

  /** Bytes that wait for their turn now. */
  get heldBytes(): number {
    return this.#bulk.heldBytes + this.#prompt.heldBytes;
  }

  /** `flow` is what the bytes come from, `relay` what takes them when it is their turn; what it throws goes to `fail`. */
  join(flow: Flow, relay: (chunk: Buffer) => void, fail: (error: Error) => void): FairRead {
    let sinceMs = Number.NEGATIVE_INFINITY;
    let bytes = 0;
    const laneOf = (length: number): Lane => {
      const nowMs = this.#nowMs();
      if (nowMs - sinceMs >= SECOND_MS) {
        sinceMs = nowMs;
        bytes = 0;
      }
      bytes += length;
      return bytes > this.#promptBytesPerSecond ? this.#bulk : this.#prompt;
    };
    return new Read(flow, relay, fail, laneOf, () => this.#askForTurn());
  }

  #askForTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    this.#nextTurn(this.#turn);
  }

  readonly #turn = (): void => {
    this.#isTurnAsked = false;
    const isPromptBusy = this.#prompt.serve();
    const isBulkBusy = this.#bulk.serve();
    // What was relayed now is part of the turn that begins: its share is whole again in the next one.
    if (isPromptBusy || isBulkBusy) this.#askForTurn();
  };
}

/** Answers that share so many bytes of a turn, and those of them that wait. */
class Lane {
  readonly #bytesPerTurn: number;
  readonly #waiting = new Set<Read>();
  #bytes = 0;

  constructor(bytesPerTurn: number) {
    this.#bytesPerTurn = bytesPerTurn;
  }

  get heldBytes(): number {
    return [...this.#waiting].reduce((sum, read) => sum + read.heldBytes, 0);
  }

  /** Nobody waits, and of this turn something is left. */
  get hasRoom(): boolean {
    return this.#waiting.size === 0 && this.#bytes < this.#bytesPerTurn;
  }

  /** A turn has an end even if everything comes byte by byte. */
  spend(bytes: number): void {
    this.#bytes += Math.max(bytes, LEAST_PIECE_BYTES);
  }

  wait(read: Read): void {
    this.#waiting.add(read);
  }

  leave(read: Read): void {
    this.#waiting.delete(read);
  }

  /** Begins a turn. Whether it relayed anything. */
  serve(): boolean {
    this.#bytes = 0;
    // A read that holds something again is at the end of the set, and comes again.
    for (const read of this.#waiting) {
      if (this.#bytes >= this.#bytesPerTurn) break;
      this.#waiting.delete(read);
      read.serve();
    }
    return this.#bytes > 0 || this.#waiting.size > 0;
  }
}

class Read implements FairRead {
  readonly #flow: Flow;
  readonly #relay: (chunk: Buffer) => void;
  readonly #fail: (error: Error) => void;
  readonly #laneOf: (bytes: number) => Lane;
  readonly #askForTurn: () => void;
  #held: Buffer[] = [];
  /** Where it waits, or waited last. */
  #lane: Lane | undefined;
  #isPausedByReader = false;
  #isClosed = false;

  constructor(
    flow: Flow,
    relay: (chunk: Buffer) => void,
    fail: (error: Error) => void,
    laneOf: (bytes: number) => Lane,
    askForTurn: () => void,
  ) {
    this.#flow = flow;
    this.#relay = relay;
    this.#fail = fail;
    this.#laneOf = laneOf;
    this.#askForTurn = askForTurn;
  }

  get heldBytes(): number {
    return this.#held.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  take(chunk: Buffer): void {
    // undici tells of nothing, too, when it is resumed and has nothing; as a piece that waits it would come again without end.
    if (this.#isClosed || chunk.length === 0) return;
    const lane = this.#laneOf(chunk.length);
    this.#askForTurn();
    if (this.#held.length === 0 && lane.hasRoom) return this.#relayNow(chunk, lane);
    this.#held.push(chunk);
    // What came although the flow was stopped goes with what is held.
    if (this.#held.length > 1) return;
    this.#flow.pause();
    this.#lane = lane;
    if (!this.#isPausedByReader) lane.wait(this);
  }

  /** It is its turn: relays what it holds, and lets more come. */
  serve(): void {
    const lane = this.#lane;
    if (!lane) return;
    const held = this.#held;
    this.#held = [];
    for (const chunk of held) this.#relayNow(chunk, lane);
    if (!this.#isPausedByReader && !this.#isClosed) this.#flow.resume();
  }

  flush(): void {
    this.#lane?.leave(this);
    const held = this.#held;
    this.#held = [];
    for (const chunk of held) if (this.#lane) this.#relayNow(chunk, this.#lane);
  }

  close(): void {
    this.#isClosed = true;
    this.#lane?.leave(this);
    this.#held = [];
  }

  pause(): void {
    this.#isPausedByReader = true;
    this.#lane?.leave(this);
    this.#flow.pause();
  }

  resume(): void {
    this.#isPausedByReader = false;
    if (this.#isClosed) return;
    if (this.#held.length === 0) return this.#flow.resume();
    this.#lane?.wait(this);
    this.#askForTurn();
  }

  #relayNow(chunk: Buffer, lane: Lane): void {
    if (this.#isClosed) return;
    lane.spend(chunk.length);
    try {
      this.#relay(chunk);
    } catch (error) {
      this.close();
      this.#fail(error as Error);
    }
  }
}
