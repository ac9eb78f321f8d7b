import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** How a {@link RedisStandIn} treats whatever it is asked, from now on. */
export type RedisMood =
  | "well"
  /** Takes everything and says nothing. */
  | "silent"
  /** Answers after three seconds: longer than anything is of use. */
  | "slow"
  /** What no Redis says, another each time. */
  | "garbage"
  /** One answer that never ends. */
  | "endless"
  /** What it was told of another key, or what it was told first, as long ago as that may be. */
  | "lying"
  /** Ends each connection with its first question. */
  | "cutting";

const NONSENSE = [
  "HTTP/1.1 200 OK\r\n\r\n",
  "*1\r\n".repeat(50_000),
  "*4294967290\r\n",
  "$-7\r\n",
  "+OK\r\n+OK\r\n+OK\r\n",
  ":99999999999999999999999\r\n",
  '$9\r\n{"a":"b"}\r\n',
  "\u0000\u0001\u0002",
];
const SLOW_MS = 3_000;
const POURED_BYTES = 65_536;

/** Speaks as much of Redis as findings need (SET with PX, GETRANGE; `+OK` to all else), and whatever it is told to speak instead. */
export class RedisStandIn {
  readonly #kept = new Map<string, { readonly value: Buffer; readonly untilMs: number }>();
  /** All that it was ever told, by name, the oldest first. */
  readonly told: { readonly name: string; readonly value: Buffer }[] = [];
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;
  #nonsense = 0;
  mood: RedisMood = "well";
  /** Bytes of answers without an end that were taken from it. */
  poured = 0;
  /** Questions for what is kept under a name. */
  asked = 0;

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  /** Listens, after `stop` on the port of before. What it was told is gone. Nothing happens where it does. */
  async start(): Promise<void> {
    if (this.#server) return;
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    await new Promise<void>((done) => server.listen(this.#port, "127.0.0.1", done));
    this.#port = (server.address() as AddressInfo).port;
  }

  /** As a killed one: connections break, and further ones are refused. */
  async stop(): Promise<void> {
    const closed = new Promise((done) => this.#server?.close(done) ?? done(undefined));
    for (const socket of this.#sockets) socket.destroy();
    this.flush();
    await closed;
    this.#server = undefined;
  }

  flush(): void {
    this.#kept.clear();
  }

  #serve(socket: Socket): void {
    let unread: Buffer = Buffer.alloc(0);
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      unread = Buffer.concat([unread, chunk]);
      for (let command = readCommand(unread); command; command = readCommand(unread)) {
        unread = unread.subarray(command.bytes);
        this.#answer(socket, command.parts);
      }
    });
  }

  #answer(socket: Socket, parts: readonly Buffer[]): void {
    const usual = this.#obey(parts);
    switch (this.mood) {
      case "silent":
        return;
      case "slow":
        setTimeout(() => socket.write(usual), SLOW_MS).unref();
        return;
      case "garbage":
        socket.write(NONSENSE[this.#nonsense++ % NONSENSE.length] ?? "");
        return;
      case "endless":
        socket.write("$999999999\r\n");
        return this.#pour(socket);
      case "lying":
        socket.write(String(parts[0]).toUpperCase() === "GETRANGE" ? this.#lie(String(parts[1])) : usual);
        return;
      case "cutting":
        socket.destroy();
        return;
      default:
        socket.write(usual);
    }
  }

  #obey(parts: readonly Buffer[]): Buffer {
    const [verb, name = "", value, , ms] = [String(parts[0]).toUpperCase(), String(parts[1]), parts[2], parts[3], parts[4]];
    if (verb === "SET" && value) {
      this.told.push({ name, value });
      this.#kept.set(name, { value, untilMs: performance.now() + Number(ms) });
    }
    if (verb !== "GETRANGE") return Buffer.from("+OK\r\n");
    this.asked += 1;
    const kept = this.#kept.get(name);
    return bulk(kept && performance.now() < kept.untilMs ? kept.value : Buffer.alloc(0));
  }

  #pour(socket: Socket): void {
    let isTaken = true;
    while (isTaken && !socket.destroyed) {
      isTaken = socket.write(Buffer.alloc(POURED_BYTES));
      if (isTaken) this.poured += POURED_BYTES;
    }
    socket.once("drain", () => {
      this.poured += POURED_BYTES;
      this.#pour(socket);
    });
  }

  #lie(name: string): Buffer {
    const first = this.told.find((one) => one.name === name);
    return bulk(first?.value ?? this.told[0]?.value ?? Buffer.from("lies"));
  }
}

function bulk(value: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`$${value.length}\r\n`), value, Buffer.from("\r\n")]);
}

/** The first command of the bytes (an array of bulk strings), and how many of them it is; undefined while it is not whole. */
function readCommand(bytes: Buffer): { readonly parts: readonly Buffer[]; readonly bytes: number } | undefined {
  let at = 0;
  const line = (): string | undefined => {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const text = bytes.toString("latin1", at, end);
    at = end + 2;
    return text;
  };
  const count = line();
  if (count === undefined) return undefined;
  const parts: Buffer[] = [];
  for (let index = 0; index < Number(count.slice(1)); index += 1) {
    const length = line();
    if (length === undefined || at + Number(length.slice(1)) + 2 > bytes.length) return undefined;
    parts.push(bytes.subarray(at, at + Number(length.slice(1))));
    at += Number(length.slice(1)) + 2;
  }
  return { parts, bytes: at };
}
