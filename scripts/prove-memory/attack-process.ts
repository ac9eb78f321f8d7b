import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Link } from "./link.ts";

/**
 * The attackers of the proof: opens what it is told and keeps it open, and starts again whatever was refused or cut, until it
 * is stopped. Reports `ready` when all of it stands for the first time; on SIGTERM, what it was answered.
 */
export interface Attack {
  readonly port: number;
  readonly keys: readonly string[];
  readonly uploads: number;
  readonly answers: number;
  readonly answerMb: number;
  readonly readers: number;
  readonly idle: number;
  /** All uploads together. */
  readonly bytesPerSecond: number;
}

const attack = JSON.parse(process.argv[2] ?? "{}") as Attack;
const MB = 2 ** 20;
const PIECE = Buffer.alloc(64 * 1024, "[],");
const link = new Link(attack.bytesPerSecond);
/** Of {@link Attack.answers}, each. */
const ANSWER_BYTES_PER_SECOND = 8 * MB;
/** Statuses and endings, by kind of attacker; and how many of each kind have a connection now. */
const seen: Record<string, Record<string, number>> = {};
const standing: Record<string, number> = {};
const over = new AbortController();

function count(who: string, what: string): void {
  const ofWho = (seen[who] ??= {});
  ofWho[what] = (ofWho[what] ?? 0) + 1;
}

async function open(who: string): Promise<Socket | undefined> {
  const socket = connect(attack.port, "127.0.0.1");
  return new Promise((done) => {
    socket.once("connect", () => {
      standing[who] = (standing[who] ?? 0) + 1;
      socket.once("close", () => (standing[who] = (standing[who] ?? 0) - 1));
      done(socket);
    });
    // Of one that stood it is told by its end.
    socket.on("error", () => done(undefined));
  });
}

const statusOf = (chunk: Buffer): string => /^HTTP\/1\.1 (\d+)/.exec(chunk.toString("latin1"))?.[1] ?? "?";

const closed = async (socket: Socket): Promise<void> =>
  new Promise((done) => void (socket.destroyed ? done() : socket.once("close", () => done())));

const headOf = (key: string | undefined, length: number): string =>
  `POST /v1/messages HTTP/1.1\r\nhost: proof\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;

/** Announces 32 MB, sends 31 of them however it is answered, and stops. */
async function upload(key: string | undefined): Promise<void> {
  const socket = await open("upload");
  if (!socket) return count("upload", "no connection");
  socket.once("data", (chunk) => count("upload", statusOf(chunk)));
  socket.write(headOf(key, 32 * MB));
  socket.write('{"model":"claude-haiku-4-5","max_tokens":1,"messages":[');
  const end = closed(socket);
  for (let sent = 0; sent < 31 * MB && !socket.destroyed && !over.signal.aborted; sent += PIECE.length) {
    await link.take(PIECE.length);
    if (!socket.write(PIECE)) await Promise.race([new Promise((done) => socket.once("drain", done)), end]);
  }
  await end;
}

/** Asks for an answer and takes `bytesPerSecond` of it; 0: nothing at all. */
async function read(who: string, key: string | undefined, body: unknown, bytesPerSecond: number): Promise<void> {
  const socket = await open(who);
  if (!socket) return count(who, "no connection");
  const text = JSON.stringify(body);
  socket.write(headOf(key, Buffer.byteLength(text)) + text);
  if (bytesPerSecond === 0) {
    // Its head says that it stands; nothing is read after it.
    socket.once("data", (chunk) => (count(who, statusOf(chunk)), socket.pause()));
    return closed(socket);
  }
  let isFirst = true;
  socket.on("data", (chunk) => {
    if (isFirst) count(who, statusOf(chunk));
    isFirst = false;
    socket.pause();
    setTimeout(() => socket.resume(), (chunk.length / bytesPerSecond) * 1_000);
  });
  await closed(socket);
}

async function idle(index: number): Promise<void> {
  const who = index % 2 === 0 ? "idle after a request" : "silent";
  const socket = await open(who);
  if (!socket) return count(who, "no connection");
  if (index % 2 === 0) socket.write("GET /health/liveliness HTTP/1.1\r\nhost: proof\r\n\r\n");
  socket.on("data", (chunk) => count(who, statusOf(chunk)));
  await closed(socket);
  count(who, "closed by the proxy");
}

/** Again and again, as clients that obey `retry-after`. */
async function forEver(act: () => Promise<void>, pauseMs: number): Promise<void> {
  while (!over.signal.aborted) {
    await act();
    await sleep(pauseMs);
  }
}

const keyOf = (index: number): string | undefined => attack.keys[index % attack.keys.length];
const request = (user: string, stream: boolean) => ({
  model: "claude-haiku-4-5",
  max_tokens: 100,
  stream,
  metadata: { user_id: user },
  messages: [{ role: "user", content: "go" }],
});

async function start(size: number, act: (index: number) => Promise<void>, pauseMs = 1_000): Promise<void> {
  for (let index = 0; index < size; index += 1) {
    void forEver(async () => act(index), pauseMs);
    // A connection at a time: a listen queue has an end.
    if (index % 100 === 99) await sleep(20);
  }
}

/** As long as it takes until each reader has the head of its stream; a refused one tries again. */
async function untilReadersStand(): Promise<void> {
  while ((seen["reader"]?.["200"] ?? 0) < attack.readers && !over.signal.aborted) await sleep(100);
}

process.once("SIGTERM", () => {
  over.abort();
  process.send?.({ seen, standing }, () => process.exit(0));
});
// Who does nothing is in no hurry either.
await start(attack.idle, idle, 10_000);
await start(attack.readers, async (index) => read("reader", keyOf(index), request("stream:8", true), 0));
await start(attack.answers, async (index) =>
  read("answer", keyOf(index), request(`whole:${attack.answerMb}`, false), ANSWER_BYTES_PER_SECOND),
);
await start(attack.uploads, async (index) => upload(keyOf(index)));
await untilReadersStand();
process.send?.("ready");
