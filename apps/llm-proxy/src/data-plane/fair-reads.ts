import type { Flow } from "./caller-answer.ts";

/** Answers that had more than those of the lane before it, and up to so much, in this second; and how much of them all a turn relays. */
export interface LaneSettings {
  readonly upToBytes: number;
  readonly bytesPerTurn: number;
}

/**
 * A turn of all three is about two milliseconds. A stream of tokens has 20 KB a second, and most whole answers have less than a read. The
 * lane in the middle keeps a thousand streams of 100 KB a second from standing before them.
 */
const LANES: readonly LaneSettings[] = [
  { upToBytes: 16 * 1024, bytesPerTurn: 128 * 1024 },

  { upToBytes: 128 * 1024, bytesPerTurn: 128 * 1024 },
  { upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn: 128 * 1024 },
];

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
 * The rule. An answer is in a lane by what it had in this second. In a turn of the event loop a bounded number of bytes is relayed of all
 * answers of a lane together, so that those that had little never wait behind the bulk. What comes when this share is used up is held, at most one piece
 * of each answer, and its connection is read no further, so that TCP holds back the provider. In the next turn those that wait are
 * served first, in the order in which they began to wait, each with the piece that it holds, until the share is used up again. So none
 * starves: whoever waits has at most all others before it, once. A sole answer waits for no timer: it has the whole share of each turn, and
 * turns follow one another at once while somebody waits.
 */
export class FairReads {
  readonly #lanes: readonly Lane[];
  readonly #nextTurn: NextTurn;
  readonly #nowMs: () => number;
  #isTurnAsked = false;

  /** `lanes`: by what their answers had, and the last without an end. */
  constructor(lanes: readonly LaneSettings[] = LANES, nextTurn: NextTurn = setImmediate, nowMs: () => number = () => performance.now()) {
    this.#lanes = lanes.map((lane) => new Lane(lane));
    this.#nextTurn = nextTurn;
    this.#nowMs = nowMs;
  }

  /** Bytes that wait for their turn now. */
  get heldBytes(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.heldBytes, 0);
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
      return this.#laneOf(bytes);
    };
    return new Read(flow, relay, fail, laneOf, () => this.#askForTurn());
  }

  #laneOf(bytes: number): Lane {
    const lane = this.#lanes.find(({ upToBytes }) => bytes <= upToBytes);
    if (!lane) throw new Error("The last lane has no end.");
    return lane;
  }

  #askForTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    this.#nextTurn(this.#turn);
  }

  readonly #turn = (): void => {
    this.#isTurnAsked = false;
    for (const lane of this.#lanes) lane.serve();
    // What was relayed now is part of the turn that begins: its share is whole again in the next one.
    if (this.#lanes.some((lane) => lane.needsTurn)) this.#askForTurn();
  };
}

/** Answers that share so many bytes of a turn, and those of them that wait. */
class Lane {
  readonly upToBytes: number;
  readonly #bytesPerTurn: number;
  readonly #waiting = new Set<Read>();
  #bytes = 0;

  constructor({ upToBytes, bytesPerTurn }: LaneSettings) {
    this.upToBytes = upToBytes;
    this.#bytesPerTurn = bytesPerTurn;
  }

  get heldBytes(): number {
    return [...this.#waiting].reduce((sum, read) => sum + read.heldBytes, 0);
  }

  /** Nobody waits, and of this turn something is left. */
  get hasRoom(): boolean {
    return this.#waiting.size === 0 && this.#bytes < this.#bytesPerTurn;
  }

  /**
   * Whether the next turn has something to do: somebody waits, or half of the share is used up. What was less counts on into the turns
   * that come, so that a stream of tokens costs no turn for each of its pieces; a share never holds more for it.
   */
  get needsTurn(): boolean {
    return this.#waiting.size > 0 || this.#bytes * 2 >= this.#bytesPerTurn;
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

  /** Begins a turn. */
  serve(): void {
    this.#bytes = 0;
    // A read that holds something again is at the end of the set, and comes again.
    for (const read of this.#waiting) {
      if (this.#bytes >= this.#bytesPerTurn) break;
      this.#waiting.delete(read);
      read.serve();
    }
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
    if (this.#held.length === 0 && lane.hasRoom) {
      this.#relayNow(chunk, lane);
      if (lane.needsTurn) this.#askForTurn();
      return;
    }
    this.#askForTurn();
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
