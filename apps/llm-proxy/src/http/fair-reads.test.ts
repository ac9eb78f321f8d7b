import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createGzip } from "node:zlib";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { type FairRead, FairReads, type LaneSettings } from "./fair-reads.ts";
import { OutgoingBody } from "../data-plane/outgoing-body.ts";
import { Upstreams } from "../data-plane/upstream.ts";

const KB = 1024;
const PIECE_BYTES = 16 * KB;
const BULK_BYTES = 64 * KB;
const LANES = [
  { upToBytes: 32 * KB, bytesPerTurn: 64 * KB },
  { upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn: BULK_BYTES },
];
const lane = (bytesPerTurn: number): readonly LaneSettings[] => [{ upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn }];
const A_BYTE_A_TURN = lane(1);

/** An event loop of the test: a turn is what was asked for before it began. Its time stands still until the test moves it. */
class Turns {
  at = 0;
  #asked: (() => void)[] = [];
  #later: { readonly atMs: number; readonly act: () => void }[] = [];
  readonly next = (act: () => void): void => void this.#asked.push(act);
  readonly later = (act: () => void, ms: number): void => void this.#later.push({ atMs: this.at + ms, act });
  readonly nowMs = (): number => this.at;

  /** A millisecond later. */
  pass(): void {
    this.at += 1;
    const due = this.#later.filter(({ atMs }) => atMs <= this.at);
    this.#later = this.#later.filter(({ atMs }) => atMs > this.at);
    this.#asked.push(...due.map(({ act }) => act));
  }

  /** Whether somebody asked for one. */
  run(): boolean {
    const asked = this.#asked.splice(0);
    for (const act of asked) act();
    return asked.length > 0;
  }
}

/** A provider that always has more, in pieces of one size, as long as its flow runs; and how much of it was relayed. */
class Answer {
  relayed = 0;
  readonly order: number[] = [];
  #isPaused = false;
  #sent = 0;
  readonly #read: FairRead;
  readonly #pieceBytes: number;

  constructor(reads: FairReads, pieceBytes = PIECE_BYTES, onRelay: (bytes: number) => void = () => undefined) {
    this.#pieceBytes = pieceBytes;
    const flow = { pause: () => (this.#isPaused = true), resume: () => (this.#isPaused = false) };
    const relay = (chunk: Buffer): void => {
      this.relayed += chunk.length;
      this.order.push(chunk.readUInt32BE(0));
      onRelay(chunk.length);
    };
    this.#read = reads.join(flow, relay, (error) => {
      throw error;
    });
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Pieces that came and were not relayed at once. */
  held = 0;

  get read(): FairRead {
    return this.#read;
  }

  /** What libuv does: up to 32 reads of a connection before the next one. */
  arrive(pieces = 32): void {
    for (let index = 0; index < pieces && !this.#isPaused; index += 1) {
      const chunk = Buffer.alloc(this.#pieceBytes);
      chunk.writeUInt32BE(this.#sent);
      this.#sent += 1;
      const before = this.relayed;
      this.#read.take(chunk);
      if (this.relayed === before) this.held += 1;
    }
  }
}

function start(lanes: readonly LaneSettings[] = LANES) {
  const turns = new Turns();
  return { turns, reads: new FairReads(lanes, turns) };
}

test("property: however many answers there are and however they come, a turn relays no more than its shares, none starves, and each comes in order", () => {
  const answers = fc.array(fc.record({ pieceBytes: fc.integer({ min: 4, max: PIECE_BYTES }), pieces: fc.integer({ min: 1, max: 64 }) }), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(answers, fc.integer({ min: 1, max: 12 }), (kinds, rounds) => {
      const { turns, reads } = start();
      let ofTurn = 0;
      const all = kinds.map(({ pieceBytes, pieces }) => ({ pieces, answer: new Answer(reads, pieceBytes, (bytes) => (ofTurn += bytes)) }));
      const most = 2 * BULK_BYTES + 2 * PIECE_BYTES;
      for (let round = 0; round < rounds; round += 1) {
        for (const { answer, pieces } of all) answer.arrive(pieces);
        expect(ofTurn).toBeLessThanOrEqual(most);
        ofTurn = 0;
        turns.run();
      }
      // Nothing more arrives: all that is held comes out, and all are read on, in so many turns as the shares ask for.
      let left = 0;
      for (ofTurn = 0; turns.run(); left += 1) {
        expect(ofTurn).toBeLessThanOrEqual(most);
        ofTurn = 0;
      }
      expect(reads.heldBytes).toBe(0);
      expect(left).toBeLessThanOrEqual(Math.ceil((all.length * PIECE_BYTES) / BULK_BYTES) + 3);
      for (const { answer } of all) {
        expect(answer.order).toEqual(answer.order.map((_, index) => index));
        expect(answer.isPaused).toBe(false);
      }
    }),
    { numRuns: 200 },
  );
});

test("hostile 7: of fifty answers that always have more, each is relayed as often as every other, give or take what is served in one turn", () => {
  const { turns, reads } = start();
  const answers = Array.from({ length: 50 }, () => new Answer(reads));
  const run = (count: number): void => {
    for (let turn = 0; turn < count; turn += 1) {
      for (const answer of answers) answer.arrive();
      turns.run();
    }
  };
  // At first nobody waits yet, and none is bulk.
  run(50);
  const before = answers.map(({ relayed }) => relayed);
  run(200);
  const pieces = answers.map(({ relayed }, index) => (relayed - (before[index] ?? 0)) / PIECE_BYTES);

  // Those that are served in the same turn come again in any order.
  expect(Math.max(...pieces) - Math.min(...pieces)).toBeLessThanOrEqual(2);
  expect(Math.min(...pieces)).toBeGreaterThanOrEqual(Math.floor((200 * BULK_BYTES) / PIECE_BYTES / answers.length) - 1);
});

test("what has had little in this second is relayed at once, however much of the bulk waits", () => {
  const { turns, reads } = start();
  const bulk = Array.from({ length: 20 }, () => new Answer(reads));
  for (let turn = 0; turn < 20; turn += 1) {
    for (const answer of bulk) answer.arrive();
    turns.run();
  }
  for (const answer of bulk) answer.arrive();
  expect(bulk.some(({ isPaused }) => isPaused)).toBe(true);
  const small = new Answer(reads);
  small.arrive(2);

  expect(small.relayed).toBe(2 * PIECE_BYTES);
});

test("hostile 7: what has had nothing in this second waits for no thousand streams that have a hundred KB each", async () => {
  const turns = new Turns();
  const reads = new FairReads(undefined, turns);
  const streams = Array.from({ length: 1_000 }, () => new Answer(reads));
  for (let turn = 0; turn < 200; turn += 1) {
    // None of them is bulk yet.
    for (const stream of streams) if (stream.relayed < 96 * KB) stream.arrive(1);
    turns.run();
  }
  expect(streams.filter(({ isPaused }) => isPaused).length).toBeGreaterThan(900);
  const small = new Answer(reads, 4 * KB);
  small.arrive(1);

  expect(small.relayed).toBe(4 * KB);
});

test("hostile 7: fifty answers that always have more are relayed at no more than their rate, and every one of them", () => {
  const [bytesPerTurn, bytesPerSecond] = [BULK_BYTES, 2 * 1024 * KB];
  const { turns, reads } = start([{ upToBytes: Number.POSITIVE_INFINITY, bytesPerTurn, bytesPerSecond }]);
  const answers = Array.from({ length: 50 }, () => new Answer(reads));
  for (let ms = 0; ms < 1_000; ms += 1) {
    // Whatever is due now, as often as the event loop comes round.
    for (let turn = 0; turn < 5; turn += 1) {
      for (const answer of answers) answer.arrive();
      turns.run();
    }
    turns.pass();
  }
  const relayed = answers.map((answer) => answer.relayed);
  const all = relayed.reduce((sum, bytes) => sum + bytes, 0);

  expect(all).toBeLessThanOrEqual(bytesPerSecond + bytesPerTurn + PIECE_BYTES);
  expect(all).toBeGreaterThanOrEqual(bytesPerSecond - bytesPerTurn);
  expect(Math.min(...relayed)).toBeGreaterThanOrEqual(PIECE_BYTES);
});

test("hostile 7: what waits for its turn is not read, so that nothing of it is held", () => {
  const { turns, reads } = start();
  const answers = Array.from({ length: 50 }, () => new Answer(reads));
  let waited = 0;
  for (let turn = 0; turn < 100; turn += 1) {
    // Those that have no turn now are read no further.
    for (const answer of answers) answer.arrive();
    waited += answers.filter(({ isPaused }) => isPaused).length;
    turns.run();
  }

  // While nobody waited yet, each may have had one piece more than there was room for.
  expect(waited).toBeGreaterThan(100 * 40);
  expect(answers.reduce((sum, { held }) => sum + held, 0)).toBeLessThanOrEqual(answers.length);
});

test("a turn that was granted and not used is worth nothing later: what comes then waits as everybody does", () => {
  const { turns, reads } = start(lane(BULK_BYTES));
  const idle = Array.from({ length: 50 }, () => new Answer(reads));
  for (const answer of idle) answer.arrive();
  // They wait, have their turns, and nothing comes.
  while (turns.run());
  expect(idle.map(({ isPaused }) => isPaused)).toEqual(idle.map(() => false));
  const before = idle.reduce((sum, { relayed }) => sum + relayed, 0);
  for (const answer of idle) answer.arrive();

  expect(idle.reduce((sum, { relayed }) => sum + relayed, 0) - before).toBeLessThanOrEqual(BULK_BYTES + PIECE_BYTES);
});

test("after a second of its own a large answer is prompt again", () => {
  const { turns, reads } = start([{ upToBytes: 32 * KB, bytesPerTurn: 64 * KB }, ...A_BYTE_A_TURN]);
  const answer = new Answer(reads);
  for (let turn = 0; turn < 9; turn += 1) {
    answer.arrive();
    turns.run();
  }
  const before = answer.relayed;
  answer.arrive();
  // Of the bulk, a piece a turn.
  expect(answer.relayed - before).toBeLessThanOrEqual(PIECE_BYTES);
  while (turns.run());
  turns.at = 1_000;
  const ofSecond = answer.relayed;
  answer.arrive(2);

  expect(answer.relayed - ofSecond).toBe(2 * PIECE_BYTES);
});

test("a sole answer has its whole share of every turn, and no turn is asked for when nothing waits and nothing came", () => {
  const { turns, reads } = start();
  const sole = new Answer(reads);
  sole.arrive();
  let turnsRun = 0;
  for (const before = sole.relayed; sole.relayed < before + 100 * BULK_BYTES; turnsRun += 1) {
    turns.run();
    sole.arrive();
  }

  expect(turnsRun).toBeLessThanOrEqual(101);
  while (turns.run());
  expect(reads.heldBytes).toBe(0);
});

test("what its reader paused stays paused and held, whoever's turn it is, and stands in nobody's way", () => {
  const { turns, reads } = start(lane(BULK_BYTES));
  const [slow, other] = [new Answer(reads), new Answer(reads)];
  slow.arrive();
  slow.read.pause();
  const relayed = slow.relayed;
  for (let turn = 0; turn < 10; turn += 1) {
    other.arrive();
    turns.run();
  }
  expect([slow.relayed, slow.isPaused]).toEqual([relayed, true]);
  expect(other.relayed).toBeGreaterThanOrEqual(9 * BULK_BYTES);
  slow.read.resume();
  turns.run();
  slow.arrive(1);

  expect(slow.relayed).toBeGreaterThan(relayed);
});

test("pieces of nothing are no pieces: undici tells of one whenever it is resumed and has nothing", () => {
  const { turns, reads } = start(A_BYTE_A_TURN);
  const answer = new Answer(reads);
  answer.arrive(1);
  answer.read.take(Buffer.alloc(PIECE_BYTES));
  answer.read.take(Buffer.alloc(0));
  let count = 0;
  while (turns.run()) count += 1;

  expect(count).toBeLessThan(5);
  expect(answer.relayed).toBe(2 * PIECE_BYTES);
});

test("a relay that throws ends its own answer, and no other", () => {
  const { turns, reads } = start(A_BYTE_A_TURN);
  const failures: Error[] = [];
  const flow = { pause: () => undefined, resume: () => undefined };
  let isBroken = false;
  const relay = (): void => {
    if (isBroken) throw new Error("broken");
  };
  const broken = reads.join(flow, relay, (error) => failures.push(error));
  const other = new Answer(reads);
  broken.take(Buffer.alloc(PIECE_BYTES));
  broken.take(Buffer.alloc(PIECE_BYTES));
  other.arrive(1);
  isBroken = true;
  while (turns.run());
  broken.take(Buffer.alloc(PIECE_BYTES));

  expect(failures.map(({ message }) => message)).toEqual(["broken"]);
  expect(other.relayed).toBe(PIECE_BYTES);
});

test("hostile 7: of forty answers of 1 MB at once over real connections, a turn of the event loop relays no more than its shares", async () => {
  const size = 1024 * KB;
  const { origin } = await serve(Buffer.alloc(size, "x"));
  const upstreams = startUpstreams();
  let ofTurn = 0;
  let most = 0;
  let isOver = false;
  const watch = (): void => {
    most = Math.max(most, ofTurn);
    ofTurn = 0;
    if (!isOver) setImmediate(watch);
  };
  setImmediate(watch);
  const sizes = await Promise.all(Array.from({ length: 40 }, async () => ask(upstreams, origin, (chunk) => void (ofTurn += chunk.length))));
  isOver = true;

  expect(sizes).toEqual(sizes.map(() => size));
  // Twice the shares, because this watch and the turn of the reads are two of the same phase, in either order.
  expect(most).toBeLessThanOrEqual(2 * (64 + 2 * 32 + 3 * 16) * KB);
});

test("what is held when an answer ends is relayed before its end, compressed or not", async () => {
  const body = Buffer.from(Array.from({ length: 700_000 }, (_, index) => (index * 7) % 253));
  for (const encoding of [undefined, "gzip"]) {
    const { origin } = await serve(body, encoding);
    const upstreams = startUpstreams(new FairReads(A_BYTE_A_TURN));
    const chunks: Buffer[] = [];
    await ask(upstreams, origin, (chunk) => void chunks.push(chunk));
    expect(Buffer.concat(chunks).equals(body)).toBe(true);
  }
});

test("what came before a provider broke off is relayed before that is told", async () => {
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      response.writeHead(200, { "content-length": 1_000_000 });
      response.write(Buffer.alloc(40_000, "x"), () => setImmediate(() => response.socket?.resetAndDestroy()));
    });
  });
  const { origin } = await listening(server);
  const reads = new FairReads(A_BYTE_A_TURN);
  let bytes = 0;
  await expect(ask(startUpstreams(reads), origin, (chunk) => void (bytes += chunk.length))).rejects.toMatchObject({
    code: expect.any(String),
  });

  expect(bytes).toBe(40_000);
  expect(reads.heldBytes).toBe(0);
});

test("an answer that nobody waits for any more ends at once, also where all of it came and is not decompressed yet", async () => {
  const { origin } = await serve(Buffer.alloc(5_000_000, "x"), "gzip");
  const upstreams = new Upstreams({ timeoutMs: 60_000, maxConnections: 1 });
  onTestFinished(async () => upstreams.stop());
  const gone = new AbortController();
  const request = { origin, path: "/", headers: {}, body: new OutgoingBody(Buffer.from("{}"), () => undefined) };
  const paused = Promise.withResolvers<void>();
  const call = upstreams.call(
    request,
    {
      onHead: (head) => () => {
        head.pause();
        paused.resolve();
      },
    },
    gone.signal,
  );
  await paused.promise;
  // The only connection is free for the next one when all of the first came.
  await ask(upstreams, origin, () => undefined);
  gone.abort(new Error("gone"));

  await expect(call).rejects.toThrow("gone");
});

function startUpstreams(reads?: FairReads): Upstreams {
  const upstreams = new Upstreams({ timeoutMs: 60_000, ...(reads && { reads }) });
  onTestFinished(async () => upstreams.stop());
  return upstreams;
}

async function listening(server: ReturnType<typeof createServer>): Promise<{ readonly origin: string }> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function serve(body: Buffer, encoding?: string): Promise<{ readonly origin: string }> {
  return listening(
    createServer((request, response) => {
      request.resume().on("end", () => {
        response.writeHead(200, { ...(encoding && { "content-encoding": encoding }) });
        if (!encoding) return void response.end(body);
        const gzip = createGzip();
        gzip.pipe(response);
        gzip.end(body);
      });
    }),
  );
}

/** Resolves with how many bytes came. */
async function ask(upstreams: Upstreams, origin: string, take: (chunk: Buffer) => void): Promise<number> {
  let bytes = 0;
  const request = { origin, path: "/", headers: {}, body: new OutgoingBody(Buffer.from("{}"), () => undefined) };
  const relay = (chunk: Buffer): void => {
    bytes += chunk.length;
    take(chunk);
  };
  await upstreams.call(request, { onHead: () => relay }, new AbortController().signal);
  return bytes;
}
