/** What bytes come from; stopped while they are not taken. */
export interface Flow {
  pause(): void;
  resume(): void;
}

/** Answers that had more than those of the lane before it, and up to so much, in this second; and how much of them all is relayed. */
export interface LaneSettings {
  readonly upToBytes: number;
  /** In a turn of the event loop. */
  readonly bytesPerTurn: number;
  /** Of all of them together; default: as fast as turns follow one another. */
  readonly bytesPerSecond?: number;
  /** What is read of a connection at a time, at most; default: of a provider's (`upstream-connection.ts`). */
  readonly pieceBytes?: number;
}

/**
 * A turn of all three is about two milliseconds. A stream of tokens has 20 KB a second, and most whole answers have less than a read. The
 * lane in the middle keeps a thousand streams of 100 KB a second from standing before them. What has more than the first lane is bounded by
 * the second as well: without that, fifty large answers take every turn there is, so that a request, which needs ten of them, waits for ten
 * shares, and their garbage for as many collections. 32 MB a second are 1,600 streams of 20 KB, or a quarter of a Gbit/s of large answers.
 */
const LANES: readonly LaneSettings[] = [
  { upToBytes: 8 * 1024, bytesPerTurn: 64 * 1024 },
  { upToBytes: 128 * 1024, bytesPerTurn: 32 * 1024, bytesPerSecond: 16 * 1024 * 1024 },
  { upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn: 32 * 1024, bytesPerSecond: 16 * 1024 * 1024 },
];

/** What a piece counts at least: to relay one byte is about as much work as this. */
const LEAST_PIECE_BYTES = 1_024;
const PIECE_BYTES = 16 * 1024;
const SECOND_MS = 1_000;

/** When turns are: `next` runs something once everything that is ready now has had its turn, `later` not before so many milliseconds. */
interface Turns {
  next(act: () => void): void;
  later(act: () => void, ms: number): void;
  nowMs(): number;
}

const EVENT_LOOP: Turns = { next: setImmediate, later: (act, ms) => void setTimeout(act, ms), nowMs: () => performance.now() };

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
 * answers of a lane together, so that those that had little never wait behind the bulk; and of the bulk, in a second. An answer whose lane has
 * used its share up is read no further: what it has waits in the system's buffers, and TCP holds back the provider. In the turns that
 * come those that wait may each have one piece, in the order in which they began to wait, until the share is used up again. So none
 * starves: whoever waits has at most all others before it, once. A piece that comes all the same is held until then. Turns follow one another
 * at once while somebody waits, and where a lane has had its bytes of a second, as soon as some are due again.
 */
export class FairReads {
  readonly #lanes: readonly Lane[];
  readonly #turns: Turns;
  #isNextAsked = false;
  #isLaterAsked = false;

  /** `lanes`: by what their answers had, and the last without an end. */
  constructor(lanes: readonly LaneSettings[] = LANES, turns: Turns = EVENT_LOOP) {
    this.#lanes = lanes.map((lane) => new Lane(lane, turns));
    this.#turns = turns;
  }

  /** Bytes that wait for their turn now. */
  get heldBytes(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.heldBytes, 0);
  }

  /** `flow` is what the bytes come from, `relay` what takes them when it is their turn; what it throws goes to `fail`. */
  join(flow: Flow, relay: (chunk: Buffer) => void, fail: (error: Error) => void): FairRead {
    let sinceMs = Number.NEGATIVE_INFINITY;
    let bytes = 0;
    const lanes: LanesOfRead = {
      count: (length) => {
        const nowMs = this.#turns.nowMs();
        if (nowMs - sinceMs >= SECOND_MS) {
          sinceMs = nowMs;
          bytes = 0;
        }
        bytes += length;
        return this.#laneOf(bytes);
      },
      next: (length) => this.#laneOf(bytes + length),
    };
    return new Read(flow, relay, fail, lanes, () => this.#askForTurn());
  }

  #laneOf(bytes: number): Lane {
    const lane = this.#lanes.find(({ upToBytes }) => bytes <= upToBytes);
    if (!lane) throw new Error("The last lane has no end.");
    return lane;
  }

  /** Where a lane has something to do, now or later. */
  #askForTurn(): void {
    const dueInMs = Math.min(...this.#lanes.map((lane) => lane.dueInMs));
    if (dueInMs === 0) this.#askForNext();
    else if (dueInMs < Number.POSITIVE_INFINITY) this.#askForLater(dueInMs);
  }

  #askForNext(): void {
    if (this.#isNextAsked) return;
    this.#isNextAsked = true;
    this.#turns.next(() => {
      this.#isNextAsked = false;
      this.#turn();
    });
  }

  #askForLater(ms: number): void {
    if (this.#isLaterAsked) return;
    this.#isLaterAsked = true;
    this.#turns.later(() => {
      this.#isLaterAsked = false;
      this.#turn();
    }, ms);
  }

  #turn(): void {
    for (const lane of this.#lanes) lane.serve();
    // What was relayed now is part of the turn that begins: its share is whole again in the next one.
    this.#askForTurn();
  }
}

/** Answers that share so many bytes of a turn and of a second, and those of them that wait. */
class Lane {
  readonly upToBytes: number;
  readonly #bytesPerTurn: number;
  readonly #bytesPerMs: number;
  readonly #pieceBytes: number;
  readonly #turns: Turns;
  readonly #waiting = new Set<Read>();
  #bytes = 0;
  #turn = 0;
  /** Of the rate: what may be relayed since, up to the share of a turn; below nothing where the last piece was larger than what was left. */
  #allowance: number;
  #allowanceAtMs: number;

  constructor(
    { upToBytes, bytesPerTurn, bytesPerSecond = Number.POSITIVE_INFINITY, pieceBytes = PIECE_BYTES }: LaneSettings,
    turns: Turns,
  ) {
    this.upToBytes = upToBytes;
    this.#bytesPerTurn = bytesPerTurn;
    this.#bytesPerMs = bytesPerSecond / SECOND_MS;
    this.#pieceBytes = pieceBytes;
    this.#turns = turns;
    this.#allowance = bytesPerTurn;
    this.#allowanceAtMs = turns.nowMs();
  }

  get heldBytes(): number {
    return [...this.#waiting].reduce((sum, read) => sum + read.heldBytes, 0);
  }

  /** Nobody waits, and of this turn and of the rate something is left. */
  get hasRoom(): boolean {
    return this.#waiting.size === 0 && this.#bytes < this.#bytesPerTurn && this.#isAllowed();
  }

  /**
   * When it needs a turn: at once where somebody waits, later where nothing of the rate is left for them. Also at once where half of the share is
   * used up: what was less counts on into the turns that come, so that a stream of tokens costs no turn for each of its pieces; a share
   * never holds more for it. Infinity: not at all.
   */
  get dueInMs(): number {
    if (this.#waiting.size === 0) return this.#bytes * 2 >= this.#bytesPerTurn ? 0 : Number.POSITIVE_INFINITY;
    // Half a share at a time: a turn for each piece would cost more than the piece.
    return this.#isAllowed() ? 0 : Math.ceil((this.#bytesPerTurn / 2 - this.#allowance) / this.#bytesPerMs);
  }

  #isAllowed(): boolean {
    if (this.#bytesPerMs === Number.POSITIVE_INFINITY) return true;
    const nowMs = this.#turns.nowMs();
    this.#allowance = Math.min(this.#bytesPerTurn, this.#allowance + (nowMs - this.#allowanceAtMs) * this.#bytesPerMs);
    this.#allowanceAtMs = nowMs;
    return this.#allowance > 0;
  }

  /** For a piece that is read next, whose size nobody knows yet. Returns the turn in which it may come. */
  lend(): number {
    this.spend(this.#pieceBytes);
    return this.#turn;
  }

  /** The piece has come, and is paid for by its size. Whether it came in the turn for which it was lent. */
  repay(turn: number): boolean {
    this.#allowance += this.#pieceBytes;
    if (turn !== this.#turn) return false;
    this.#bytes = Math.max(0, this.#bytes - this.#pieceBytes);
    return true;
  }

  /** A turn has an end even if everything comes byte by byte. */
  spend(bytes: number): void {
    const spent = Math.max(bytes, LEAST_PIECE_BYTES);
    this.#bytes += spent;
    this.#allowance -= spent;
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
    this.#turn += 1;
    // A read that holds something again is at the end of the set, and comes again.
    for (const read of this.#waiting) {
      if (this.#bytes >= this.#bytesPerTurn || !this.#isAllowed()) break;
      this.#waiting.delete(read);
      read.serve();
    }
  }
}

/** Of one answer. */
interface LanesOfRead {
  /** Counts a piece that came, and says where it belongs. */
  count(length: number): Lane;
  /** Where a piece of that length would belong that came now. */
  next(length: number): Lane;
}

class Read implements FairRead {
  readonly #flow: Flow;
  readonly #relay: (chunk: Buffer) => void;
  readonly #fail: (error: Error) => void;
  readonly #lanes: LanesOfRead;
  readonly #askForTurn: () => void;
  #held: Buffer[] = [];
  /** Where it waits, or waited last. */
  #lane: Lane | undefined;
  /** Its flow is stopped until its turn, or until it has room again. */
  #isStopped = false;
  /** The turn in which the next piece is paid for. */
  #grantedTurn: number | undefined;
  #isPausedByReader = false;
  #isClosed = false;

  constructor(flow: Flow, relay: (chunk: Buffer) => void, fail: (error: Error) => void, lanes: LanesOfRead, askForTurn: () => void) {
    this.#flow = flow;
    this.#relay = relay;
    this.#fail = fail;
    this.#lanes = lanes;
    this.#askForTurn = askForTurn;
  }

  get heldBytes(): number {
    return this.#held.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  take(chunk: Buffer): void {
    // undici tells of nothing, too, when it is resumed and has nothing; as a piece that waits it would come again without end.
    if (this.#isClosed || chunk.length === 0) return;
    const own = this.#lanes.count(chunk.length);
    const granted = this.#takeGrant();
    if (this.#held.length > 0 || !(granted || own.hasRoom)) {
      this.#held.push(chunk);
      // What came although the flow was stopped goes with what is held.
      if (this.#held.length === 1) this.#stop(own);
      return;
    }
    const lane = granted ?? own;
    this.#relayNow(chunk, lane);
    const next = this.#lanes.next(chunk.length);
    if (!next.hasRoom) this.#stop(next);
    else if (lane.dueInMs === 0) this.#askForTurn();
  }

  /** The lane in which this piece may be relayed whoever waits; a grant of a turn that is over is worth nothing. */
  #takeGrant(): Lane | undefined {
    const [turn, lane] = [this.#grantedTurn, this.#lane];
    if (turn === undefined || !lane) return undefined;
    this.#grantedTurn = undefined;
    return lane.repay(turn) ? lane : undefined;
  }

  /** Before more is read: what waits lies in the system's buffers, where it is nobody's garbage. */
  #stop(lane: Lane): void {
    if (this.#isClosed) return;
    this.#flow.pause();
    this.#lane = lane;
    this.#isStopped = true;
    if (this.#isPausedByReader) return;
    lane.wait(this);
    this.#askForTurn();
  }

  /** It is its turn: relays what it holds, or lets one piece come. */
  serve(): void {
    const lane = this.#lane;
    if (!lane) return;
    this.#isStopped = false;
    const held = this.#held;
    this.#held = [];
    for (const chunk of held) this.#relayNow(chunk, lane);
    if (this.#isClosed) return;
    const next = this.#lanes.next(held.at(-1)?.length ?? 0);
    if (held.length > 0 && !next.hasRoom) return this.#stop(next);
    if (held.length === 0) this.#grantedTurn = lane.lend();
    if (!this.#isPausedByReader) this.#flow.resume();
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
    if (!this.#isStopped) return this.#flow.resume();
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
